"""Haystack's document store over a `GlotIndex`. Needs `pip install 'glot-rag[haystack]'`."""

from glot_rag.errors import MissingExtraError

try:
    import haystack as _haystack  # noqa: F401
except ImportError as error:
    raise MissingExtraError("haystack-ai", "haystack") from error

from haystack_integrations.document_stores.glot.document_store import GlotDocumentStore

__all__ = ["GlotDocumentStore"]
