"""Exact search over vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError


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
        InputError: `k` below 1, ids and rows that do not match, different dimensions, or a value that is not
            finite.
    """
    import faiss

    if k < 1:
        raise InputError(f"k must be 1 or more, got {k}.")
    for what, ids, vectors in (("document", document_ids, documents), ("query", query_ids, queries)):
        if vectors.ndim != 2 or len(ids) != len(vectors):
            raise InputError(f"Got {len(ids)} {what} ids for vectors of shape {vectors.shape}; expected (ids, D).")
        if not np.isfinite(vectors).all():
            raise InputError(f"The {what} vectors hold values that are not finite.")
    if documents.shape[1] != queries.shape[1]:
        raise InputError(f"Documents have {documents.shape[1]} dimensions, queries {queries.shape[1]}.")
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, dtype=np.float32))
    scores, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, len(document_ids)))
    return {
        query: {document_ids[row]: float(score) for row, score in zip(rows[i], scores[i], strict=True)}
        for i, query in enumerate(query_ids)
    }
