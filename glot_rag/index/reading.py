"""The half of `GlotIndex` that changes nothing: searching, reading, figures, checks, copies."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.documents.document import Document
from glot_rag.documents.validation import check_id, check_text
from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index import maintenance, validation
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.maintenance import IndexStats, VerifyReport
from glot_rag.index.options import Hit, Search, SearchOptions
from glot_rag.index.replicas import Replicas
from glot_rag.index.search import Queries, Searcher
from glot_rag.index.store.directory import disk_errors
from glot_rag.index.store.manifest import Manifest
from glot_rag.index.store.store import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from glot_rag.encoder.evidence import Evidence


class IndexReader:
    """What can be asked of an index. `GlotIndex` adds opening, closing and changing it.

    Args:
        path: Its directory, absolute.
        store: Its documents.
        encoder: Makes the vectors of queries.
        memory_map: Leave the vectors in the FAISS file.
    """

    def __init__(self, path: Path, store: Store, encoder: Embedder | None, memory_map: bool = False) -> None:
        self.path = path
        self.encoder = encoder
        self._store = store
        self._replicas = Replicas(path, store, memory_map)
        self._searcher = Searcher(self._replicas, store)
        self._write_lock = threading.RLock()
        self._closed = False
        self._process = os.getpid()

    # -- searching

    def search(
        self, query: str, k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """The `k` documents nearest to a text, best first; fewer if there are fewer.

        Args:
            query: The text.
            k: How many.
            filter: Only documents whose metadata match, e.g. `{"lang": "en", "year": {"$gte": 2023}}`; applied before
                the search, so `k` matching documents are found where there are so many. See `filters.compile_filter`.
            options: mode, fusion, offset, min_score, mmr, rerank, fetch_k, evidence, nprobe, ef_search: see
                `options.SearchOptions`.

        Raises:
            InputError: An argument that cannot be used, or the index was opened without an encoder and the search is
                not by keywords.
        """
        return self.search_batch([query], k, filter, **options)[0]

    def search_batch(
        self, queries: Sequence[str], k: int = 10, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """`search` for N texts, which are encoded and searched for together. Gives N lists."""
        self._check_open()
        texts = _checked_texts(queries)
        search = self._checked(k, filter, options)  # refused before time is spent on encoding
        encoder = None if search.mode == "keyword" else self._need_encoder()
        if not texts or not len(self):
            return [[] for _ in texts]
        vectors = None
        if encoder is not None:
            names = [f"query {text!r:.60}" for text in texts]
            vectors = validation.unit_vectors(encoder.encode_queries(texts), self.dimension, names)
        return self._run(texts, vectors, search)

    def search_vectors(
        self,
        vectors: ArrayLike,
        k: int = 10,
        filter: Filter | None = None,
        *,
        texts: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """`search` for (N, D) query vectors, which are scaled to norm 1. Gives N lists. Needs no encoder.

        Args:
            vectors: The queries' vectors.
            k: See `search`.
            filter: See `search`.
            texts: The N queries' texts, which `mode="hybrid"`, `rerank` and `evidence` need.
            options: See `search`.
        """
        self._check_open()
        queries = validation.unit_vectors(vectors, self.dimension)
        search = self._checked(k, filter, options)
        words = None if texts is None else _checked_texts(texts)
        if words is None and (search.mode != "vector" or search.rerank is not None or search.evidence):
            raise InputError(f"mode={search.mode!r}, rerank and evidence need texts=[…], the text of each query")
        if words is not None and len(words) != len(queries):
            raise InputError(f"texts must be {len(queries)}, one for each vector, got {len(words)}")
        return self._run(words, queries, search)

    def _run(self, texts: Sequence[str] | None, vectors: Vectors | None, search: Search) -> list[list[Hit]]:
        explain = self._explain() if search.evidence else None
        found = self._searcher.run(Queries(texts, vectors), search)
        if explain is not None and texts is not None:
            for text, hits in zip(texts, found, strict=True):
                for hit in hits:
                    hit.evidence = explain(hit.text, text)
        return found

    def _explain(self) -> Callable[[str, str], Evidence]:
        if "explain" not in getattr(self.encoder, "capabilities", ()):
            raise InputError(
                f"evidence needs an encoder that can explain, this index has {type(self.encoder).__name__}"
            )
        explain: Callable[[str, str], Evidence] = self.encoder.explain  # type: ignore[union-attr]
        return explain

    # -- reading

    def get(self, ids: Iterable[str]) -> list[Document]:
        """The documents with these ids, in the order of `ids`. Ids that do not exist are left out.

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

        Nothing is searched for, so every type of index gives all of them.

        Args:
            filter: See `filters.compile_filter`.

        Raises:
            InputError: A filter that cannot be used.
        """
        self._check_open()
        with self._store.snapshot() as snapshot:
            return snapshot.ids(filter)

    def documents(self, filter: Filter | None = None) -> Iterator[Document]:
        """The documents that `ids` names, one by one: those of the commit at which the iteration starts.

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

    def facets(self, key: str, filter: Filter | None = None) -> list[tuple[Any, int]]:
        """How many documents have each value of a metadata key, the most frequent first.

        A document whose value is a list counts for each of its elements; one without the key, or with an object there,
        for none.

        Args:
            key: E.g. "lang"; "author.name" also looks into an object under "author".
            filter: Count only documents that match. See `filters.compile_filter`.

        Returns:
            (value, documents). A list, as 1 and True are two values here and would be one key of a dict.

        Raises:
            InputError: A key or a filter that cannot be used.
        """
        self._check_open()
        key = check_text(key, "the key of a facet")
        with self._store.snapshot() as snapshot:
            return snapshot.facets(key, filter)

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
            return bool(self.get([check_id(id)]))
        except InputError:
            return False

    def __iter__(self) -> Iterator[Document]:
        """All documents of the commit at which the iteration starts."""
        return self.documents()

    # -- figures, checks, copies

    def stats(self) -> IndexStats:
        """Size and settings."""
        self._check_open()
        with disk_errors(self.path):
            return maintenance.stats(self.path, self._store, self._replicas)

    def verify(self) -> VerifyReport:
        """Check SQLite's structure, every checksum, the FAISS file, and the vectors in memory. Alters nothing."""
        self._check_open()
        with self._write_lock:
            return maintenance.verify(self.path, self._store, self._replicas)

    def backup(self, destination: str | os.PathLike[str]) -> None:
        """Copy the index as of its last commit, while this and other processes go on reading and writing.

        The copy is an index of its own, with the saved encoder if there is one. It is there as a whole or, after an
        error, not at all.

        Args:
            destination: A directory that is empty or does not exist.

        Raises:
            IndexExistsError: There is something at `destination`.
            IndexDiskError: The one cannot be read or the other not be written.
            IndexReadOnlyError: The index is closed.
        """
        self._check_open()
        with disk_errors(self.path):
            maintenance.backup(self.path, self._store, destination)

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


def _checked_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("queries must be a list of str, got one str; use search")
    return [check_text(text, f"query number {number}") for number, text in enumerate(texts)]
