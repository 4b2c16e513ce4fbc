"""An exact search over the stored vectors, for when FAISS cannot be asked: few documents, or too few found."""

from __future__ import annotations

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.index.snapshot import Keys, Snapshot

Found = list[tuple[float, int]]


def exact_search(snapshot: Snapshot, queries: Vectors, k: int, keys: Keys | None) -> list[Found]:
    """The nearest of some documents by inner product.

    Args:
        snapshot: Of the store.
        queries: (N, D) unit rows.
        k: How many for each.
        keys: Of the documents; None for all.

    Returns:
        N lists of (score, key), best first.

    Raises:
        IndexCorruptedError: A vector that was found does not match its checksum, or any has another length.
    """
    scores = np.empty((len(queries), 0), np.float32)
    best = np.empty((len(queries), 0), np.int64)
    parts = snapshot.all_vectors() if keys is None else snapshot.vectors(keys.tolist(), check=False)
    for some, vectors in parts:
        scores = np.concatenate([scores, queries @ vectors.T], axis=1)
        best = np.concatenate([best, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, best = np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1)
    for _ in snapshot.vectors(set(best.ravel().tolist())):
        pass  # checked: those whose scores are given back
    return [list(zip(*pair, strict=True)) for pair in zip(scores.tolist(), best.tolist(), strict=True)]
