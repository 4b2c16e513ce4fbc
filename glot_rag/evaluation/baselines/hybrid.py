"""Vectors and words together, as `GlotIndex.search(mode="hybrid")` fuses them."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.evaluation.baselines.bm25 import BM25
from glot_rag.evaluation.streaming_search import Found, NearestDocuments
from glot_rag.index.fusion import Fusion


class Hybrid:
    """The k best documents of every query by both, over documents that come a batch at a time.

    Of what only the words find, the cosine is needed, too: so vectors are spooled to a temporary file.

    Args:
        words: BM25 over the same documents and queries; it is filled elsewhere.
        queries: (Q, D) vectors.
        k: documents a query.
    """

    def __init__(self, words: BM25, queries: Vectors, k: int) -> None:
        self._words, self._queries, self._k = words, queries, k
        self._fusion = Fusion()
        self._depth = max(k, self._fusion.depth)
        self._nearest = NearestDocuments(queries, self._depth)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed, and so removed, by `found`
        self._starts: list[NDArray[np.int64]] = []  # the row at which each document begins, and the end
        self._rows = 0

    def add(self, vectors: Vectors, starts: NDArray[np.int64] | None = None) -> None:
        """Add the next documents, as `NearestDocuments.add` takes them."""
        self._nearest.add(vectors, starts)
        self._starts.append(self._rows + (np.arange(len(vectors)) if starts is None else starts))
        self._rows += len(vectors)
        self._file.write(np.ascontiguousarray(vectors, np.float32).tobytes())

    def found(self) -> Found:
        """The best of all documents; nothing can be added after that."""
        if not self._rows:
            return [[] for _ in self._queries]
        self._file.flush()
        spooled = np.memmap(self._file, np.float32, "r", shape=(self._rows, self._queries.shape[1]))
        begins = np.concatenate([*self._starts, [self._rows]])
        found: Found = []
        for query, near, scored in zip(self._queries, self._nearest.found(), self._words.scored(), strict=True):
            cosines = dict(near)
            for position in (scored.best(self._depth)[1] - 1).tolist():
                if position not in cosines:
                    cosines[position] = float((spooled[begins[position] : begins[position + 1]] @ query).max())
            positions = np.array(sorted(cosines))
            scores = self._fusion.fuse([cosines[p] for p in positions.tolist()], scored.of(positions + 1).tolist())
            best = np.argsort(-scores, kind="stable")[: self._k]
            found.append(list(zip(positions[best].tolist(), scores[best].tolist(), strict=True)))
        self._file.close()
        return found
