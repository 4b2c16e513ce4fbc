"""The noise classifier: weighs a head's scores against corpus statistics (`glot_rag.denoise.corpus_statistics`).

The head judges a token by the text around it, the corpus statistics by all the other documents. Neither is enough: a
word of the corpus's own subject recurs as a cookie notice does, and a notice that is well written reads like prose. A
network of a few thousand parameters, trained on simulated corpora (`glot_rag.training`), weighs one against the other.
It also looks at a token's neighbours, since noise comes in runs, and at the text as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from glot_rag.denoise.corpus_statistics import COUNTED, STATISTICS_FILE, CorpusStatistics
from glot_rag.errors import BundleError
from glot_rag.files import write_atomically
from glot_rag.fingerprint import fingerprint

CLASSIFIER_FILE = "noise_classifier.safetensors"
_HIDDEN, _LAYERS, _KERNEL = 24, 3, 9
# The scores and features are clipped to these bounds, which the simulated corpora fill: beyond, nothing was learned.
_BOUNDS = ((-6.0, 6.0), (0.0, 7.0), (-7.0, 0.0), (-5.0, 8.0), (-0.5, 5.0))
_LARGEST_FILE = 1 << 26


class ClassifierNetwork(nn.Module):
    """Convolutions along a text over the head's score, the corpus features, and the means of these over the text.

    A token sees 12 tokens to either side. Padding is set to zero before every layer, so it changes no score.
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
        """(B, L, 5), the head's score and the counted features, and (B, L) boolean -> scores (B, L)."""
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
    """A trained network with what it needs to read a corpus. It belongs to one head and one vocabulary of V tokens.

    Args:
        network: weighs scores against counts.
        background: (V,) float16, log-probabilities of the tokens in clean text.
        mix_weight: `Pooling.mix_weight` of the head once it is fitted: its choice of tokens is the better one then.
        min_drop_ratio: the fitted head leaves a text whole that would lose less than this share of its tokens.
    """

    network: ClassifierNetwork
    background: Tensor
    mix_weight: float = 1.0
    min_drop_ratio: float = 0.15
    _elsewhere: dict[torch.device, ClassifierNetwork] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, logits: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """The head's scores (B, L), the corpus features (B, L, F), the mask (B, L) -> scores (B, L), float32.

        The network weighs the counted features against the scores; the token prior is made of its output, and added.
        """
        features = features.to(logits.device)
        given = torch.cat([logits.float()[..., None], features[..., : len(COUNTED)]], dim=-1)
        scores: Tensor = self._network_on(logits.device)(given, mask)
        return scores + features[..., len(COUNTED)]

    def _network_on(self, device: torch.device) -> ClassifierNetwork:
        """The network on a device. Moving the network itself would take it away from others that share it."""
        if self.network.low.device == device:
            return self.network
        if device not in self._elsewhere:
            self._elsewhere[device] = copy.deepcopy(self.network).to(device)
        return self._elsewhere[device]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it consists of, by name."""
        network = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        mixing = torch.tensor([self.mix_weight, self.min_drop_ratio])
        named = {**network, "background": self.background, "mixing": mixing}
        return {name: value.detach().cpu().contiguous() for name, value in sorted(named.items())}

    @property
    def fingerprint(self) -> str:
        """Hash of its parameters and settings."""
        return fingerprint({name: value.numpy() for name, value in self.tensors().items()})

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
        again = "train the head again with `glot-rag train`"
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise BundleError(f"{path} is larger than {_LARGEST_FILE} bytes: not a noise classifier")
            tensors = load(path.read_bytes())
            background, mixing = tensors.pop("background").half(), tensors.pop("mixing")
            network = ClassifierNetwork()
            network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise BundleError(f"{path} is not a noise classifier ({error}): {again}") from error
        numbers = [background, mixing, *tensors.values()]
        in_range = background.ndim == 1 and mixing.shape == (2,) and bool(((mixing >= 0) & (mixing <= 1)).all())
        if not in_range or not mixing[0] > 0 or not all(bool(each.isfinite().all()) for each in numbers):
            raise BundleError(f"{path} holds numbers out of range: {again}")
        return cls(network.eval().requires_grad_(False), background, *mixing.tolist())


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A noise classifier with the statistics of one corpus: a head's `ScoreAdjustment` (`glot_rag.head.pooling`).

    Args:
        classifier: weighs the head's scores.
        statistics: what recurs in the corpus.

    Raises:
        BundleError: the two are over different vocabularies.
    """

    classifier: NoiseClassifier
    statistics: CorpusStatistics

    def __post_init__(self) -> None:
        expected, found = len(self.classifier.background), len(self.statistics.occurrences)
        if expected != found:
            raise BundleError(
                f"the noise classifier knows {expected} tokens, the corpus was counted over {found}: use a head and "
                "a backbone that belong together"
            )

    def __call__(self, logits: Tensor, ids: Tensor, mask: Tensor, groups: Sequence[str] | None = None) -> Tensor:
        """The head's scores, the token ids and the mask, (B, L) each, perhaps B groups' names -> scores (B, L)."""
        return self.classifier(logits, self.features(ids, groups), mask)

    def features(self, ids: Tensor, groups: Sequence[str] | None = None) -> Tensor:
        """(B, L) -> (B, L, F), the corpus features of each token; on the CPU."""
        return torch.from_numpy(self.statistics.features(ids.cpu().numpy(), self._background, groups))

    @cached_property
    def _background(self) -> NDArray[np.float32]:
        return self.classifier.background.float().cpu().numpy()

    @property
    def mix_weight(self) -> float:
        """That of the classifier."""
        return self.classifier.mix_weight

    @property
    def min_drop_ratio(self) -> float:
        """That of the classifier."""
        return self.classifier.min_drop_ratio

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the classifier and the counts."""
        return fingerprint({"classifier": self.classifier.fingerprint, "statistics": self.statistics.fingerprint})

    @cached_property
    def checksum(self) -> str:
        """Hash of all that `save` writes, by name and value."""
        return fingerprint({"classifier": self.classifier.fingerprint, "statistics": self.statistics.checksum})

    def save(self, directory: Path) -> None:
        """Write the classifier and the statistics beside the head."""
        self.classifier.save(directory)
        self.statistics.save(directory / STATISTICS_FILE)
