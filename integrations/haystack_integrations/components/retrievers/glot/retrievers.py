"""Retrievers over a `GlotDocumentStore`: by embedding, by keywords, by both."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack_integrations.document_stores.glot import GlotDocumentStore

from glot_rag.errors import InputError
from glot_rag.index.validation import check_count


class _Retriever:
    """What the retrievers share.

    Args:
        document_store: Where to look.
        filters: For searches that are given none.
        top_k: How many documents, for searches that do not say.
    """

    def __init__(
        self, document_store: GlotDocumentStore, filters: dict[str, Any] | None = None, top_k: int = 10
    ) -> None:
        if not isinstance(document_store, GlotDocumentStore):
            raise InputError(f"document_store must be a GlotDocumentStore, got {type(document_store).__name__}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = check_count(top_k, "top_k")

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written to a file."""
        return default_to_dict(
            self, document_store=self.document_store.to_dict(), filters=self.filters, top_k=self.top_k
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """What `to_dict` gave."""
        parameters = data["init_parameters"]
        if isinstance(parameters["document_store"], dict):
            parameters["document_store"] = GlotDocumentStore.from_dict(parameters["document_store"])
        return default_from_dict(cls, data)

    def _asked(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        return {
            "filters": self.filters if filters is None else filters,
            "top_k": self.top_k if top_k is None else check_count(top_k, "top_k"),
        }


@component
class GlotEmbeddingRetriever(_Retriever):
    """The documents nearest to a query's embedding; scores are cosines."""

    @component.output_types(documents=list[Document])
    def run(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """See `GlotDocumentStore.embedding_retrieval`."""
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **self._asked(filters, top_k))}


@component
class GlotKeywordRetriever(_Retriever):
    """The documents with a query's words; scores are BM25."""

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """See `GlotDocumentStore.keyword_retrieval`."""
        return {"documents": self.document_store.keyword_retrieval(query, **self._asked(filters, top_k))}


@component
class GlotHybridRetriever(_Retriever):
    """The best documents by embedding and by words together; scores are from 0 to 1.

    Args:
        document_store: Where to look.
        filters: For searches that are given none.
        top_k: How many documents, for searches that do not say.
        weight: Of the embeddings, from 0 to 1; the index's default if not given.
    """

    def __init__(
        self,
        document_store: GlotDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        weight: float | None = None,
    ) -> None:
        _Retriever.__init__(self, document_store, filters, top_k)  # `component` makes another class of this one
        self.weight = weight

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written to a file."""
        data = _Retriever.to_dict(self)
        data["init_parameters"]["weight"] = self.weight
        return data

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """See `GlotDocumentStore.hybrid_retrieval`."""
        found = self.document_store.hybrid_retrieval(
            query, query_embedding, weight=self.weight, **self._asked(filters, top_k)
        )
        return {"documents": found}
