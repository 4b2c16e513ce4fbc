"""A head's scores set against what the collection repeats (`glot_rag.denoise.corpus_statistics`).

The head judges a token by the text around it, the collection's counts by all the other documents. Neither is enough:
a word of the collection's own subject recurs as a cookie notice does, and a notice that is well written reads like
prose. A network of a few thousand parameters, trained on simulated collections, weighs one against the other. It looks
at a token's neighbours, too, as noise comes in runs, and at the text as a whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from glot_rag.denoise.corpus_statistics import COUNTED, CorpusStatistics
from glot_rag.errors import BundleError
from glot_rag.files import write_atomically

CLASSIFIER_FILE = "calibration.safetensors"
_HIDDEN, _LAYERS, _KERNEL = 24, 3, 9
# The scores and features are held to these bounds, which the simulated collections fill: beyond, nothing was learned.
_BOUNDS = ((-6.0, 6.0), (0.0, 7.0), (-7.0, 0.0), (-5.0, 8.0), (-0.5, 5.0))
_LARGEST_FILE = 1 << 26


class ClassifierNetwork(nn.Module):
    """Convolutions along a text over the head's score, the collection's features, and the means of these over the text.

    A token sees 12 to either side. What is not of the text counts as nothing, so padding changes nothing.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = [2 * len(_BOUNDS)] + _LAYERS * [_HIDDEN]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(narrow, wide, _KERNEL, padding=_KERNEL // 2) for narrow, wide in pairwise(sizes)
        )
        self.score = nn.Conv1d(_HIDDEN, 1, 1)
        low, high = torch.tensor(_BOUNDS).T
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, given: Tensor, mask: Tensor) -> Tensor:
        """(B, L, 5), the head's score and the collection's features, and (B, L) boolean -> scores (B, L)."""
        real = mask[..., None].float()
        bounded = torch.maximum(torch.minimum(given, self.high), self.low) / (self.high - self.low) * 4
        x = torch.where(mask[..., None], bounded, 0.0)
        means = x.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        x = torch.cat([x, means * real], dim=-1).transpose(1, 2)
        for convolution in self.convolutions:
            x = nn.functional.gelu(convolution(x)) * real.transpose(1, 2)
        scores: Tensor = self.score(x)[:, 0]
        return scores


@dataclass(frozen=True, eq=False)
class NoiseClassifier:
    """What weighs a head's scores against a collection's features. No part of the head's own parameters.

    Args:
        network: weighs.
        background: (V,) float16, log-probabilities of the tokens in clean text.
        mix_weight: `HeadConfig.mix_weight` of the head once it is fitted: its choice of tokens is the better one then.
        min_drop_ratio: the fitted head leaves a text whole that would lose less than this share of its tokens.
    """

    network: ClassifierNetwork
    background: Tensor
    mix_weight: float = 1.0
    min_drop_ratio: float = 0.15

    def __call__(self, logits: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """The head's scores (B, L), the collection's features (B, L, F), the mask (B, L) -> scores (B, L), float32.

        The counted features are weighed against the scores; the opinion is made of what comes out, and added to it.
        """
        features = features.to(logits.device)
        given = torch.cat([logits.float()[..., None], features[..., : len(COUNTED)]], dim=-1)
        scores: Tensor = self.network.to(logits.device)(given, mask)
        return scores + features[..., len(COUNTED)]

    def tensors(self) -> dict[str, Tensor]:
        """All that it consists of, by name."""
        network = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        named = {
            **network,
            "background": self.background,
            "mixing": torch.tensor([self.mix_weight, self.min_drop_ratio]),
        }
        return {name: value.detach().cpu().contiguous() for name, value in sorted(named.items())}

    def save(self, directory: Path) -> None:
        """Write it beside its head."""
        write_atomically(directory / CLASSIFIER_FILE, save(self.tensors()))

    @classmethod
    def load(cls, directory: Path) -> NoiseClassifier | None:
        """Read what `save` wrote; None if there is none.

        Raises:
            BundleError: it is damaged or holds something else.
        """
        path = directory / CLASSIFIER_FILE
        if not path.is_file():
            return None
        again = "make it again with `glot-rag calibrate`"
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise BundleError(f"{path} is larger than {_LARGEST_FILE} bytes: not a calibration")
            tensors = load(path.read_bytes())
            background, mixing = tensors.pop("background").half(), tensors.pop("mixing")
            network = ClassifierNetwork()
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

    calibration: NoiseClassifier
    statistics: CorpusStatistics

    def __post_init__(self) -> None:
        expected, found = len(self.calibration.background), len(self.statistics.occurrences)
        if expected != found:
            raise BundleError(f"the head is calibrated for {expected} tokens, the collection was counted over {found}")

    def __call__(self, logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """The head's scores, the token ids and the mask, (B, L) each -> scores (B, L)."""
        return self.calibration(logits, self.features(ids), mask)

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
