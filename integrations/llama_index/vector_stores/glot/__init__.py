"""glot-rag in LlamaIndex: `GlotVectorStore`, a vector store over a `GlotIndex`, and the way into it."""

from __future__ import annotations

try:
    import llama_index.core as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.vector_stores.glot.base import GlotVectorStore
from llama_index.vector_stores.glot.indexing import index_documents

__all__ = ["GlotVectorStore", "index_documents"]
