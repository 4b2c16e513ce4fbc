"""One search: what may be asked, and the way from FAISS's keys to hits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError, InputError
from glot_rag.index import index_types
from glot_rag.index.document import Hit
from glot_rag.index.exact import Found
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.mirror import Mirror
from glot_rag.index.mmr import diversify
from glot_rag.index.rows import WAY_OUT, Row
from glot_rag.index.snapshot import Snapshot
from glot_rag.index.validation import check_k

FETCH_FACTOR = 4  # diverse hits are chosen from so many times k
RERANK_FACTOR = 10  # an index that holds less than the vectors gives so many times k, ordered by the stored ones then


class SearchOptions(TypedDict, total=False):
    """What the searches of a `GlotIndex` take besides the query, `k` and `filter`.

    Attributes:
        offset: Leave out so many of the best: page 3 of 10 is `k=10, offset=20`. Pages are parts of one list in an
            exact index to which nothing is added meanwhile; in the others a document near an edge may change sides.
        min_score: Only hits with at least this score; so there may be fewer than `k`.
        mmr: Choose hits that are near to the query and unlike each other (maximal marginal relevance): from 0, as
            unlike as can be, to 1, by nearness alone. Hits come in the order in which they were chosen.
        fetch_k: With `mmr`, the number of nearest documents to choose from; 4·k if not given.
        nprobe: Lists to look into, of an index with lists: more is slower and more precise. Not given: one in 32, at
            least 8. Where few documents pass the filter, more lists are looked into.
        ef_search: Candidates to keep, of an index that is a graph: as `nprobe`. Not given: 128.
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
        check_k(self.k)
        for name in ("fetch_k", "nprobe", "ef_search"):
            if getattr(self, name) is not None:
                check_k(getattr(self, name), name)
        if self.offset != 0:
            check_k(self.offset, "offset")
        for name in ("min_score", "mmr"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or math.isnan(value):
                raise InputError(f"{name} must be a number, got {value!r}")
        if self.mmr is not None and not 0 <= self.mmr <= 1:
            raise InputError(f"mmr must be from 0 to 1, got {self.mmr!r}")
        if self.mmr is None and self.fetch_k is not None:
            raise InputError("fetch_k goes with mmr; for more hits give a larger k")
        if self.mmr is not None and self.offset:
            raise InputError("offset does not go with mmr, which chooses k hits together; give a larger k")
        if self.filter is not None:
            compile_filter(self.filter)

    def check_for(self, index_type: str) -> None:
        """Refuse settings that an index of that type can never have use for.

        Raises:
            InputError: There is one.
        """
        for name, part in (("nprobe", "ivf"), ("ef_search", "hnsw")):
            if getattr(self, name) is not None and not index_types.takes(index_type, part):
                raise InputError(f"{name} is for index types with {part!r}, this index is {index_type!r}; leave it out")


def run(mirror: Mirror, queries: Vectors, search: Search) -> list[list[Hit]]:
    """Search for each of (N, D) unit vectors; gives N lists of hits.

    Raises:
        IndexCorruptedError: A document that was found is not there or does not match its checksum.
    """
    first, wanted = search.offset, search.offset + search.k
    if search.mmr is not None:
        wanted = max(search.k, FETCH_FACTOR * search.k if search.fetch_k is None else search.fetch_k)
    with mirror.synchronised() as snapshot:
        keys = None if search.filter is None else mirror.matching(snapshot, search.filter)
        fetched = wanted if mirror.exact else RERANK_FACTOR * wanted
        found = mirror.search(snapshot, queries, fetched, keys, search.nprobe, search.ef_search)
        vectors = {} if mirror.exact and search.mmr is None else _vectors(snapshot, _keys(found))
        if not mirror.exact:
            found = [_rescored(*pair, vectors) for pair in zip(queries, found, strict=True)]
        found = [each[first:wanted] for each in found]
        if search.min_score is not None:
            found = [[pair for pair in each if pair[0] >= search.min_score] for each in found]
        if search.mmr is not None:
            found = [_diverse(each, vectors, search.k, search.mmr) for each in found]
        wanted_keys = _keys(found)
        rows = mirror.rows(snapshot, wanted_keys)
    _check_all_there(len(rows), wanted_keys)
    return [[_hit(rows[key], score) for score, key in each] for each in found]


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
