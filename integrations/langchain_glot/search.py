"""The reading half of `GlotVectorStore`: what LangChain asks of a store that nothing is written to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from glot_rag.embedder import Embedder
from glot_rag.errors import InputError
from glot_rag.index import Fusion, GlotIndex, Hit
from glot_rag.index.filters import Filter
from glot_rag.index.options import Mode
from glot_rag.index.validation import check_count
from langchain_glot.documents import from_hit, from_store, possible
from langchain_glot.evidence import check_evidence


class SearchesIndex(VectorStore):
    """The searches of a `GlotIndex` as LangChain names them."""

    # Set by GlotVectorStore.
    _embedding: Embeddings
    _encoder: Embedder
    _index: GlotIndex

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of those ids that exist, in the order of `ids`."""
        return [from_store(document) for document in self._index.get(possible(ids))]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        mode: Mode = "vector",
        fusion: Fusion | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` documents nearest to a text, best first; fewer if there are fewer.

        Args:
            query: The text.
            k: How many.
            filter: Only documents whose metadata match.
            evidence: Put into the metadata of each, as `"glot_evidence"`, what the head takes for signal in it:
                `{"text": the kept words, "spans": [[start, end], …] in page_content, "kept": their share}`;
                where the query is a text, also `"best"`, the lines that match it best as [[start, end, part of the
                score], …]. The backbone reads each document found again for it. The stored metadata stay as they are.
            clean: Give the texts without what the store's denoiser dropped from them before they were embedded (see
                `GlotVectorStore.from_texts`): for a language model's prompt, say. Other texts are given as they are.
            mode: "vector", "keyword" (BM25 over the words) or "hybrid" (both, made into one ranking).
            fusion: How "hybrid" makes one ranking of two.
            kwargs: None are known.

        Raises:
            InputError: An argument that cannot be used; evidence without `GlotEmbeddings` with a trained pooling.
        """
        found = self.similarity_search_with_score(
            query, k, filter, evidence=evidence, clean=clean, mode=mode, fusion=fusion, **kwargs
        )
        return [document for document, _ in found]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        mode: Mode = "vector",
        fusion: Fusion | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, each document with its score: higher is nearer.

        It is the cosine with the query in [-1, 1] by vectors, BM25 by keywords, and from 0 to 1 by both.
        """
        refuse_unknown(kwargs)
        explain_with = self._explain_with(evidence)
        found = self._search(query, k, filter, mode, fusion)
        return [(from_hit(hit, explain_with, clean, query), hit.score) for hit in found]

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        **kwargs: Any,
    ) -> list[Document]:
        """As `similarity_search`, for a query's vector of D numbers."""
        refuse_unknown(kwargs)
        explain_with = self._explain_with(evidence)
        return [from_hit(hit, explain_with, clean) for hit in self._index.search_vectors([embedding], k, filter)[0]]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        mode: Mode = "vector",
        fusion: Fusion | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`k` documents that are near to a text and unlike each other, best first.

        Args:
            query: The text.
            k: How many.
            fetch_k: Chosen from so many nearest ones, or from `k` if that is more.
            lambda_mult: From 0, as unlike as can be, to 1, a similarity search.
            filter: Only documents whose metadata match.
            evidence: As `similarity_search`.
            clean: As `similarity_search`.
            mode: As `similarity_search`: what is near, and what is chosen from.
            fusion: As `similarity_search`.
            kwargs: None are known.

        Raises:
            InputError: As `similarity_search`.
        """
        refuse_unknown(kwargs)
        explain_with = self._explain_with(evidence)
        found = self._search(query, k, filter, mode, fusion, mmr=lambda_mult, fetch_k=_prefetched(k, fetch_k))
        return [from_hit(hit, explain_with, clean, query) for hit in found]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        **kwargs: Any,
    ) -> list[Document]:
        """As `max_marginal_relevance_search`, for a query's vector of D numbers."""
        refuse_unknown(kwargs)
        explain_with = self._explain_with(evidence)
        many = _prefetched(k, fetch_k)
        found = self._index.search_vectors([embedding], k, filter, mmr=lambda_mult, fetch_k=many)[0]
        return [from_hit(hit, explain_with, clean) for hit in found]

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """As LangChain's own; "hybrid" and "keyword" are search types, too."""
        if search_type in ("hybrid", "keyword"):
            return self.similarity_search(query, mode=search_type, **kwargs)  # type: ignore[arg-type]
        return super().search(query, search_type, **kwargs)

    def as_retriever(self, **kwargs: Any) -> GlotRetriever:
        """A retriever over the store; its search types are LangChain's, "hybrid" and "keyword".

        Args:
            kwargs: `search_type`, `search_kwargs` (what the search takes, e.g. `{"k": 5, "mode": "hybrid"}`), and what
                LangChain's own take.
        """
        tags = [*(kwargs.pop("tags", None) or []), *self._get_retriever_tags()]
        return GlotRetriever(vectorstore=self, tags=tags, **kwargs)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        mode = kwargs.get("mode", "vector")
        if mode == "keyword":
            raise InputError("BM25 scores have no largest value: use mode='vector' or 'hybrid' for relevance scores")
        if mode == "hybrid":  # from 0 to 1 already
            return self.similarity_search_with_score(query, k, **kwargs)
        return super()._similarity_search_with_relevance_scores(query, k, **kwargs)

    def _search(
        self, query: str, k: int, filter: Filter | None, mode: Mode, fusion: Fusion | None, **options: Any
    ) -> list[Hit]:
        if fusion is not None:
            options["fusion"] = fusion
        return self._index.search(query, k, filter, mode=mode, **options)

    def _explain_with(self, evidence: bool) -> Embeddings | None:
        if evidence:
            check_evidence(self._embedding)
        return self._embedding if evidence else None

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return _relevance


class GlotRetriever(VectorStoreRetriever):
    """LangChain's retriever over a vector store, with the search types "hybrid" and "keyword"."""

    allowed_search_types: ClassVar[Collection[str]] = (
        *VectorStoreRetriever.allowed_search_types,
        "hybrid",
        "keyword",
    )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type in ("hybrid", "keyword"):
            return self.vectorstore.search(query, self.search_type, **self.search_kwargs, **kwargs)
        return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type in ("hybrid", "keyword"):
            search = partial(self.vectorstore.search, query, self.search_type, **self.search_kwargs, **kwargs)
            return await run_in_executor(None, search)
        return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)


def refuse_unknown(arguments: Mapping[str, Any]) -> None:
    """Raise an error that names the arguments, if there are any: a misspelt filter must not pass for none.

    Raises:
        InputError: There are.
    """
    if arguments:
        raise InputError(f"unknown arguments: {', '.join(arguments)}")


def _prefetched(k: int, fetch_k: int) -> int:
    return max(check_count(k), check_count(fetch_k, "fetch_k"))


def _relevance(cosine: float) -> float:
    """[-1, 1] -> [0, 1], growing; rounding can put a cosine just outside."""
    return min(max((1 + cosine) / 2, 0.0), 1.0)
