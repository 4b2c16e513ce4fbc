"""The reading half of `GlotVectorStore`: what LangChain asks of a store that nothing is written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import InputError
from glot_rag.index import GlotIndex, Hit
from glot_rag.index.filters import Filter
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
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` documents nearest to a text, best first; fewer if there are fewer.

        Args:
            query: The text.
            k: How many.
            filter: Only documents whose metadata match.
            evidence: Put into the metadata of each, as `"glot_evidence"`, what the head takes for signal in it:
                `{"text": the kept words, "spans": [[start, end], …] in page_content, "kept": their share}`. The
                backbone reads each document found again for it. The stored metadata stay as they are.
            clean: Give the texts without what the store's denoiser dropped from them before they were embedded (see
                `GlotVectorStore.from_texts`): for a language model's prompt, say. Other texts are given as they are.
            kwargs: None are known.

        Raises:
            InputError: An argument that cannot be used; evidence without `GlotEmbeddings` with a trained pooling.
        """
        found = self.similarity_search_with_score(query, k, filter, evidence=evidence, clean=clean, **kwargs)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,
        *,
        evidence: bool = False,
        clean: bool = False,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, each document with its cosine with the query in [-1, 1]: higher is nearer."""
        refuse_unknown(kwargs)
        explain_with = self._explain_with(evidence)
        return [(from_hit(hit, explain_with, clean), hit.score) for hit in self._index.search(query, k, filter)]

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
            kwargs: None are known.

        Raises:
            InputError: As `similarity_search`.
        """
        self._explain_with(evidence)  # refused before the query is embedded
        vector = self._encoder.encode_queries([query])[0]
        return self.max_marginal_relevance_search_by_vector(
            vector.tolist(), k, fetch_k, lambda_mult, filter, evidence=evidence, clean=clean, **kwargs
        )

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
        hits, vectors = self._with_vectors(embedding, max(check_count(k), check_count(fetch_k)), filter)
        chosen = maximal_marginal_relevance(np.array(embedding, np.float32), vectors.tolist(), lambda_mult, k)
        return [from_hit(hits[number], explain_with, clean) for number in chosen]

    def _explain_with(self, evidence: bool) -> Embeddings | None:
        if evidence:
            check_evidence(self._embedding)
        return self._embedding if evidence else None

    def _with_vectors(self, embedding: list[float], k: int, filter: Filter | None) -> tuple[list[Hit], Vectors]:
        while True:
            hits = self._index.search_vectors([embedding], k, filter)[0]
            try:
                return hits, self._index.vectors([hit.id for hit in hits])
            except InputError:
                continue  # one of them was deleted since; the next search does not find it

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return _relevance


def refuse_unknown(arguments: Mapping[str, Any]) -> None:
    """Raise an error that names the arguments, if there are any: a misspelt filter must not pass for none.

    Raises:
        InputError: There are.
    """
    if arguments:
        raise InputError(f"unknown arguments: {', '.join(arguments)}")


def _relevance(cosine: float) -> float:
    """[-1, 1] -> [0, 1], growing; rounding can put a cosine just outside."""
    return min(max((1 + cosine) / 2, 0.0), 1.0)
