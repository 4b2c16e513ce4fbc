"""What runs a denoiser's networks, seen from NumPy: torch (a backbone, its heads) or an exported bundle. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

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


class WordScorer(Protocol):
    """Runs a word head: `glot_rag.denoise.word_scorer.TorchWordScorer` is one.

    Attributes:
        layers: the backbone layers that it reads.
        min_keep_ratio: at least this share of a text's words stays.
        min_drop_ratio: a text that would lose less than this share of its words is left whole.
    """

    layers: tuple[int, ...]
    min_keep_ratio: float
    min_drop_ratio: float

    def score(
        self, states: NDArray[np.float32], batch: TokenBatch, groups: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """How much each token looks like signal: the states of its layers, (B, L, S·D) -> (B, L).

        Args:
            states: of the batch.
            batch: its token ids and mask.
            groups: the name of the group of each text, for a head that is fitted to a corpus.
        """
        ...


class BlockScorer(Protocol):
    """Runs a block head: `glot_rag.head.block_graph.BlockGraphHead` is one."""

    @property
    def layer(self) -> int:
        """The backbone layer that it reads."""
        ...

    @property
    def noise_threshold(self) -> float:
        """Blocks with a higher noise probability are dropped, unless another threshold is asked for."""
        ...

    def score(
        self,
        states: NDArray[np.float32],
        block: NDArray[np.int64],
        mask: NDArray[np.bool_],
        layout: NDArray[np.float32],
        counts: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Noise logits of the blocks and tokens of some documents.

        Args:
            states: (W, L, D), of all tokens, in windows.
            block: (W, L), b·N + n for block n of document b; -1 for padding.
            mask: (B, N), True for real blocks, which come first in their row.
            layout: (B, N, F) layout features.
            counts: (B, N, C) corpus features; None where nothing was counted.

        Returns:
            (B, N) and (W, L).
        """
        ...


class Networks(NamedTuple):
    """What runs the networks of a denoiser.

    Attributes:
        reader: the backbone's lower layers.
        words: the word head, or None.
        blocks: the block head, or None.
    """

    reader: StateReader
    words: WordScorer | None
    blocks: BlockScorer | None
