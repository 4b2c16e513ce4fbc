"""What the index, the evaluation and the integrations ask of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Texts in, unit vectors out. `GlotEncoder` is one; any object with these members will do.

    Documents and queries have separate entry points everywhere, even where they do the same.
    """

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides a vector: backbone, head, pooling, prompts, truncation."""
        ...

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """N texts -> (N, D) float32, every row of Euclidean norm 1. An empty list gives (0, D)."""
        ...

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """As `encode_documents`, for queries."""
        ...
