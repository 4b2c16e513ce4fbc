"""glot-rag in LlamaIndex: `GlotEmbedding`, a `BaseEmbedding` over a `GlotEncoder`."""

from __future__ import annotations

try:
    import llama_index.core as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.embeddings.glot.base import GlotEmbedding

__all__ = ["GlotEmbedding"]
