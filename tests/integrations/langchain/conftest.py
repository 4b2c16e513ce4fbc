"""A `GlotVectorStore` over embeddings that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_glot import GlotVectorStore
from recording import SIZE, Recording, corpus


@pytest.fixture
def embeddings() -> Recording:
    return Recording(size=SIZE)


@pytest.fixture
def store(embeddings: Recording) -> Iterator[GlotVectorStore]:
    with GlotVectorStore(embeddings) as made:
        yield made


@pytest.fixture
def filled(store: GlotVectorStore) -> GlotVectorStore:
    store.add_documents(corpus())
    return store


@pytest.fixture
def oracle(embeddings: Recording) -> InMemoryVectorStore:
    made = InMemoryVectorStore(embeddings)
    made.add_documents(corpus())
    return made
