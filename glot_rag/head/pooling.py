"""What every pooling has in common: hidden states and a mask in, one vector a text out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from glot_rag.denoise.classifier import Adaptation, NoiseClassifier
from glot_rag.denoise.corpus_statistics import CorpusStatistics
from glot_rag.errors import InputError
from glot_rag.head.config import HeadConfig
from glot_rag.head.graph import all_real

if TYPE_CHECKING:
    from typing_extensions import Self


class Pooled(NamedTuple):
    """What a pooling says of a batch of texts.

    Attributes:
        vector: (B, O) float32, not normalised.
        weights: (B, L), the share of each token in the vector; rows sum to 1, padding has 0.
        logits: (B, L), how much each token looks like signal (sigmoid gives a probability); None for the baselines.
    """

    vector: Tensor
    weights: Tensor
    logits: Tensor | None = None


def real_states(states: Tensor, mask: Tensor) -> Tensor:
    """The states in float32, padding set to 0: a weight of 0 alone would let a NaN there through.

    Not to be changed in place: where nothing has to be done they are the states that were given.
    """
    states = states.float()
    return states if all_real(mask) else states.masked_fill(~mask[..., None], 0.0)


class Pooling(nn.Module, ABC):
    """Hidden states (B, L, S·D) and a boolean token mask (B, L) -> `Pooled`.

    Attributes:
        name: one of `glot_rag.head.config.POOLINGS`.
        layers: the backbone layers whose states it reads, concatenated in this order.
        output_size: O, the length of the vector.
        drops: True if it drops tokens inside the backbone, after the highest of its layers.
        mix_weight: where it drops, the share of the kept tokens' mean in the vector; the rest is mean pooling's.
    """

    name: str
    layers: tuple[int, ...] = (-1,)
    output_size: int
    drops: bool = False
    mix_weight: float = 1.0

    @abstractmethod
    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """Pool a batch. States may be of any floating dtype; the arithmetic is float32.

        Args:
            states: (B, L, S·D).
            mask: (B, L) boolean.
            ids: (B, L) token ids, which only a head that is adapted to a collection reads.
        """


class TrainedPooling(Pooling):
    """A pooling that scores tokens.

    Attributes:
        config: its settings.
        calibration: how its scores are weighed against what a collection repeats, if that was trained.
        adaptation: the collection whose repetitions are weighed against its scores, if any.
        min_drop_ratio: a text that would lose less than this share of its tokens is left whole.
    """

    config: HeadConfig
    calibration: NoiseClassifier | None = None
    adaptation: Adaptation | None = None
    min_drop_ratio: float = 0.0

    def adapted_to(self, statistics: CorpusStatistics) -> Self:
        """A copy for one collection, which shares the parameters. The pooling must be calibrated.

        Raises:
            BundleError: the counts are over another vocabulary than the calibration.
        """
        assert self.calibration is not None
        found = copy.copy(self)
        found.adaptation = Adaptation(self.calibration, statistics)
        if found.drops:
            found.mix_weight = self.calibration.mix_weight
        found.min_drop_ratio = self.calibration.min_drop_ratio
        return found

    def adapted(self, logits: Tensor, ids: Tensor | None, mask: Tensor) -> Tensor:
        """The scores (B, L) after a look at what the collection repeats; as they were for a head that is not adapted.

        Raises:
            InputError: the head is adapted, and no ids are given.
        """
        if self.adaptation is None:
            return logits
        if ids is None:
            raise InputError(
                "a head that is adapted to a collection needs the token ids, which are not at hand here: use the "
                "encoder as it was before adapt()"
            )
        return self.adaptation(logits, ids, mask)
