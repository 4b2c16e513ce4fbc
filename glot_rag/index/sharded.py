"""Several indexes searched as one: what each finds is merged, so that the hits are those of one large index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from glot_rag.documents.document import Document
from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import FingerprintMismatchError, InputError
from glot_rag.index import validation
from glot_rag.index.api import GlotIndex
from glot_rag.index.filters import Filter
from glot_rag.index.fusion import Fusion
from glot_rag.index.options import Hit, Search, SearchOptions
from glot_rag.index.search import Candidates, Queries, diversify, reranked

if TYPE_CHECKING:
    from typing_extensions import Unpack

Result = TypeVar("Result")


class ShardedIndex:
    """A read-only view of several indexes of one encoder. Made by `open`, ended by `close` or `with`.

    A search asks all of them side by side. Hits, scores and order are those of one index with all documents (equal
    scores aside): keywords weigh as they do over all documents, and a hybrid search fuses what is best over all. Where
    the indexes are approximate (IVF, graph), so is this. No id should be in two of them: both would be found.

    Args:
        indexes: Open, in the order that decides between equal scores.
        encoder: Makes the vectors of queries.
    """

    def __init__(self, indexes: Sequence[GlotIndex], encoder: Embedder | None = None) -> None:
        self._indexes = list(indexes)
        self.encoder = encoder
        self._pool = ThreadPoolExecutor(len(self._indexes), "search")

    @classmethod
    def open(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        encoder: Embedder | None = None,
        *,
        check: bool | None = None,
        memory_map: bool = False,
    ) -> ShardedIndex:
        """Open indexes for reading.

        Args:
            paths: Their directories.
            encoder: As for `GlotIndex.open`, which explains `check` and `memory_map`, too.
            check: As there.
            memory_map: As there.

        Raises:
            InputError: No paths.
            FingerprintMismatchError: Two of them were made by different encoders, or differ in language.
        """
        opened: list[GlotIndex] = []
        try:
            for path in paths:
                index = GlotIndex.open(path, encoder, read_only=True, check=check, memory_map=memory_map)
                opened.append(index)
                _check_alike(opened[0], index)
            if not opened:
                raise InputError("a sharded index needs the path of one index or more, got none")
        except BaseException:
            for index in opened:
                index.close()
            raise
        return cls(opened, encoder)

    def close(self) -> None:
        """Let go of the indexes. Safe to call twice."""
        self._pool.shutdown()
        for index in self._indexes:
            index.close()

    def __enter__(self) -> ShardedIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(map(len, self._indexes))

    def get(self, ids: Iterable[str]) -> list[Document]:
        """The documents with these ids, in the order of `ids`. Ids that do not exist are left out."""
        wanted = validation.check_ids(ids)
        found = {document.id: document for index in self._indexes for document in index.get(wanted)}
        return [found[id] for id in wanted if id in found]

    def search(
        self, query: str, k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """As `GlotIndex.search`."""
        return self.search_batch([query], k, filter, **options)[0]

    def search_batch(
        self, queries: Sequence[str], k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """As `GlotIndex.search_batch`.

        Raises:
            InputError: As there; or `evidence` is asked for, which `encoder.explain` gives.
        """
        search = Search(k, filter, **options)
        if search.evidence:
            raise InputError("evidence is given by one index; call encoder.explain(hit.text, query) for a hit")
        for index in self._indexes:
            search.check_for(index.manifest.index_type)
        texts = list(queries)
        vectors = None
        if search.mode != "keyword" and texts:
            if self.encoder is None:
                raise InputError("This needs an encoder: ShardedIndex.open(paths, encoder=…)")
            vectors = self.encoder.encode_queries(texts)
        found = self._by_vectors(vectors, search) if search.mode == "vector" else self._by_words(texts, vectors, search)
        if search.min_score is not None:
            found = [[hit for hit in hits if hit.score >= search.min_score] for hits in found]
        if search.mmr is not None:
            found = [self._diverse(hits, search) for hits in found]
        elif search.rerank is not None:
            found = [reranked(search.rerank, text, hits)[:k] for text, hits in zip(texts, found, strict=True)]
        return found

    def _by_vectors(self, vectors: Vectors | None, search: Search) -> list[list[Hit]]:
        if vectors is None:
            return []
        parts = self._each(
            lambda index: index.search_vectors(
                vectors, search.wanted, search.filter, nprobe=search.nprobe, ef_search=search.ef_search
            )
        )
        merged = []
        for number in range(len(vectors)):
            hits = [hit for part in parts for hit in part[number]]
            merged.append(sorted(hits, key=lambda hit: -hit.score)[search.offset : search.wanted])
        return merged

    def _by_words(self, texts: list[str], vectors: Vectors | None, search: Search) -> list[list[Hit]]:
        fusion = search.fusion or Fusion()
        depth = search.wanted if search.mode == "keyword" else max(search.wanted, fusion.depth)
        queries = Queries(texts, vectors)
        counted = self._each(lambda index: index._searcher.term_counts(texts))
        counts = [reduce(add, each) for each in zip(*counted, strict=True)]
        parts = self._each(lambda index: index._searcher.candidates(queries, search, depth, counts))
        found = []
        for each in zip(*parts, strict=True):
            hits, scores = _merged(each, depth, None if search.mode == "keyword" else fusion)
            order = np.argsort(-scores, kind="stable")[search.offset : search.wanted].tolist()
            for place in order:
                hits[place].score = float(scores[place])
            found.append([hits[place] for place in order])
        return found

    def _diverse(self, hits: list[Hit], search: Search) -> list[Hit]:
        assert search.mmr is not None
        if not hits:
            return hits
        held: dict[str, Vectors] = {}
        for index in self._indexes:
            there = [document.id for document in index.get([hit.id for hit in hits])]
            held |= dict(zip(there, index.vectors(there), strict=True))
        relevance = np.array([hit.score for hit in hits])
        if search.mode != "vector":
            relevance /= relevance[0] or 1.0
        chosen = diversify(relevance, np.stack([held[hit.id] for hit in hits]), search.k, search.mmr)
        return [hits[place] for place in chosen]

    def _each(self, ask: Callable[[GlotIndex], Result]) -> list[Result]:
        return list(self._pool.map(ask, self._indexes))


def _merged(parts: Sequence[Candidates], depth: int, fusion: Fusion | None) -> tuple[list[Hit], Vectors]:
    """The candidates that one large index would have had, in the order of the indexes, and their scores.

    Args:
        parts: One for each index.
        depth: How many each ranking has over all documents.
        fusion: None for a search by keywords.
    """
    hits = [hit for part in parts for hit in part.hits]
    cosines = np.concatenate([part.cosines for part in parts])
    words = np.concatenate([part.words for part in parts])
    near = np.concatenate([np.arange(len(part.hits)) < part.near for part in parts])
    # In the order of documents: equal scores keep it.
    order = np.concatenate([np.argsort(part.keys) + start for part, start in zip(parts, _starts(parts), strict=True)])
    hits, cosines, words, near = [hits[n] for n in order.tolist()], cosines[order], words[order], near[order]
    kept = np.zeros(len(hits), bool)
    by_words = np.argsort(-words, kind="stable")
    kept[by_words[words[by_words] > 0][:depth]] = True
    by_vectors = np.argsort(np.where(near, -cosines, np.inf), kind="stable")[: min(depth, int(near.sum()))]
    kept[by_vectors] = True
    places = np.flatnonzero(kept)
    chosen = [hits[place] for place in places.tolist()]
    scores = words[places] if fusion is None else fusion.fuse(cosines[places], words[places])
    return chosen, np.asarray(scores)


def _starts(parts: Sequence[Candidates]) -> list[int]:
    return [sum(len(part.hits) for part in parts[:number]) for number in range(len(parts))]


def _check_alike(first: GlotIndex, other: GlotIndex) -> None:
    for name in ("fingerprint", "dimension", "language"):
        one, two = getattr(first.manifest, name), getattr(other.manifest, name)
        if one != two:
            raise FingerprintMismatchError(
                f"{first.path} has {name} {one!r}, {other.path} has {two!r}: they cannot be searched together; make "
                "the one again as the other was made"
            )
