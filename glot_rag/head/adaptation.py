"""A head's scores set against what the collection repeats (`glot_rag.collection`).

The head judges a token by the text around it, the collection's counts by all the other documents. Neither is enough:
a word of the collection's own subject recurs as a cookie notice does, and a notice that is well written reads like
prose. A network of a few hundred parameters, trained on simulated collections, weighs one against the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from glot_rag.collection import FEATURES, CollectionStatistics
from glot_rag.durable import write_atomically
from glot_rag.errors import BundleError

CALIBRATION_FILE = "calibration.safetensors"
_HIDDEN = 16
# The scores and features are held to these bounds, which the simulated collections fill: beyond, nothing was learned.
_BOUNDS = ((-6.0, 6.0), (0.0, 7.0), (-7.0, 0.0), (-5.0, 8.0), (-0.5, 5.0))
_LARGEST_FILE = 1 << 26


def weighing_network() -> nn.Sequential:
    """(..., 5), the head's score and the collection's features -> (..., 1)."""
    return nn.Sequential(
        nn.Linear(1 + len(FEATURES), _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1)
    )


@dataclass(frozen=True, eq=False)
class Calibration:
    """What weighs a head's scores against a collection's features. No part of the head's own parameters.

    Args:
        network: see `weighing_network`.
        background: (V,) float16, log-probabilities of the tokens in clean text.
        trust: `HeadConfig.trust` of the head once it is adapted: its choice of tokens is the better one then.
        gate: the adapted head leaves a text whole that would lose less than this share of its tokens.
    """

    network: nn.Sequential
    background: Tensor
    trust: float = 1.0
    gate: float = 0.15

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """The head's scores (...) and the collection's features (..., 4) -> scores (...), float32."""
        low, high = torch.tensor(_BOUNDS, device=logits.device).T
        joined = torch.cat([logits.float()[..., None], features.to(logits.device)], dim=-1)
        joined = torch.maximum(torch.minimum(joined, high), low)
        scores: Tensor = self.network.to(logits.device)(joined)[..., 0]
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """All that it consists of, by name."""
        network = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        named = {**network, "background": self.background, "mixing": torch.tensor([self.trust, self.gate])}
        return {name: value.detach().cpu().contiguous() for name, value in sorted(named.items())}

    def save(self, directory: Path) -> None:
        """Write it beside its head."""
        write_atomically(directory / CALIBRATION_FILE, save(self.tensors()))

    @classmethod
    def load(cls, directory: Path) -> Calibration | None:
        """Read what `save` wrote; None if there is none.

        Raises:
            BundleError: it is damaged or holds something else.
        """
        path = directory / CALIBRATION_FILE
        if not path.is_file():
            return None
        again = "make it again with `glot-rag calibrate`"
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise BundleError(f"{path} is larger than {_LARGEST_FILE} bytes: not a calibration")
            tensors = load(path.read_bytes())
            background, mixing = tensors.pop("background").half(), tensors.pop("mixing")
            network = weighing_network()
            network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise BundleError(f"{path} is not a calibration ({error}): {again}") from error
        numbers = [background, mixing, *tensors.values()]
        in_range = background.ndim == 1 and mixing.shape == (2,) and bool(((mixing >= 0) & (mixing <= 1)).all())
        if not in_range or not mixing[0] > 0 or not all(bool(each.isfinite().all()) for each in numbers):
            raise BundleError(f"{path} holds numbers out of range: {again}")
        return cls(network.eval().requires_grad_(False), background, *mixing.tolist())


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A calibrated head's second opinion, for one collection.

    Args:
        calibration: how to weigh.
        statistics: what the collection repeats.

    Raises:
        BundleError: the two are over different vocabularies.
    """

    calibration: Calibration
    statistics: CollectionStatistics

    def __post_init__(self) -> None:
        expected, found = len(self.calibration.background), len(self.statistics.occurrences)
        if expected != found:
            raise BundleError(f"the head is calibrated for {expected} tokens, the collection was counted over {found}")

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        """The head's scores and the token ids, (B, L) each -> scores (B, L)."""
        return self.calibration(logits, self.features(ids))

    def features(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, F), what the collection says of each token; on the CPU."""
        return torch.from_numpy(self.statistics.features(ids.cpu().numpy(), self._background))

    @cached_property
    def _background(self) -> NDArray[np.float32]:
        return self.calibration.background.float().cpu().numpy()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of calibration and counts."""
        digest = hashlib.sha256(self.statistics.fingerprint.encode())
        for name, value in self.calibration.tensors().items():
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()
