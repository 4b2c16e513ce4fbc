"""One search: the way from a query to hits, by vectors, by keywords, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError, InputError
from glot_rag.index.fusion import Fusion
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.keywords.bm25 import Scored, TermCounts
from glot_rag.index.options import Hit, Rerank, Search
from glot_rag.index.replicas import Replicas
from glot_rag.index.store.cache import FilterCache, RowCache
from glot_rag.index.store.schema import WAY_OUT
from glot_rag.index.store.snapshot import Keys, Snapshot
from glot_rag.index.store.store import Store
from glot_rag.index.vectors.faiss_index import GONE, FaissIndex
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


class Candidates(NamedTuple):
    """The best documents of one index for one query, by vectors or by keywords.

    Attributes:
        hits: N of them, without scores.
        keys: (N,), which order them where scores are equal.
        cosines: (N,) with the query; 0 in a search by keywords.
        words: (N,) BM25.
        near: The first so many are the best by vectors.
    """

    hits: list[Hit]
    keys: Keys
    cosines: Vectors
    words: Vectors
    near: int


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
                found = Found(found.scores, np.where(found.scores < np.float64(search.min_score), GONE, found.keys))
            if search.mmr is not None:
                found = _diverse(snapshot, found, search)
            there = found.there
            flat = self._hits(snapshot, found.scores[there].tolist(), found.keys[there].tolist())
        # All hits at once, then cut into lists: a batch has ten thousand.
        ends = np.cumsum(there.sum(axis=1)).tolist()
        hits = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if search.rerank is None:
            return hits
        assert queries.texts is not None
        return [reranked(search.rerank, text, each)[: search.k] for text, each in zip(queries.texts, hits, strict=True)]

    def term_counts(self, texts: Sequence[str]) -> list[TermCounts]:
        """For each of N queries, what the weights of its terms are made of in this index."""
        words = analyzer(self._store.manifest.language)
        with self._replicas.synchronised(vectors=False, keywords=True):
            return [self._replicas.keywords.part.counts(words.query(text)) for text in texts]

    def candidates(
        self, queries: Queries, search: Search, depth: int, counts: Sequence[TermCounts]
    ) -> list[Candidates]:
        """What a search of several indexes, by keywords or by both, takes from this one for each of N queries.

        Args:
            queries: With vectors for a search by both.
            search: Its filter and settings.
            depth: Documents taken from each of the two rankings.
            counts: Those of all indexes together, for each query.
        """
        with self._replicas.synchronised(vectors=queries.vectors is not None, keywords=True) as snapshot:
            keys = None if search.filter is None else self._filters.keys(snapshot, search.filter)
            found = []
            for both, cosines, words, near in self._both(snapshot, queries, search, keys, depth, counts):
                hits = self._hits(snapshot, [0.0] * len(both), both.tolist())
                found.append(Candidates(hits, both, cosines, words, near))
        return found

    def _hits(self, snapshot: Snapshot, scores: Sequence[float], keys: Sequence[int]) -> list[Hit]:
        rows = self._rows.rows(snapshot, keys)
        return [Hit(id, score, text, metadata) for score, (_, _, id, text, metadata) in zip(scores, rows, strict=True)]

    def _found(self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None) -> Found:
        first, wanted = search.offset, search.wanted
        if search.mode == "vector":
            found = self._by_vectors(snapshot, queries, search, keys, wanted)
        elif search.mode == "keyword":
            found = Found.of([scored.best(wanted, keys) for scored in self._scored(queries)])
        else:
            found = self._by_both(snapshot, queries, search, keys, wanted)
        return Found(found.scores[:, first:wanted], found.keys[:, first:wanted]) if first else found

    def _by_vectors(
        self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None, wanted: int
    ) -> Found:
        replica, vectors = self._replicas.vectors, queries.vectors
        assert vectors is not None
        fetched = wanted if replica.exact else RERANK_FACTOR * wanted
        found = replica.search(snapshot, vectors, fetched, keys, search.nprobe, search.ef_search)
        if replica.exact:
            return found
        stored = _Stored(snapshot, found.keys[found.there])
        rows = []
        for query, each in zip(vectors, found.keys, strict=True):
            each = each[each != GONE]
            scores = stored.of(each) @ query
            order = np.argsort(-scores, kind="stable")[:wanted]
            rows.append((scores[order], each[order]))
        return Found.of(rows)

    def _scored(self, queries: Queries, counts: Sequence[TermCounts] | None = None) -> Iterable[Scored]:
        assert queries.texts is not None
        words = analyzer(self._store.manifest.language)
        keywords = self._replicas.keywords.part
        for number, text in enumerate(queries.texts):
            yield keywords.scored(words.query(text), None if counts is None else counts[number])

    def _by_both(self, snapshot: Snapshot, queries: Queries, search: Search, keys: Keys | None, wanted: int) -> Found:
        fusion = search.fusion or Fusion()
        rows = []
        for both, cosines, words, _ in self._both(snapshot, queries, search, keys, max(wanted, fusion.depth)):
            scores = fusion.fuse(cosines, words)
            order = np.lexsort((both, -scores))[:wanted]
            rows.append((scores[order], both[order]))
        return Found.of(rows)

    def _both(
        self,
        snapshot: Snapshot,
        queries: Queries,
        search: Search,
        keys: Keys | None,
        depth: int,
        counts: Sequence[TermCounts] | None = None,
    ) -> Iterable[tuple[Keys, Vectors, Vectors, int]]:
        """For each query the best documents of both rankings, their cosines and BM25, and how many the first one gave.

        Every document that one of the two finds gets both scores: what one does not find is not worth nothing. Without
        vectors, the first ranking is empty and cosines are 0.
        """
        vectors = queries.vectors
        scored = [(each, each.best(depth, keys)[1]) for each in self._scored(queries, counts)]
        if vectors is None:
            for words, best in scored:
                yield best, np.zeros(len(best), np.float32), words.of(best), 0
            return
        near = self._by_vectors(snapshot, queries, search, keys, depth)
        more = [np.setdiff1d(best, each) for (_, best), each in zip(scored, near.keys, strict=True)]
        stored = _Stored(snapshot, np.concatenate([np.empty(0, np.int64), *more]), self._replicas.vectors.part)
        for number, (query, (words, _)) in enumerate(zip(vectors, scored, strict=True)):
            there = near.keys[number] != GONE
            both = np.concatenate([near.keys[number][there], more[number]])
            cosines = np.concatenate([near.scores[number][there], stored.of(more[number]) @ query])
            yield both, cosines, words.of(both), int(np.count_nonzero(there))


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


class _Stored:
    """The stored vectors of some documents.

    Args:
        snapshot: Of the store.
        keys: The documents', in any order, each perhaps several times.
        index: Has the vectors, too, unless it compresses them, and gives them in a tenth of the time.

    Raises:
        IndexCorruptedError: A vector is not there, or is not what was written.
    """

    def __init__(self, snapshot: Snapshot, keys: Keys, index: FaissIndex | None = None) -> None:
        self._keys = np.unique(keys)
        held = index.vectors(self._keys) if index is not None and len(keys) else None
        if held is None:
            parts = list(snapshot.vectors(self._keys.tolist()))
            found = np.concatenate([np.empty(0, np.int64), *(some for some, _ in parts)])
            if len(found) != len(self._keys):
                raise IndexCorruptedError(f"The search found documents that the store does not have. {WAY_OUT}")
            empty = np.empty((0, snapshot.dimension), np.float32)
            held = np.concatenate([empty, *(matrix for _, matrix in parts)])[np.argsort(found)]
        self._vectors = held

    def of(self, keys: Keys) -> Vectors:
        """(N, D), in the order of `keys`, which are among those."""
        vectors: Vectors = self._vectors[np.searchsorted(self._keys, keys)]
        return vectors


def _diverse(snapshot: Snapshot, found: Found, search: Search) -> Found:
    assert search.mmr is not None
    stored = _Stored(snapshot, found.keys[found.there])
    rows = []
    for scores, keys, there in zip(*found, found.there, strict=True):
        scores, keys = scores[there], keys[there]
        relevance = scores.astype(np.float64)
        if search.mode != "vector" and len(relevance):
            relevance /= relevance[0] or 1.0  # so that it weighs about as much as a cosine
        chosen = diversify(relevance, stored.of(keys), search.k, search.mmr)
        rows.append((scores[chosen], keys[chosen]))
    return Found.of(rows)


def reranked(rerank: Rerank, query: str, hits: list[Hit]) -> list[Hit]:
    """Hits in the order of what a reranker makes of their texts.

    Raises:
        InputError: it gave something else than a score for each text.
    """
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
