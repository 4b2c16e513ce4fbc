"""Any function from texts to vectors as a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glot_rag.embedder import Vectors
from glot_rag.evaluation.search import search


class EmbeddedSearch:
    """Exact search by inner product over what two functions embed.

    Args:
        embed_documents: N texts -> (N, D) unit vectors.
        embed_queries: the same for queries.
    """

    def __init__(
        self, embed_documents: Callable[[Sequence[str]], Vectors], embed_queries: Callable[[Sequence[str]], Vectors]
    ) -> None:
        self._embed_documents = embed_documents
        self._embed_queries = embed_queries

    def __call__(
        self,
        document_ids: Sequence[str],
        texts: Sequence[str],
        query_ids: Sequence[str],
        queries: Sequence[str],
        k: int,
    ) -> dict[str, dict[str, float]]:
        """A `TextSearch`."""
        return search(document_ids, self._embed_documents(texts), query_ids, self._embed_queries(queries), k)
