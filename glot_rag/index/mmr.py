"""Maximal marginal relevance: results that are near to the query and unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Vectors


def diversify(relevance: ArrayLike, vectors: Vectors, k: int, threshold: float) -> list[int]:
    """Choose one after the other, each time what gains most over all that were chosen before.

    LlamaIndex's own function compares with the last one chosen only, and so takes a copy of the one before it.

    Args:
        relevance: (N,) cosines with the query, best first.
        vectors: (N, D) unit vectors.
        k: How many to choose; all if there are fewer.
        threshold: From 0, as unlike as can be, to 1, by relevance alone.

    Returns:
        min(k, N) positions in the order in which they were chosen; the first is always 0 or one equal to it.
    """
    worth = threshold * np.asarray(relevance, np.float64)  # (N,)
    overlap = np.full(len(worth), -np.inf)  # (N,) largest cosine with one that was chosen
    chosen: list[int] = []
    for _ in range(min(k, len(worth))):
        gain = worth - (1 - threshold) * overlap if chosen else worth.copy()
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)))
        overlap = np.maximum(overlap, vectors @ vectors[chosen[-1]])
    return chosen
