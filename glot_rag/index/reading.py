"""What an index is asked: searches, look-ups, lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index import validation
from glot_rag.index.document import Document, Hit
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.manifest import Manifest
from glot_rag.index.mirror import Mirror
from glot_rag.index.search import Search, SearchOptions, run
from glot_rag.index.stats import IndexStats, collect
from glot_rag.index.store import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ReadableIndex:
    """The half of `GlotIndex` that changes nothing."""

    def __init__(self, path: Path, store: Store, encoder: Embedder | None, memory_map: bool = False) -> None:
        self.path = path
        self.encoder = encoder
        self._store = store
        self._mirror = Mirror(path, store, memory_map)
        self._closed = False
        self._process = os.getpid()

    def search(
        self, query: str, k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """The `k` documents nearest to a text, best first; fewer if there are fewer.

        Args:
            query: The text.
            k: How many.
            filter: Only documents whose metadata match, e.g. `{"lang": "en", "year": {"$gte": 2023}}`; applied before
                the search, so `k` matching documents are found where there are so many. See `filters.compile_filter`.
            options: offset, min_score, mmr, fetch_k, nprobe, ef_search: see `search.SearchOptions`.

        Raises:
            InputError: An argument that cannot be used, or the index was opened without an encoder.
        """
        return self.search_batch([query], k, filter, **options)[0]

    def search_batch(
        self, queries: Sequence[str], k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """As `search` for N texts, encoded and searched together. Gives N lists."""
        self._check_open()
        if isinstance(queries, str):
            raise InputError("queries must be a list of str, got one str; use search")
        texts = [validation.check_text(query, f"query number {number}") for number, query in enumerate(queries)]
        search = self._checked(k, filter, options)  # refused before time is spent on encoding
        encoder = self._need_encoder()
        if not texts or not len(self):
            return [[] for _ in texts]
        names = [f"query {text!r:.60}" for text in texts]
        vectors = validation.unit_vectors(encoder.encode_queries(texts), self.dimension, names)
        return run(self._mirror, vectors, search)

    def search_vectors(
        self, vectors: ArrayLike, k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """As `search_batch` for (N, D) query vectors, which are scaled to norm 1. Needs no encoder."""
        self._check_open()
        queries = validation.unit_vectors(vectors, self.dimension)
        return run(self._mirror, queries, self._checked(k, filter, options))

    def get(self, ids: Iterable[str]) -> list[Document]:
        """The documents of those ids that exist, in the order of `ids`.

        Raises:
            InputError: Something that cannot be an id.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        wanted = validation.check_ids(ids)
        with self._store.snapshot() as snapshot:
            found = snapshot.by_id(list(set(wanted)))
        return [found[id].document() for id in wanted if id in found]

    def ids(self, filter: Filter | None = None) -> list[str]:
        """The ids of all documents, or of those whose metadata match, in the order in which they were added.

        Nothing is searched, so every type of index gives all of them: `index.delete(index.ids({"draft": True}))`.

        Args:
            filter: See `filters.compile_filter`.

        Raises:
            InputError: A filter that cannot be used.
        """
        self._check_open()
        with self._store.snapshot() as snapshot:
            return snapshot.ids(filter)

    def documents(self, filter: Filter | None = None) -> Iterator[Document]:
        """As `ids`, the documents themselves, one by one: those of the commit at which the iteration starts.

        Raises:
            InputError: A filter that cannot be used.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        if filter is not None:
            compile_filter(filter)  # refused now, not at the first document
        return self._documents(filter)

    def _documents(self, filter: Filter | None) -> Iterator[Document]:
        with self._store.snapshot() as snapshot:
            for row in snapshot.rows() if filter is None else snapshot.rows_matching(filter):
                yield row.document()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The stored vectors of documents, (N, D) float32 with rows of norm 1, in the order of `ids`.

        Raises:
            InputError: Something that cannot be an id, or an id that is not there.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        wanted = validation.check_ids(ids)
        with self._store.snapshot() as snapshot:
            found = {id: snapshot.decode(columns) for id, columns in snapshot.raw_by_id(list(set(wanted))).items()}
        missing = [id for id in wanted if id not in found]
        if missing:
            raise InputError(
                f"no document {missing[0]!r} in the index ({len(missing)} of {len(wanted)} ids are missing)"
            )
        rows = [np.frombuffer(found[id][1], np.float32) for id in wanted]
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def stats(self) -> IndexStats:
        """Size and settings."""
        self._check_open()
        return collect(self.path, self._store, self._mirror)

    @property
    def manifest(self) -> Manifest:
        """The settings."""
        return self._store.manifest

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return self.manifest.dimension

    def __len__(self) -> int:
        self._check_open()
        with self._store.snapshot() as snapshot:
            return snapshot.state.documents

    def __contains__(self, id: object) -> bool:
        try:
            return bool(self.get([validation.check_id(id)]))
        except InputError:
            return False

    def __iter__(self) -> Iterator[Document]:
        """All documents of the commit at which the iteration starts."""
        return self.documents()

    # -- inside

    def _checked(self, k: int, filter: Filter | None, options: SearchOptions) -> Search:
        search = Search(k, filter, **options)
        search.check_for(self.manifest.index_type)
        return search

    def _need_encoder(self) -> Embedder:
        if self.encoder is None:
            raise InputError("This needs an encoder: GlotIndex.open(path, encoder=…)")
        return self.encoder

    def _check_open(self) -> None:
        if self._closed:
            raise IndexReadOnlyError(f"The index {self.path} is closed; open it again with GlotIndex.open")
        if self._process != os.getpid():
            raise IndexReadOnlyError(f"The index {self.path} was opened before a fork; open it again in this process")
