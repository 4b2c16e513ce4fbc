"""One search: what may be asked, and the way from FAISS's keys to hits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError, InputError
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.index_types import has_graph, has_lists
from glot_rag.index.store.cache import FilterCache, RowCache
from glot_rag.index.store.schema import WAY_OUT, Row
from glot_rag.index.store.snapshot import Snapshot
from glot_rag.index.validation import check_count
from glot_rag.index.vectors.replica import FaissReplica, Found

FETCH_FACTOR = 4  # diverse hits are chosen from so many times k
RERANK_FACTOR = 10  # where FAISS compresses vectors it gives so many times k, which the stored vectors then order


@dataclass(frozen=True)
class Hit:
    """One document that a search found.

    Attributes:
        id: The document's id.
        score: Inner product of the unit vectors of query and document (their cosine), in [-1, 1] up to rounding.
        text: The document's text.
        metadata: The document's metadata.
    """

    id: str
    score: float
    text: str
    metadata: Mapping[str, Any] = field(hash=False)


class SearchOptions(TypedDict, total=False):
    """What the searches of a `GlotIndex` take besides the query, `k` and `filter`. Counts may be NumPy integers.

    Attributes:
        offset: Leave out so many of the best: page 3 of 10 is `k=10, offset=20`. Pages are parts of one list in an
            exact index to which nothing is added meanwhile; in the others a document near an edge may change sides.
        min_score: Only hits with at least this score, so there may be fewer than `k`.
        mmr: Choose hits that are near to the query and unlike each other (maximal marginal relevance): from 0, as
            unlike as can be, to 1, by nearness alone. Hits come in the order in which they were chosen.
        fetch_k: With `mmr`, the number of nearest documents to choose from; 4·k if not given.
        nprobe: Lists to look into, of an index with lists: more is slower and more precise. Not given: one in 32, at
            least 8. Where few documents match the filter, more lists are looked into.
        ef_search: Candidates to keep, of an index that is a graph: more is slower and more precise. Not given: 128.
    """

    offset: int
    min_score: float | None
    mmr: float | None
    fetch_k: int | None
    nprobe: int | None
    ef_search: int | None


@dataclass(frozen=True)
class Search:
    """A checked search: `k`, `filter` and the `SearchOptions`.

    Raises:
        InputError: An argument that cannot be used.
    """

    k: int
    filter: Filter | None = None
    offset: int = 0
    min_score: float | None = None
    mmr: float | None = None
    fetch_k: int | None = None
    nprobe: int | None = None
    ef_search: int | None = None

    def __post_init__(self) -> None:
        for name in ("k", "fetch_k", "nprobe", "ef_search", "offset"):
            if (count := getattr(self, name)) is not None or name in ("k", "offset"):
                object.__setattr__(self, name, check_count(count, name, least=0 if name == "offset" else 1))
        for name in ("min_score", "mmr"):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or math.isnan(value):
                raise InputError(f"{name} must be a number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if self.mmr is not None and not 0 <= self.mmr <= 1:
            raise InputError(f"mmr must be from 0 to 1, got {self.mmr!r}")
        if self.mmr is None and self.fetch_k is not None:
            raise InputError("fetch_k goes with mmr; for more hits give a larger k")
        if self.mmr is not None and self.offset:
            raise InputError("offset does not go with mmr, which chooses k hits together; give a larger k")
        if self.filter is not None:
            compile_filter(self.filter)

    def check_for(self, index_type: str) -> None:
        """Refuse a setting that means nothing to an index of that type.

        Raises:
            InputError: There is one.
        """
        checks: Sequence[tuple[str, Callable[[str], bool], str]] = (
            ("nprobe", has_lists, "'ivf' and 'ivfpq'"),
            ("ef_search", has_graph, "'hnsw'"),
        )
        for name, takes, types in checks:
            if getattr(self, name) is not None and not takes(index_type):
                raise InputError(f"{name} is for the index types {types}, this index is {index_type!r}; leave it out")


class Searcher:
    """Searches an index through its FAISS replica, with its row and filter caches."""

    def __init__(self, replica: FaissReplica) -> None:
        self._replica = replica
        self._rows = RowCache()
        self._filters = FilterCache()

    def run(self, queries: Vectors, search: Search) -> list[list[Hit]]:
        """Search for each of (N, D) unit vectors; gives N lists of hits.

        Raises:
            IndexCorruptedError: A document that was found is not there or does not match its checksum.
        """
        replica = self._replica
        first, wanted = search.offset, search.offset + search.k
        if search.mmr is not None:
            wanted = max(search.k, FETCH_FACTOR * search.k if search.fetch_k is None else search.fetch_k)
        with replica.synchronised() as snapshot:
            keys = None if search.filter is None else self._filters.keys(snapshot, search.filter)
            fetched = wanted if replica.exact else RERANK_FACTOR * wanted
            found = replica.search(snapshot, queries, fetched, keys, search.nprobe, search.ef_search)
            vectors = {} if replica.exact and search.mmr is None else _vectors(snapshot, _keys(found))
            if not replica.exact:
                found = [_rescored(*pair, vectors) for pair in zip(queries, found, strict=True)]
            found = [each[first:wanted] for each in found]
            if search.min_score is not None:
                found = [[pair for pair in each if pair[0] >= search.min_score] for each in found]
            if search.mmr is not None:
                found = [_diverse(each, vectors, search.k, search.mmr) for each in found]
            wanted_keys = _keys(found)
            rows = self._rows.rows(snapshot, wanted_keys)
        _check_all_there(len(rows), wanted_keys)
        return [[_hit(rows[key], score) for score, key in each] for each in found]


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


def _check_all_there(count: int, keys: set[int]) -> None:
    if count != len(keys):
        raise IndexCorruptedError(f"FAISS found documents that the store does not have. {WAY_OUT}")


def _vectors(snapshot: Snapshot, keys: set[int]) -> dict[int, Vectors]:
    """The stored vectors, (D,) each."""
    parts = snapshot.vectors(keys)
    vectors = {key: row for some, matrix in parts for key, row in zip(some.tolist(), matrix, strict=True)}
    _check_all_there(len(vectors), keys)
    return vectors


def _rescored(query: Vectors, found: Found, vectors: dict[int, Vectors]) -> Found:
    keys = [key for _, key in found]
    scores = (np.stack([vectors[key] for key in keys]) @ query).tolist() if keys else []
    return sorted(zip(scores, keys, strict=True), key=lambda pair: -pair[0])


def _diverse(found: Found, vectors: dict[int, Vectors], k: int, threshold: float) -> Found:
    if not found:
        return []
    matrix = np.stack([vectors[key] for _, key in found])
    return [found[number] for number in diversify([score for score, _ in found], matrix, k, threshold)]


def _hit(row: Row, score: float) -> Hit:
    return Hit(row.id, score, row.text, row.parsed_metadata())
