"""LangChain's own test suite for vector stores, and what it leaves out of searching."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_glot import GlotVectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from recording import Recording

from glot_rag.errors import (
    InputError,
)


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:  # type: ignore[override]
        with GlotVectorStore(self.get_embeddings()) as store:
            yield store


class TestStandardOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:  # type: ignore[override]
        with GlotVectorStore(self.get_embeddings(), tmp_path / "index") as store:
            yield store


class TestSearch:
    QUERIES = ("text 7", "something else", "another query")

    def test_scores_are_cosines_best_first(self, filled: GlotVectorStore, oracle: InMemoryVectorStore) -> None:
        for query in self.QUERIES:
            expected = oracle.similarity_search_with_score(query, k=7)
            found = filled.similarity_search_with_score(query, k=7)
            assert [document for document, _ in found] == [document for document, _ in expected]
            np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-5)
            assert filled.similarity_search(query, k=7) == [document for document, _ in expected]

    def test_by_vector(self, filled: GlotVectorStore, embeddings: Recording) -> None:
        vector = [1000 * number for number in embeddings.embed_query("text 7")]
        assert filled.similarity_search_by_vector(vector, k=5) == filled.similarity_search("text 7", k=5)
        assert filled.similarity_search_by_vector(vector, k=1)[0].id == "d7"
        english = filled.similarity_search_by_vector(vector, k=5, filter={"lang": "en"})
        assert english == filled.similarity_search("text 7", k=5, filter={"lang": "en"})
        assert {document.metadata["lang"] for document in english} == {"en"}

    @pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
    def test_mmr(
        self, filled: GlotVectorStore, oracle: InMemoryVectorStore, embeddings: Recording, lambda_mult: float
    ) -> None:
        # Not the text of a document: one that equals the query leaves all others even, at a lambda of 0.5.
        for query in ("something else", "another query", "a third"):
            expected = oracle.max_marginal_relevance_search(query, k=6, fetch_k=15, lambda_mult=lambda_mult)
            found = filled.max_marginal_relevance_search(query, k=6, fetch_k=15, lambda_mult=lambda_mult)
            assert found == expected
            vector = embeddings.embed_query(query)
            assert filled.max_marginal_relevance_search_by_vector(vector, 6, 15, lambda_mult) == expected

    def test_mmr_shows_twins_once_where_a_search_shows_both(
        self, filled: GlotVectorStore, embeddings: Recording
    ) -> None:
        filled.add_texts(["text 7", "text 7"], ids=["twin 1", "twin 2"])
        twins = {"d7", "twin 1", "twin 2"}
        near = np.array(embeddings.embed_query("text 7")) + 0.3 * np.array(embeddings.embed_query("something else"))
        assert {document.id for document in filled.similarity_search_by_vector(near.tolist(), k=3)} == twins
        varied = {document.id for document in filled.max_marginal_relevance_search_by_vector(near.tolist(), k=3)}
        assert len(varied & twins) == 1

    def test_mmr_gives_k_documents_though_fetch_k_is_less(self, filled: GlotVectorStore) -> None:
        assert len(filled.max_marginal_relevance_search("text 7", k=8, fetch_k=2)) == 8

    def test_mmr_of_an_empty_store(self, store: GlotVectorStore) -> None:
        assert store.max_marginal_relevance_search("anything") == []

    def test_filters_come_before_the_search(self, filled: GlotVectorStore, oracle: InMemoryVectorStore) -> None:
        nearest_last = oracle.similarity_search("text 7", k=40)[::-1]
        for document in nearest_last[:3]:
            # The farthest of 40, found though only one document is asked for.
            assert filled.similarity_search("text 7", k=1, filter={"n": document.metadata["n"]}) == [document]
        wanted = {"lang": "de", "n": {"$in": [1, 2, 3, 4]}}
        assert {document.id for document in filled.similarity_search("text 7", filter=wanted)} == {"d1", "d4"}
        assert {d.id for d, _ in filled.similarity_search_with_score("text 7", filter=wanted)} == {"d1", "d4"}
        assert {d.id for d in filled.max_marginal_relevance_search("text 7", filter=wanted)} == {"d1", "d4"}
        assert filled.similarity_search("text 7", filter={"lang": "xx"}) == []
        either = {"$or": [{"n": {"$gt": 3, "$lte": 5}}, {"$not": {"lang": {"$ne": "de"}}, "n": {"$lt": 2}}]}
        assert {document.id for document in filled.similarity_search("text 7", k=9, filter=either)} == {
            "d1",
            "d4",
            "d5",
        }

    def test_wrong_arguments_are_refused(self, filled: GlotVectorStore) -> None:
        with pytest.raises(InputError, match="unknown operator"):
            filled.similarity_search("text 7", filter={"n": {"$near": 3}})
        with pytest.raises(InputError, match="must be a dict"):
            filled.similarity_search("text 7", filter=lambda document: True)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="unknown arguments: fliter"):
            filled.similarity_search("text 7", fliter={"lang": "en"})
        with pytest.raises(InputError, match="k must be an int of 1 or more"):
            filled.similarity_search("text 7", k=0)
        with pytest.raises(InputError, match="k must be an int of 1 or more"):
            filled.max_marginal_relevance_search("text 7", k=0)
        with pytest.raises(InputError, match=r"shape \(N, 12\)"):
            filled.similarity_search_by_vector([1.0, 2.0])

    def test_relevance_is_in_0_to_1_and_grows_with_the_cosine(self, filled: GlotVectorStore) -> None:
        scores = filled.similarity_search_with_score("text 7", k=40)
        relevances = filled.similarity_search_with_relevance_scores("text 7", k=40)
        cosines = np.array([score for _, score in scores])
        assert cosines.min() < -0.3  # else the lower half of the range is not tested
        np.testing.assert_allclose([relevance for _, relevance in relevances], (1 + cosines) / 2, atol=1e-6)
        assert all(0 <= relevance <= 1 for _, relevance in relevances)
        to_relevance = filled._select_relevance_score_fn()
        assert [to_relevance(cosine) for cosine in (-1.000001, -1, 0, 1, 1.000001)] == [0, 0, 0.5, 1, 1]

    def test_retrievers(self, filled: GlotVectorStore) -> None:
        plain = filled.as_retriever(search_kwargs={"k": 3, "filter": {"lang": "de"}})
        assert plain.invoke("text 7") == filled.similarity_search("text 7", k=3, filter={"lang": "de"})
        threshold = filled.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"k": 40, "score_threshold": 0.7}
        )
        expected = [d for d, score in filled.similarity_search_with_score("text 7", k=40) if (1 + score) / 2 >= 0.7]
        assert 1 < len(expected) < 20
        assert threshold.invoke("text 7") == expected
        mmr = filled.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 10, "lambda_mult": 0.2})
        assert mmr.invoke("text 7") == filled.max_marginal_relevance_search("text 7", 3, 10, 0.2)


class TestAsync:
    async def test_nothing_runs_in_the_thread_of_the_loop(
        self, filled: GlotVectorStore, embeddings: Recording, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: dict[str, set[int]] = {}

        def recorded(name: str) -> Callable[..., Any]:
            method = getattr(filled.index, name)

            def record(*arguments: Any, **named: Any) -> Any:
                threads.setdefault(name, set()).add(threading.get_ident())
                return method(*arguments, **named)

            return record

        for name in ("add", "delete", "get", "search", "search_vectors"):
            monkeypatch.setattr(filled.index, name, recorded(name))
        vector = embeddings.embed_query("text 7")
        await filled.aadd_texts(["a"], ids=["a"])
        await filled.aadd_documents([Document(page_content="b")], ids=["b"])
        assert [document.id for document in await filled.aget_by_ids(["a", "b"])] == ["a", "b"]
        assert await filled.asimilarity_search("text 7", k=3) == filled.similarity_search("text 7", k=3)
        del threads["search"]
        await filled.asimilarity_search("text 7", k=3)
        await filled.asimilarity_search_with_score("text 7", k=3)
        await filled.asimilarity_search_with_relevance_scores("text 7", k=3, score_threshold=0.1)
        await filled.asimilarity_search_by_vector(vector, k=3)
        await filled.amax_marginal_relevance_search("text 7", k=3)
        await filled.amax_marginal_relevance_search_by_vector(vector, k=3)
        await filled.asearch("text 7", "mmr")
        for search_type in ("similarity", "mmr"):
            await filled.as_retriever(search_type=search_type).ainvoke("text 7")
        assert await filled.adelete(["a", "b"]) is True
        assert set(threads) == {"add", "delete", "get", "search", "search_vectors"}
        assert threading.get_ident() not in set().union(*threads.values())

    async def test_filters(self, filled: GlotVectorStore) -> None:
        wanted = {"lang": "de", "n": {"$in": [1, 2, 3, 4]}}
        assert {document.id for document in await filled.asimilarity_search("text 7", filter=wanted)} == {"d1", "d4"}
        found = await filled.amax_marginal_relevance_search("text 7", filter=wanted)
        assert {document.id for document in found} == {"d1", "d4"}
