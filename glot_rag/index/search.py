"""One search: the way from a query to hits, by vectors, by keywords, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError, InputError
from glot_rag.index.fusion import Fusion
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.keywords.bm25 import Scored
from glot_rag.index.options import Hit, Rerank, Search
from glot_rag.index.replicas import Replicas
from glot_rag.index.store.cache import FilterCache, RowCache
from glot_rag.index.store.schema import WAY_OUT, Row
from glot_rag.index.store.snapshot import Keys, Snapshot
from glot_rag.index.store.store import Store
from glot_rag.index.vectors.faiss_index import FaissIndex
from glot_rag.index.vectors.replica import Found

RERANK_FACTOR = 10  # where FAISS compresses vectors it gives so many times k, which the stored vectors then order


@dataclass(frozen=True)
class Queries:
    """N queries.

    Args:
        texts: N of them; None where only vectors are known.
        vectors: (N, D) unit rows; None for a search by keywords.
    """

    texts: Sequence[str] | None
    vectors: Vectors | None


class Searcher:
    """Searches an index through its replicas, with its row and filter caches."""

    def __init__(self, replicas: Replicas, store: Store) -> None:
        self._replicas = replicas
        self._store = store
        self._rows = RowCache()
        self._filters = FilterCache()

    def run(self, queries: Queries, search: Search) -> list[list[Hit]]:
        """Search for each of N queries; gives N lists of hits.

        Raises:
            IndexCorruptedError: A document that was found is not there or does not match its checksum.
            InputError: The reranker gave something else than a score for each text.
        """
        vectors, keywords = search.mode != "keyword", search.mode != "vector"
        with self._replicas.synchronised(vectors=vectors, keywords=keywords) as snapshot:
            keys = None if search.filter is None else self._filters.keys(snapshot, search.filter)
            found = self._found(snapshot, queries, search, keys)
            if search.min_score is not None:
                found = [[pair for pair in each if pair[0] >= search.min_score] for each in found]
            if search.mmr is not None:
                found = _diverse(found, _vectors(snapshot, _keys(found)), search)
            wanted = _keys(found)
            rows = self._rows.rows(snapshot, wanted)
        _check_all_there(len(rows), wanted)
        hits = [_hits(each, rows) for each in found]
        if search.rerank is None:
            return hits
        assert queries.texts is not None
        return [
            _reranked(search.rerank, text, each)[: search.k] for text, each in zip(queries.texts, hits, strict=True)
        ]

    def _found(self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None) -> list[Found]:
        first, wanted = search.offset, search.wanted
        if search.mode == "vector":
            found = self._by_vectors(snapshot, queries, search, keys, wanted)
        elif search.mode == "keyword":
            found = [_pairs(*scored.best(wanted, keys)) for scored in self._scored(queries)]
        else:
            found = self._by_both(snapshot, queries, search, keys, wanted)
        return [each[first:wanted] for each in found]

    def _by_vectors(
        self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None, wanted: int
    ) -> list[Found]:
        replica, vectors = self._replicas.vectors, queries.vectors
        assert vectors is not None
        fetched = wanted if replica.exact else RERANK_FACTOR * wanted
        found = replica.search(snapshot, vectors, fetched, keys, search.nprobe, search.ef_search)
        if replica.exact:
            return found
        stored = _vectors(snapshot, _keys(found))
        return [
            sorted(_cosines(query, [key for _, key in each], stored), key=lambda pair: -pair[0])[:wanted]
            for query, each in zip(vectors, found, strict=True)
        ]

    def _scored(self, queries: Queries) -> Iterable[Scored]:
        assert queries.texts is not None
        words = analyzer(self._store.manifest.language)
        return (self._replicas.keywords.part.scored(words.query(text)) for text in queries.texts)

    def _by_both(
        self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None, wanted: int
    ) -> list[Found]:
        """Every document that one of the two finds gets both scores: what one does not find is not worth nothing."""
        fusion = search.fusion or Fusion()
        depth = max(wanted, fusion.depth)
        near = self._by_vectors(snapshot, queries, search, keys, depth)
        scored = [(each, each.best(depth, keys)[1].tolist()) for each in self._scored(queries)]
        missing = [
            list(dict.fromkeys(words).keys() - {key for _, key in each})
            for each, (_, words) in zip(near, scored, strict=True)
        ]
        stored = _vectors(snapshot, {key for each in missing for key in each}, self._replicas.vectors.part)
        found = []
        assert queries.vectors is not None
        for query, each, more, (words, _) in zip(queries.vectors, near, missing, scored, strict=True):
            pairs = [*each, *_cosines(query, more, stored)]
            both = np.array([key for _, key in pairs], np.int64)
            scores = fusion.fuse([cosine for cosine, _ in pairs], words.of(both).tolist())
            order = np.lexsort((both, -scores))[:wanted]
            found.append(_pairs(scores[order], both[order]))
        return found


def diversify(relevance: ArrayLike, vectors: Vectors, k: int, threshold: float) -> list[int]:
    """Choose results that are near to the query and unlike each other (maximal marginal relevance).

    Carbonell and Goldstein 1998: one after the other, each time the result with the largest
    `threshold · relevance − (1 − threshold) · largest cosine with a chosen one`. LlamaIndex's own function compares
    with the last chosen one only, and so takes a copy of the one before it.

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


