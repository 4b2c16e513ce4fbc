"""Streaming search: documents are compared with the queries a batch at a time, so memory does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError

# For every query the nearest documents, best first: (position of the document, score)
Found = list[list[tuple[int, float]]]


class BestDocuments:
    """The k best documents of every query, over scores that come a batch of documents at a time.

    Args:
        queries: how many.
        k: documents a query.

    Raises:
        InputError: `k` below 1.
    """

    def __init__(self, queries: int, k: int) -> None:
        import faiss

        if k < 1:
            raise InputError(f"k must be 1 or more, got {k}.")
        self.k = k
        self._count = 0
        self._heap = faiss.ResultHeap(queries, k, keep_max=True)

    def add(self, scores: NDArray[np.float32], rows: NDArray[np.int64] | None = None, count: int | None = None) -> None:
        """Add the next batch of documents; the first document ever has position 0.

        Args:
            scores: (Q, n).
            rows: (Q, n), which document of the batch each score is of; None: the n documents of the batch in order.
            count: documents of the batch, where `rows` is given.
        """
        of = np.broadcast_to(np.arange(scores.shape[1]), scores.shape) if rows is None else rows
        self._heap.add_result(scores, of + self._count)
        self._count += scores.shape[1] if count is None else count

    def found(self) -> Found:
        """The best of all documents; nothing can be added after that."""
        self._heap.finalize()
        most = min(self.k, self._count)
        return [
            list(zip(rows[:most].tolist(), scores[:most].tolist(), strict=True))
            for rows, scores in zip(self._heap.I, self._heap.D, strict=True)
        ]


class NearestDocuments:
    """The k documents of every query with the highest inner product, over documents that come a batch at a time.

    Args:
        queries: (Q, D) vectors.
        k: documents a query.

    Raises:
        InputError: `k` below 1, vectors of another shape, or a value that is not finite.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries = _checked("query", queries)
        self._best = BestDocuments(len(queries), k)

    def add(self, vectors: Vectors, starts: NDArray[np.int64] | None = None) -> None:
        """Compare the next documents with the queries; the first one ever has position 0.

        Args:
            vectors: (n, D), one a document, or one a chunk.
            starts: of chunks, the row at which each document's chunks begin. A document is as near as its best chunk.
        """
        import faiss

        block = _checked("document", vectors)
        if block.shape[1] != self._queries.shape[1]:
            raise InputError(f"Documents have {block.shape[1]} dimensions, queries {self._queries.shape[1]}.")
        if not len(block) or not len(self._queries):
            return
        if starts is not None:
            self._best.add(np.maximum.reduceat(self._queries @ block.T, starts, axis=1))
            return
        k = min(self._best.k, len(block))
        scores, rows = faiss.knn(self._queries, block, k, faiss.METRIC_INNER_PRODUCT)
        self._best.add(scores, rows, len(block))

    def found(self) -> Found:
        """The nearest among the documents seen."""
        return self._best.found()


def search(
    document_ids: Sequence[str],
    documents: Vectors,
    query_ids: Sequence[str],
    queries: Vectors,
    k: int = 100,
) -> dict[str, dict[str, float]]:
    """Exact search by inner product.

    Args:
        document_ids: N ids, the rows of `documents`.
        documents: (N, D) vectors.
        query_ids: Q ids, the rows of `queries`.
        queries: (Q, D) vectors.
        k: documents a query; all of them where there are fewer.

    Returns:
        query id -> document id -> score, best first.

    Raises:
        InputError: `k` below 1, ids and rows that do not match, different dimensions, or a value that is not finite.
    """
    for what, ids, vectors in (("document", document_ids, documents), ("query", query_ids, queries)):
        if vectors.ndim != 2 or len(ids) != len(vectors):
            raise InputError(f"Got {len(ids)} {what} ids for vectors of shape {vectors.shape}; expected (ids, D).")
    nearest = NearestDocuments(queries, k)
    nearest.add(documents)
    return {
        query: {document_ids[row]: score for row, score in found}
        for query, found in zip(query_ids, nearest.found(), strict=True)
    }


def _checked(what: str, vectors: Vectors) -> Vectors:
    if vectors.ndim != 2:
        raise InputError(f"Got {what} vectors of shape {vectors.shape}; expected (rows, D).")
    if not np.isfinite(vectors).all():
        raise InputError(f"The {what} vectors hold values that are not finite.")
    return np.ascontiguousarray(vectors, dtype=np.float32)
