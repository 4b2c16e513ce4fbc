"""glot-rag in LangChain: `GlotEmbeddings`, an `Embeddings` class over a `GlotEncoder`."""

from __future__ import annotations

try:
    import langchain_core as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_glot.embeddings import GlotEmbeddings

__all__ = ["GlotEmbeddings"]
