"""glot-rag in LangChain: embeddings, a vector store over a `GlotIndex`, a denoiser and a loader for any embeddings."""

from __future__ import annotations

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_glot.denoiser import GlotDenoiser
from langchain_glot.embeddings import GlotEmbeddings
from langchain_glot.loader import GlotLoader
from langchain_glot.vectorstores import GlotVectorStore

__all__ = ["GlotDenoiser", "GlotEmbeddings", "GlotLoader", "GlotVectorStore"]