def _keys(found: Sequence[Found]) -> set[int]:
    return {key for each in found for _, key in each}


def _pairs(scores: NDArray[np.floating[Any]], keys: Keys) -> Found:
    return list(zip(scores.tolist(), keys.tolist(), strict=True))


def _check_all_there(count: int, keys: set[int]) -> None:
    if count != len(keys):
        raise IndexCorruptedError(f"The search found documents that the store does not have. {WAY_OUT}")


def _vectors(snapshot: Snapshot, keys: set[int], index: FaissIndex | None = None) -> dict[int, Vectors]:
    """The stored vectors, (D,) each: from FAISS where it is given and has them, which takes a tenth of the time."""
    wanted = np.sort(np.fromiter(keys, np.int64, len(keys)))
    held = index.vectors(wanted) if index is not None and len(wanted) else None
    parts = snapshot.vectors(keys) if held is None else [(wanted, held)]
    vectors = {key: row for some, matrix in parts for key, row in zip(some.tolist(), matrix, strict=True)}
    _check_all_there(len(vectors), keys)
    return vectors


def _cosines(query: Vectors, keys: Sequence[int], vectors: dict[int, Vectors]) -> Found:
    """Scores of documents by their stored vectors, in the order of `keys`."""
    scores = (np.stack([vectors[key] for key in keys]) @ query).tolist() if keys else []
    return list(zip(scores, keys, strict=True))


def _diverse(found: Sequence[Found], vectors: dict[int, Vectors], search: Search) -> list[Found]:
    assert search.mmr is not None
    chosen = []
    for each in found:
        if not each:
            chosen.append(each)
            continue
        relevance = np.array([score for score, _ in each])
        if search.mode != "vector":
            relevance /= relevance[0] or 1.0  # so that it weighs about as much as a cosine
        matrix = np.stack([vectors[key] for _, key in each])
        chosen.append([each[number] for number in diversify(relevance, matrix, search.k, search.mmr)])
    return chosen


def _hits(found: Found, rows: dict[int, Row]) -> list[Hit]:
    hits = []
    for score, key in found:
        _, _, id, text, metadata = rows[key]
        hits.append(Hit(id, score, text, metadata))
    return hits


def _reranked(rerank: Rerank, query: str, hits: list[Hit]) -> list[Hit]:
    if not hits:
        return hits
    given = rerank(query, [hit.text for hit in hits])
    try:
        scores = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"rerank must give a number for each text: {error}") from error
    if scores.shape != (len(hits),) or np.isnan(scores).any():
        raise InputError(f"rerank must give a number for each of {len(hits)} texts, got the shape {scores.shape}")
    order = np.argsort(-scores, kind="stable").tolist()
    return [Hit(hits[i].id, float(scores[i]), hits[i].text, hits[i].metadata) for i in order]
