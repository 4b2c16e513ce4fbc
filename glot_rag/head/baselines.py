"""The poolings that GLOT is measured against: mean, max, first token (CLS), last token. None has parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.head.config import BASELINE_POOLINGS
from glot_rag.head.pooling import Pooled, Pooling, real_states


class BaselinePooling(Pooling):
    """A fixed pooling of the last layer's states.

    Args:
        name: "mean" (sentence-transformers' usual pooling), "max" (per dimension), "cls" (the first real token) or
            "last" (the last real token, the usual choice for decoders).
        state_size: D.
        dimensions: O, of the vector that is kept, for models that put what matters most first (Matryoshka); None is D.

    Raises:
        InputError: no such pooling, or dimensions that are not 1 to D.
    """

    def __init__(self, name: str, state_size: int, dimensions: int | None = None) -> None:
        super().__init__()
        self.name = choose("pooling", name, BASELINE_POOLINGS)
        if dimensions is not None and not 1 <= dimensions <= state_size:
            raise InputError(f"dimensions must be from 1 to {state_size}, the width of the states; got {dimensions}")
        self.output_size = dimensions or state_size
        self.state_size = state_size

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """(B, L, D) and (B, L) -> (B, O). For max, a token's weight is the share of dimensions that it wins."""
        states = real_states(states, mask)[..., : self.output_size]
        if self.name == "max":
            vector, winners = self._winners(states, mask)
            return Pooled(vector, winners.float().mean(dim=2))
        weights = self._weights(mask)
        return Pooled(torch.einsum("bl,bld->bd", weights, states), weights)

    def parts(self, states: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Each token's part in the vector (see `Pooling.parts`). For max, the dimensions that the token wins."""
        if self.name != "max":
            return super().parts(states, mask, weights)
        states = real_states(states, mask)
        return states * self._winners(states, mask)[1]

    @staticmethod
    def _winners(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The highest value of each dimension (B, D), and which token has it (B, L, D)."""
        vector, winner = torch.where(mask[..., None], states, torch.finfo(states.dtype).min).max(dim=1)
        position = torch.arange(states.shape[1], device=states.device)
        return vector, winner[:, None, :] == position[:, None]

    def _weights(self, mask: Tensor) -> Tensor:
        if self.name == "mean":
            return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
        position = torch.arange(mask.shape[1], device=mask.device)
        if self.name == "cls":
            chosen = torch.where(mask, position, mask.shape[1]).argmin(dim=1)
        else:
            chosen = torch.where(mask, position, -1).argmax(dim=1)
        return (position == chosen[:, None]).float() * mask

    def extra_repr(self) -> str:
        """The name, and the length of truncated vectors, for print(module)."""
        return repr(self.name) + (f", {self.output_size}" if self.output_size < self.state_size else "")
