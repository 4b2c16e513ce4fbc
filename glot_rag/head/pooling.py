"""What every pooling has in common: hidden states and a mask in, one vector a text out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor, nn

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
        drops: True if noise tokens leave inside the backbone, after the highest of its layers (token pruning).
        mix_weight: where tokens are dropped, the share of the kept tokens' mean in the vector; the rest is the mean of
            the whole text.
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
            ids: (B, L) token ids, which only a head that is fitted to a corpus reads.
        """

    def parts(self, states: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Each token's part in the vector: parts sum to it. For a pooling of weighted states; others say otherwise.

        Args:
            states: (B, L, S·D), as `forward` got them.
            mask: (B, L) boolean.
            weights: (B, L), as `forward` gave them.

        Returns:
            (B, L, O) float32; padding has 0.
        """
        return weights[..., None] * real_states(states, mask)[..., -self.output_size :]


class ScoreAdjustment(Protocol):
    """Changes a head's scores by the tokens that they belong to; `glot_rag.denoise.classifier` has one.

    Attributes:
        fingerprint: hash of what decides the adjusted scores.
        checksum: hash of everything that `save` writes, by name and value.
        mix_weight: `Pooling.mix_weight` of a head in the drop form once its scores are adjusted.
        min_drop_ratio: a text that would lose less than this share of its tokens is left whole.
    """

    @property
    def fingerprint(self) -> str:  # noqa: D102 -- above
        ...

    @property
    def checksum(self) -> str:  # noqa: D102 -- above
        ...

    @property
    def mix_weight(self) -> float:  # noqa: D102 -- above
        ...

    @property
    def min_drop_ratio(self) -> float:  # noqa: D102 -- above
        ...

    def __call__(self, logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """The head's scores, the token ids and the mask, (B, L) each -> scores (B, L)."""

    def save(self, directory: Path) -> None:
        """Write the adjustment beside the head that it belongs to."""


class TrainedPooling(Pooling):
    """A pooling that scores tokens: how much each looks like signal.

    Attributes:
        config: its settings.
        adjustment: changes the scores by token ids; None for a head that is not fitted to a corpus.
        min_drop_ratio: a text that would lose less than this share of its tokens is left whole.
    """

    config: HeadConfig
    adjustment: ScoreAdjustment | None = None
    min_drop_ratio: float = 0.0

    def with_adjustment(self, adjustment: ScoreAdjustment) -> Self:
        """A copy whose scores are adjusted. It shares the parameters."""
        found = copy.copy(self)
        found.adjustment = adjustment
        if found.drops:
            found.mix_weight = adjustment.mix_weight
        found.min_drop_ratio = adjustment.min_drop_ratio
        return found

    def without_adjustment(self) -> Self:
        """A copy that gives the head's own scores. It shares the parameters."""
        found = copy.copy(self)
        found.adjustment = None
        found.mix_weight = self.config.mix_weight
        found.min_drop_ratio = 0.0
        return found

    def adjusted(self, logits: Tensor, ids: Tensor | None, mask: Tensor) -> Tensor:
        """The scores (B, L) after the adjustment; unchanged for a head that has none.

        Raises:
            InputError: the head has an adjustment, and no ids are given.
        """
        if self.adjustment is None:
            return logits
        if ids is None:
            raise InputError(
                "a head that is fitted to a corpus needs the token ids beside the states: pass ids=, or use the head "
                "from before fit()"
            )
        return self.adjustment(logits, ids, mask)
