"""What runs a denoiser's networks, seen from NumPy: torch (a backbone, its heads) or an exported bundle. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glot_rag.models.tokenizer import TokenBatch, Tokenizer


class StateReader(Protocol):
    """Runs the lower layers of a backbone: `glot_rag.models.backbone.Backbone` is one."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The backbone's."""
        ...

    @property
    def state_size(self) -> int:
        """D, the width of a state."""
        ...

    def pack(self, sequences: Sequence[Sequence[int]], batch_tokens: int | None = None) -> Iterator[TokenBatch]:
        """Batches of sequences of like length."""
        ...

    def states(self, batch: TokenBatch, layers: Sequence[int]) -> NDArray[np.float32]:
        """The states of some layers side by side: (B, L, S·D)."""
        ...


class BlockScorer(Protocol):
    """Runs a block head: `glot_rag.head.block_graph.BlockGraphHead` is one."""

    @property
    def layer(self) -> int:
        """The backbone layer that it reads."""
        ...

    def score(
        self,
        states: NDArray[np.float32],
        block: NDArray[np.int64],
        layout: NDArray[np.float32],
        counts: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Noise logits of the blocks and tokens of one document.

        Args:
            states: (W, L, D), of all tokens, in windows.
            block: (W, L), the block of each token; -1 for padding.
            layout: (N, F) layout features.
            counts: (N, C) corpus features; None where nothing was counted.

        Returns:
            (N,) and (W, L).
        """
        ...
