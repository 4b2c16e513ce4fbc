"""Any LangChain `Embeddings` as the encoder that a `GlotIndex` asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from langchain_core.embeddings import Embeddings

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import InputError
from glot_rag.index.validation import unit_vectors
from langchain_glot.embeddings import GlotEmbeddings


class EmbeddingsEncoder:
    """An `Embedder` over LangChain embeddings. Embeds one word, to learn D.

    Args:
        embeddings: The embeddings.
        fingerprint: What an index remembers them by. None: their class and, where they have one, their model's name.
    """

    def __init__(self, embeddings: Embeddings, fingerprint: str | None = None) -> None:
        self.embeddings = embeddings
        self.dimension = len(embeddings.embed_query("dimension"))
        self.fingerprint = _default_fingerprint(embeddings) if fingerprint is None else fingerprint

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """N texts -> (N, D) unit vectors; there is no progress to show.

        Raises:
            InputError: The embeddings gave something else than N vectors of D finite numbers, not all zeros.
        """
        return self._checked(self.embeddings.embed_documents(list(texts)), texts)

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """As `encode_documents`, for queries."""
        return self._checked([self.embeddings.embed_query(text) for text in texts], texts)

    def _checked(self, rows: list[list[float]], texts: Sequence[str]) -> Vectors:
        if not rows and not texts:
            return np.zeros((0, self.dimension), np.float32)
        return unit_vectors(rows, self.dimension, [f"{text:.60}" for text in texts])


def encoder_of(embedding: Embeddings, fingerprint: str | None) -> Embedder:
    """The encoder inside `GlotEmbeddings`, or an adapter for others.

    Raises:
        InputError: No `Embeddings`, a fingerprint for `GlotEmbeddings`, which have one, or a cache that would give
            queries the vectors of documents.
    """
    if not isinstance(embedding, Embeddings):
        raise InputError(f"embedding must be a LangChain Embeddings object, got {type(embedding).__name__}")
    if not isinstance(embedding, GlotEmbeddings):
        glot = glot_inside(embedding)
        if glot is not None and not glot.encoder.embeds_alike and _caches_both_in_one(embedding):
            raise InputError(
                "the cache knows a vector by its text alone, and these embeddings embed queries and documents "
                "differently: give query_embedding_cache a store of its own"
            )
        return EmbeddingsEncoder(embedding, fingerprint)
    if fingerprint is not None:
        raise InputError("GlotEmbeddings have a fingerprint of their own; leave the argument out")
    return embedding.encoder


def glot_inside(embeddings: Embeddings) -> GlotEmbeddings | None:
    """`GlotEmbeddings`, or those in a `CacheBackedEmbeddings`, which gives the same vectors; else None."""
    inner = getattr(embeddings, "underlying_embeddings", embeddings)
    return inner if isinstance(inner, GlotEmbeddings) else None


def _caches_both_in_one(embeddings: Embeddings) -> bool:
    """Whether a `CacheBackedEmbeddings` keeps queries where documents are."""
    names = ("document_embedding_store", "query_embedding_store")
    documents, queries = (getattr(embeddings, name, None) for name in names)
    return queries is not None and getattr(documents, "store", documents) is getattr(queries, "store", queries)


def _default_fingerprint(embeddings: Embeddings) -> str:
    if glot := glot_inside(embeddings):
        return glot.encoder.fingerprint
    names = (getattr(embeddings, attribute, None) for attribute in ("model", "model_name"))
    name = next((name for name in names if isinstance(name, str)), "")
    return f"langchain:{type(embeddings).__qualname__}:{name}"
