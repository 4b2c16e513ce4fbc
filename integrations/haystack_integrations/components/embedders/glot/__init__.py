"""glot-rag in Haystack: embedders over a `GlotEncoder` or an exported one, and the evidence for what matches."""

from __future__ import annotations

try:
    import haystack as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("haystack-ai", "haystack") from error

from haystack_integrations.components.embedders.glot.embedders import GlotDocumentEmbedder, GlotTextEmbedder
from haystack_integrations.components.embedders.glot.evidence import GlotEvidence

__all__ = ["GlotDocumentEmbedder", "GlotEvidence", "GlotTextEmbedder"]
