"""glot-rag in Haystack: a pair of embedders over a `GlotEncoder` or an exported one."""

from __future__ import annotations

try:
    import haystack as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("haystack-ai", "haystack") from error

from haystack_integrations.components.embedders.glot.embedders import GlotDocumentEmbedder, GlotTextEmbedder

__all__ = ["GlotDocumentEmbedder", "GlotTextEmbedder"]
