"""LangChain's searches by words and by both."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_glot import GlotVectorStore

from glot_rag.errors import InputError
from glot_rag.index import Fusion, Hit


def shown(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


@pytest.fixture
def query(filled: GlotVectorStore) -> str:
    """A word of some of the documents."""
    return next(iter(filled.index)).text.split()[0]


def test_a_search_by_words_or_by_both_is_that_of_the_index(filled: GlotVectorStore, query: str) -> None:
    modes: list[dict[str, Any]] = [
        {"mode": "keyword"},
        {"mode": "hybrid"},
        {"mode": "hybrid", "fusion": Fusion("rrf", weight=0.7)},
    ]
    for options in modes:
        found = filled.similarity_search_with_score(query, 3, **options)
        expected = shown(filled.index.search(query, 3, **options))
        assert [(document.id, score) for document, score in found] == expected != []
        documents = filled.similarity_search(query, 3, **options)
        assert [document.id for document in documents] == [id for id, _ in expected]
        retriever = filled.as_retriever(search_kwargs={"k": 3, **options})
        assert retriever.invoke(query) == documents
    diverse = filled.max_marginal_relevance_search(query, 2, 3, 0.3, mode="hybrid")
    expected = shown(filled.index.search(query, 2, mode="hybrid", mmr=0.3, fetch_k=3))
    assert [document.id for document in diverse] == [id for id, _ in expected]


@pytest.mark.parametrize("search_type", ["hybrid", "keyword"])
async def test_search_types_of_a_retriever(filled: GlotVectorStore, query: str, search_type: str) -> None:
    expected = filled.similarity_search(query, 2, mode=search_type)  # type: ignore[arg-type]
    retriever = filled.as_retriever(search_type=search_type, search_kwargs={"k": 2})
    assert retriever.invoke(query) == expected
    assert await retriever.ainvoke(query) == expected
    assert filled.search(query, search_type, k=2) == expected
    assert [each.id for each in await filled.asimilarity_search(query, 2, mode=search_type)] == [d.id for d in expected]
    assert "GlotVectorStore" in (retriever.tags or [])


def test_relevance_scores(filled: GlotVectorStore, query: str) -> None:
    found = filled.similarity_search_with_relevance_scores(query, 3, mode="hybrid")
    assert [score for _, score in found] == [hit.score for hit in filled.index.search(query, 3, mode="hybrid")]
    with pytest.raises(InputError, match="BM25 scores have no largest value"):
        filled.similarity_search_with_relevance_scores(query, 3, mode="keyword")
    with pytest.raises(ValueError, match="search_type of nearest not allowed"):
        filled.as_retriever(search_type="nearest")
