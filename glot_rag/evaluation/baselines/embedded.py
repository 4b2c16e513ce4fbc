"""Any function from texts to vectors as a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glot_rag.embedder import Vectors
from glot_rag.evaluation.search import Found, Nearest


class EmbeddedSearch:
    """A `TextSearch` by inner product over what two functions embed.

    Args:
        embed_documents: N texts -> (N, D) unit vectors.
        embed_queries: the same for queries.
        queries: Q texts.
        k: documents a query.
    """

    def __init__(
        self,
        embed_documents: Callable[[Sequence[str]], Vectors],
        embed_queries: Callable[[Sequence[str]], Vectors],
        queries: Sequence[str],
        k: int,
    ) -> None:
        self._embed_documents = embed_documents
        self._nearest = Nearest(embed_queries(queries), k)

    def add(self, texts: Sequence[str]) -> None:
        """Embed and compare."""
        self._nearest.add(self._embed_documents(texts))

    def found(self) -> Found:
        """The nearest documents."""
        return self._nearest.found()
