"""What every pooling has in common: hidden states and a mask in, one vector a text out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


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
    """The states in float32, padding set to 0: a weight of 0 alone would let a NaN there through."""
    return states.float().masked_fill(~mask[..., None], 0.0)


class Pooling(nn.Module, ABC):
    """Hidden states (B, L, S·D) and a boolean token mask (B, L) -> `Pooled`.

    Attributes:
        name: one of `glot_rag.config.POOLINGS`.
        layers: the backbone layers whose states it reads, concatenated in this order.
        output_size: O, the length of the vector.
        drops: True if it drops tokens inside the backbone, after the highest of its layers.
        trust: where it drops, the part of the kept tokens' mean in the vector; the rest is mean pooling's.
    """

    name: str
    layers: tuple[int, ...] = (-1,)
    output_size: int
    drops: bool = False
    trust: float = 1.0

    @abstractmethod
    def forward(self, states: Tensor, mask: Tensor) -> Pooled:
        """Pool a batch. States may be of any floating dtype; the arithmetic is float32."""
