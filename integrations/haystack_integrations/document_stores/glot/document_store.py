"""`GlotDocumentStore`: Haystack's document store over a `GlotIndex`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, finalize

from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.document_stores.glot.documents import OWN, check_own, from_index, to_index, vector_of
from haystack_integrations.document_stores.glot.filters import to_filter

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexNotFoundError, InputError
from glot_rag.index import Fusion, GlotIndex, Hit, SearchOptions
from glot_rag.index.filters import Filter
from glot_rag.index.validation import check_count

WITH_EMBEDDING: Filter = {f"{OWN}.no_embedding": {"$exists": False}}


class GlotDocumentStore:
    """Documents with their metadata, embeddings and words in a `GlotIndex`: kept on disk, crash-safe.

    Filters go by metadata, and are applied before a search. Embeddings come back scaled to norm 1; a document without
    one is found by keywords only. A document's score is not stored, and neither a blob nor a sparse embedding can be.
    Stores of one path share one open index, so a pipeline that was read from a file may have several of them.

    Args:
        path: Directory of an index, opened at the first use if there is one and else made.
        embedding_dim: Length of the embeddings.
        fingerprint: A name that changes whenever the embeddings do, e.g. the model's. An index that was made under
            another one is refused.
        language: Of the keywords, for an index that is made; see `GlotIndex.create`.
        read_only: Only read the index at `path`, which has to exist, also while another process writes to it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        embedding_dim: int = 384,
        fingerprint: str = "haystack",
        language: str = "english",
        read_only: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.embedding_dim = check_count(embedding_dim, "embedding_dim")
        self.fingerprint = fingerprint
        self.language = language
        self.read_only = read_only
        self._opened: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The settings: a copy shares the index, and one in another process opens its path."""
        return {**self.__dict__, "_opened": None}

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written to a file."""
        return default_to_dict(
            self,
            path=self.path,
            embedding_dim=self.embedding_dim,
            fingerprint=self.fingerprint,
            language=self.language,
            read_only=self.read_only,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotDocumentStore:
        """What `to_dict` gave."""
        return default_from_dict(cls, data)

    @property
    def index(self) -> GlotIndex:
        """The index, for `verify`, `stats`, `facets` and the rest of what it does."""
        if self._opened is None:
            self._opened = _open(self)
        return self._opened.index

    def close(self) -> None:
        """Let go of the index, which is closed once no store of its path has it; the next use opens it again."""
        self._opened = None

    # -- Haystack's protocol

    def count_documents(self) -> int:
        """How many documents there are."""
        return len(self.index)

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """The documents whose metadata match, in the order in which they were added.

        Args:
            filters: As Haystack's; None for all documents.

        Raises:
            FilterError: A filter that cannot be used.
        """
        found = list(self.index.documents(to_filter(filters)))
        vectors = self.index.vectors([document.id or "" for document in found])
        return [
            from_index(document.id or "", document.text, document.metadata, vector)
            for document, vector in zip(found, vectors, strict=True)
        ]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents in one commit.

        Args:
            documents: N of them.
            policy: What becomes of a document whose id is there, or comes twice: FAIL (and NONE), SKIP or OVERWRITE.

        Returns:
            How many were written.

        Raises:
            ValueError: Something that is no document, or cannot be stored; nothing was.
            DuplicateDocumentError: With FAIL; nothing was written.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise ValueError("write_documents takes a list of haystack Documents")
        replace = policy == DuplicatePolicy.OVERWRITE
        there = set() if replace else {found.id for found in self.index.get([each.id for each in documents])}
        new: dict[str, Document] = {}
        repeated: list[str] = []
        for document in documents:
            if not replace and (document.id in there or document.id in new):
                repeated.append(document.id)
            else:
                new[document.id] = document
        if repeated and policy != DuplicatePolicy.SKIP:
            raise DuplicateDocumentError(
                f"{len(repeated)} documents are there already, or come twice, such as {repeated[0]!r}"
            )
        stored = [to_index(document) for document in new.values()]
        vectors = [vector_of(document, self.embedding_dim) for document in new.values()]
        if stored:
            self.index.add_vectors(stored, vectors)
        return len(documents) if replace else len(stored)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids that do not exist mean nothing."""
        self.index.delete(document_ids)

    # -- the same in a thread, for pipelines that run asynchronously

    async def count_documents_async(self) -> int:
        """As `count_documents`."""
        return await asyncio.to_thread(self.count_documents)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """As `filter_documents`."""
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """As `write_documents`."""
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """As `delete_documents`."""
        await asyncio.to_thread(self.delete_documents, document_ids)

    # -- beyond the protocol, by the names of Haystack's own stores

    def delete_all_documents(self) -> None:
        """Delete all documents."""
        self.index.delete(self.index.ids())

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match; gives how many."""
        return self.index.delete(filter=_required(filters))

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set metadata fields of the documents that match; gives how many."""
        check_own(meta, "the update")
        return self.index.set_metadata(meta, filter=_required(filters))

    # -- searching

    def embedding_retrieval(
        self, query_embedding: Sequence[float], filters: dict[str, Any] | None = None, top_k: int = 10
    ) -> list[Document]:
        """The documents nearest to an embedding, best first, with their cosines as scores."""
        filter = _both(to_filter(filters), WITH_EMBEDDING)
        return self._documents(self.index.search_vectors([query_embedding], top_k, filter)[0])

    def keyword_retrieval(self, query: str, filters: dict[str, Any] | None = None, top_k: int = 10) -> list[Document]:
        """The documents with a query's words, best first, with BM25 as scores."""
        return self._documents(self.index.search(query, top_k, to_filter(filters), mode="keyword"))

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: Sequence[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        weight: float | None = None,
    ) -> list[Document]:
        """The best documents by both, with scores from 0 to 1; those without an embedding are left out.

        Args:
            query: The text.
            query_embedding: Its embedding.
            filters: As Haystack's.
            top_k: How many.
            weight: Of the embeddings, from 0 to 1; the index's default if not given.
        """
        options: SearchOptions = {"mode": "hybrid", "fusion": Fusion() if weight is None else Fusion(weight=weight)}
        filter = _both(to_filter(filters), WITH_EMBEDDING)
        found = self.index.search_vectors([query_embedding], top_k, filter, texts=[query], **options)
        return self._documents(found[0])

    def _documents(self, hits: Sequence[Hit]) -> list[Document]:
        return [from_index(hit.id, hit.text, hit.metadata, None, hit.score) for hit in hits]


class _Opened:
    """An open index, closed when the last store lets go of it."""

    def __init__(self, index: GlotIndex) -> None:
        self.index = index
        finalize(self, GlotIndex.close, index)


class _Given:
    """Stands for the encoder: embeddings come from elsewhere."""

    def __init__(self, dimension: int, fingerprint: str) -> None:
        self.dimension, self.fingerprint = dimension, fingerprint

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        raise InputError("a GlotDocumentStore takes documents with embeddings: run an embedder before it")

    encode_queries = encode_documents


_open_indexes: WeakValueDictionary[tuple[str, bool, int, str], _Opened] = WeakValueDictionary()
_guard = threading.Lock()


def _open(store: GlotDocumentStore) -> _Opened:
    key = os.path.realpath(store.path), store.read_only, store.embedding_dim, store.fingerprint
    with _guard:
        opened = _open_indexes.get(key)
        if opened is None:
            encoder = _Given(store.embedding_dim, store.fingerprint)
            try:
                index = GlotIndex.open(store.path, encoder, read_only=store.read_only)
            except IndexNotFoundError:
                if store.read_only:
                    raise
                index = GlotIndex.create(Path(store.path), encoder, language=store.language)
            opened = _open_indexes[key] = _Opened(index)
        return opened


def _both(first: Filter | None, second: Filter) -> Filter:
    return second if first is None else {"$and": [first, second]}


def _required(filters: dict[str, Any]) -> Filter:
    filter = to_filter(filters)
    if filter is None:
        raise InputError("an empty filter matches every document; for that there is delete_all_documents")
    return filter
