"""`GlotVectorStore`: LlamaIndex's vector store interface over a `GlotIndex`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot.filters import to_filter
from llama_index.vector_stores.glot.lazy_index import LazyIndex
from llama_index.vector_stores.glot.nodes import SOURCE_ID, to_document, to_node
from llama_index.vector_stores.glot.search import refuse_unknown, search
from pydantic import ConfigDict, PrivateAttr

from glot_rag.documents.validation import check_id
from glot_rag.errors import InputError
from glot_rag.index import Document, GlotIndex

if TYPE_CHECKING:
    from typing_extensions import Self

_NO_COPY = "a GlotVectorStore cannot be copied or pickled; open its path again, with read_only=True beside this one"


class GlotVectorStore(BasePydanticVectorStore):
    """Nodes and vectors in a `GlotIndex`: kept on disk, with deletion and with filters applied before the search.

    All methods may be called from many threads; the async ones run in a thread. Metadata filters may use every
    operator of LlamaIndex, joined by "and", "or" and "not", nested as one likes; `text_match` finds a part of a text.
    Similarities are cosines. An argument that a method does not know is refused.

    Args:
        path: Directory of an index, opened if there is one and else made; one process at a time may have it, and any
            number `read_only`. None: a temporary directory, removed by `close` or when the store is garbage.
        embed_model: The embedding that the nodes and queries will come with. A `GlotEmbedding` is known to the index by
            its own fingerprint: one with other weights or settings is refused.
        fingerprint: For other embeddings, a name that changes whenever their vectors do; an index that was made under
            another one is refused. None: `embed_model`'s class and model name, or "llama-index".
        read_only: Only query the index at `path`, which has to exist, also while another process writes to it; each
            query sees the last commit. What writes raises an `IndexReadOnlyError`.

    Raises:
        InputError: `embed_model` is no embedding, `fingerprint` is not that of a `GlotEmbedding`, or `read_only`
            without a `path`.
        IndexNotFoundError: `read_only`, and there is no index at `path`.
        FingerprintMismatchError: Another embedding made the index at `path`.
        IndexLockedError: Another process has it open.
        IndexExistsError: There is something else at `path`.
        IndexCorruptedError: The index is damaged.

    Example:
        >>> from llama_index.core import StorageContext, VectorStoreIndex
        >>> from llama_index.embeddings.glot import GlotEmbedding
        >>> from llama_index.vector_stores.glot import GlotVectorStore
        >>> embedding = GlotEmbedding()  # doctest: +SKIP
        >>> store = GlotVectorStore("my-index", embed_model=embedding)  # doctest: +SKIP
        >>> context = StorageContext.from_defaults(vector_store=store)  # doctest: +SKIP
        >>> VectorStoreIndex.from_documents(documents, context, embed_model=embedding)  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid")

    stores_text: bool = True
    path: str | None = None
    fingerprint: str = "llama-index"
    read_only: bool = False

    _index: LazyIndex = PrivateAttr()

    # Written by hand because pydantic would turn the index's typed errors into its own.
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        embed_model: BaseEmbedding | None = None,
        fingerprint: str | None = None,
        read_only: bool = False,
        **fields: Any,
    ) -> None:
        path = None if path is None else os.fspath(path)
        encoder = embed_model.encoder if isinstance(embed_model, GlotEmbedding) else None
        fields |= {"path": path, "fingerprint": _fingerprint(embed_model, fingerprint), "read_only": read_only}
        super().__init__(**fields)
        self._index = LazyIndex(path, self.fingerprint, encoder, read_only=self.read_only)

    def __getstate__(self) -> dict[str, Any]:
        """Refused: one process at a time may have an index."""
        raise InputError(_NO_COPY)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Refused, as `__getstate__`."""
        raise InputError(_NO_COPY)

    @classmethod
    def class_name(cls) -> str:
        """The name in `to_dict`."""
        return "GlotVectorStore"

    @property
    def client(self) -> GlotIndex | None:
        """The index, for `verify`, `stats` and the rest of what it does; None before the first node is added."""
        return self._index.get()

    # -- writing

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes with their embeddings in one commit; one whose id is there already replaces the old one.

        Args:
            nodes: N of them.
            kwargs: None are known.

        Returns:
            The N ids.

        Raises:
            InputError: A node that cannot be stored, e.g. without an embedding; nothing was stored.
        """
        refuse_unknown(kwargs)
        if not nodes:
            return []
        bare = next((node.node_id for node in nodes if node.embedding is None), None)
        if bare is not None:
            raise InputError(f"node {bare!r} has no embedding; add it through an index or an IngestionPipeline")
        vectors = [node.get_embedding() for node in nodes]
        documents = [to_document(node) for node in nodes]
        return self._index.of_dimension(len(vectors[0])).add_vectors(documents, vectors)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a source document in one commit.

        Args:
            ref_doc_id: The document's id.
            delete_kwargs: None are known.
        """
        refuse_unknown(delete_kwargs)
        index = self.client
        if index is not None:
            index.delete(index.ids({SOURCE_ID: ref_doc_id}))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes in one commit: those of some ids, those that filters match, or those of both.

        Args:
            node_ids: Ids; those that are not there are passed over.
            filters: On the metadata.
            delete_kwargs: None are known.

        Raises:
            InputError: Neither is given (`clear` deletes all), or a filter that the index cannot apply.
        """
        refuse_unknown(delete_kwargs)
        filter = to_filter(filters)
        if node_ids is None and filter is None:
            raise InputError("delete_nodes needs node_ids or filters; clear() deletes all nodes")
        index = self.client
        if index is None:
            return
        matching = None if filter is None else index.ids(filter)
        if node_ids is not None:
            kept = set(_possible(node_ids) if matching is None else matching)
            matching = [id for id in _possible(node_ids) if id in kept]
        index.delete(matching or [])

    def clear(self) -> None:
        """Delete all nodes. The length of vectors and the fingerprint stay."""
        index = self.client
        if index is not None:
            index.delete(index.ids())

    def persist(self, persist_path: str = "", fs: object = None) -> None:
        """Write the FAISS file, so that the next opening is faster. Nodes are safe without it, from `add` on.

        Args:
            persist_path: Not used: the index stays in its own directory, `path`.
            fs: None, for the same reason.

        Raises:
            InputError: The store is temporary, so nothing of it would persist, or `fs` is given.
        """
        if self._index.temporary:
            raise InputError("a store without a path is removed when it is closed; give it one: GlotVectorStore(path)")
        if fs is not None:
            raise InputError(f"the index is kept in {self.path!r} and cannot be written to another file system")
        index = self.client
        if index is not None:
            index.checkpoint()

    # -- reading

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes, without their embeddings: those of some ids, those that filters match, those of both, or all.

        Args:
            node_ids: Ids; the nodes of those that exist are given in their order.
            filters: On the metadata.

        Raises:
            InputError: A filter that the index cannot apply.
        """
        filter = to_filter(filters)
        index = self.client
        if index is None:
            return []
        found: Iterable[Document]
        if node_ids is None:
            found = index.documents(filter)
        else:
            matching = None if filter is None else set(index.ids(filter))
            found = index.get([id for id in _possible(node_ids) if matching is None or id in matching])
        return [to_node(document.id, document.text, document.metadata) for document in found]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes nearest to a query's vector, best first; fewer if there are fewer.

        A query without a vector and without a text gives the first `similarity_top_k` nodes that its filters match, in
        the order in which they were added, without similarities.

        Args:
            query: Modes are "default" (by vectors), "text_search" (BM25 over the words), "hybrid" (both; `alpha` is the
                weight of the vectors, from 0 to 1, and `hybrid_top_k` how many) and "mmr". `filters`, `doc_ids` and
                `node_ids` must all match. `doc_ids=[]` matches nothing; `node_ids=[]` matches all, since
                `VectorStoreIndex.as_retriever` sends it. (Where the same index object was given an `IndexNode` or
                `ImageNode`, it sends the ids of those alone; make a `VectorIndexRetriever(index)` to search all nodes.)
            kwargs: For "mmr": `mmr_threshold`, from 0 (as unlike as can be) to 1 (by nearness alone), 0.5 if neither
                it nor the query says; `mmr_prefetch_k`, the nodes to choose from (4 times `similarity_top_k`).
                `evidence=True` puts into each node's metadata, as `"glot_evidence"`, its lines that match the query's
                text best: [start, end, part of the score].

        Returns:
            Nodes without their embeddings, scores (cosines, BM25, or from 0 to 1 for "hybrid"), ids.

        Raises:
            InputError: Another mode, a filter that the index cannot apply, neither a vector nor a filter, or an unknown
                argument.
        """
        return search(self._index.get, query, kwargs)

    # -- the same in a thread

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """As `add`, in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """As `delete`, in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """As `delete_nodes`, in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """As `clear`, in a thread."""
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """As `get_nodes`, in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """As `query`, in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    # -- end

    def close(self) -> None:
        """Close the index, and remove it if it has no path. Safe to call twice.

        Warns:
            IndexRecoveryWarning: As `GlotIndex.close`.
        """
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fingerprint(embed_model: object, given: str | None) -> str:
    if embed_model is None:
        return "llama-index" if given is None else given
    if not isinstance(embed_model, BaseEmbedding):
        raise InputError(f"embed_model must be a LlamaIndex embedding, got {type(embed_model).__name__}")
    if not isinstance(embed_model, GlotEmbedding):
        return f"llama-index:{embed_model.class_name()}:{embed_model.model_name}" if given is None else given
    own = embed_model.encoder.fingerprint
    if given not in (None, own):
        raise InputError(f"this GlotEmbedding has the fingerprint {own!r}, not {given!r}; leave the argument out")
    return own


def _possible(ids: Sequence[str]) -> list[str]:
    """Without what can be no id in the index, and so has no node: to look it up would be an error."""
    if isinstance(ids, str):
        raise InputError(f"node_ids must be a list of str, got the str {ids!r}; write [{ids!r}]")
    return [id for id in ids if _can_be_id(id)]


def _can_be_id(id: object) -> bool:
    try:
        check_id(id)
    except InputError:
        return False
    return True
