"""A `GlotVectorStore` over the real backbone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore


@pytest.fixture(scope="session")
def embedding() -> GlotEmbedding:
    return GlotEmbedding(dtype="float32", device="cpu")


@pytest.fixture
def store(embedding: GlotEmbedding) -> Iterator[GlotVectorStore]:
    with GlotVectorStore(embed_model=embedding) as made:
        yield made
