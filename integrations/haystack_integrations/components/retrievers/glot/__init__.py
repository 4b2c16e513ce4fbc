"""Haystack's retrievers over a `GlotDocumentStore`. Needs `pip install 'glot-rag[haystack]'`."""

from glot_rag.errors import MissingExtraError

try:
    import haystack as _haystack  # noqa: F401
except ImportError as error:
    raise MissingExtraError("haystack-ai", "haystack") from error

from haystack_integrations.components.retrievers.glot.retrievers import (
    GlotEmbeddingRetriever,
    GlotHybridRetriever,
    GlotKeywordRetriever,
)

__all__ = ["GlotEmbeddingRetriever", "GlotHybridRetriever", "GlotKeywordRetriever"]
