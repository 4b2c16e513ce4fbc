"""LangChain's own test suite for vector stores, and what it leaves out."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_glot import GlotEmbeddings, GlotVectorStore
from langchain_glot.adapter import EmbeddingsEncoder
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from glot_rag.errors import (
    FingerprintMismatchError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReadOnlyError,
    InputError,
)
from glot_rag.index import GlotIndex

SIZE = 12


class Recording(DeterministicFakeEmbedding):
    """Remembers what it embedded."""

    documents: list[str] = []  # noqa: RUF012 - pydantic copies it for every object

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.documents.extend(texts)
        return super().embed_documents(texts)


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


@pytest.fixture
def embeddings() -> Recording:
    return Recording(size=SIZE)


@pytest.fixture
def store(embeddings: Recording) -> Iterator[GlotVectorStore]:
    with GlotVectorStore(embeddings) as made:
        yield made


@pytest.fixture(scope="module")
def minilm() -> GlotEmbeddings:
    return GlotEmbeddings(dtype="float32")


def corpus(size: int = 40) -> list[Document]:
    languages = ("en", "de", "fr")
    return [
        Document(id=f"d{i}", page_content=f"text {i}", metadata={"lang": languages[i % 3], "n": i}) for i in range(size)
    ]


@pytest.fixture
def filled(store: GlotVectorStore) -> GlotVectorStore:
    store.add_documents(corpus())
    return store


@pytest.fixture
def oracle(embeddings: Recording) -> InMemoryVectorStore:
    made = InMemoryVectorStore(embeddings)
    made.add_documents(corpus())
    return made


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

    def test_mmr_beside_a_deletion(self, filled: GlotVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        search = filled.index.search_vectors
        calls = []

        def delete_after_the_first_search(*arguments: Any) -> Any:
            hits = search(*arguments)
            if not calls:
                filled.index.delete(["d7"])
            calls.append(arguments)
            return hits

        monkeypatch.setattr(filled.index, "search_vectors", delete_after_the_first_search)
        found = filled.max_marginal_relevance_search("text 7", k=4)
        assert len(calls) == 2
        assert len(found) == 4
        assert "d7" not in {document.id for document in found}

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


class TestWriting:
    def test_ids_given_own_and_generated(self, store: GlotVectorStore) -> None:
        documents = [Document(id="own", page_content="a"), Document(page_content="b")]
        first, generated = store.add_documents(documents)
        assert first == "own"
        assert [document.page_content for document in store.get_by_ids([generated])] == ["b"]
        # What the caller says counts, for every document.
        given, other = store.add_documents([documents[0], documents[0]], ids=["given", None])
        assert given == "given"
        assert other not in ("own", "given")
        assert {document.id for document in store.get_by_ids(["own", given, other])} == {"own", given, other}
        assert store.add_documents(documents[:1], ids=None) == ["own"]
        texts = store.add_texts(["x", "y"], ids=["x", None])
        assert texts[0] == "x"
        assert [document.page_content for document in store.get_by_ids(texts)] == ["x", "y"]

    def test_a_changed_document_replaces_the_old_one_and_only_it_is_embedded(
        self, filled: GlotVectorStore, embeddings: Recording
    ) -> None:
        embeddings.documents.clear()
        changed = corpus()
        changed[3].page_content = "another text"
        changed[5].metadata["lang"] = "it"
        filled.add_documents(changed)
        assert embeddings.documents == ["another text"]
        assert len(filled.index) == 40
        assert filled.similarity_search("another text", k=1) == [changed[3]]
        assert filled.similarity_search("text 5", k=1, filter={"lang": "it"}) == [changed[5]]

    def test_given_documents_are_not_changed(self, store: GlotVectorStore) -> None:
        documents = [Document(page_content="a", metadata={"tags": ["x", {"y": 1}]}), Document(id="b", page_content="b")]
        before = copy.deepcopy(documents)
        store.add_documents(documents, ids=["1", "2"])
        found = store.get_by_ids(["1"])[0]
        assert found.metadata == {"tags": ["x", {"y": 1}]}
        found.metadata["tags"][1]["y"] = 2
        assert documents == before
        assert store.get_by_ids(["1"])[0].metadata == {"tags": ["x", {"y": 1}]}

    def test_what_cannot_be_stored_is_refused_as_a_whole(self, store: GlotVectorStore) -> None:
        good = Document(page_content="good")
        for metadata in ({"when": {1, 2}}, {"pair": (1, 2)}, {"x": float("nan")}, {1: "one"}):
            with pytest.raises(InputError, match="metadata"):
                store.add_texts(["good", "bad"], [{}, metadata])
        with pytest.raises(InputError, match="got 1 ids for 2 texts"):
            store.add_documents([good, good], ids=["1"])
        with pytest.raises(InputError, match="got 1 metadatas for 2 texts"):
            store.add_texts(["a", "b"], [{}])
        with pytest.raises(InputError, match="put it in a list"):
            store.add_texts("one text")
        with pytest.raises(InputError, match="must not be empty"):
            store.add_texts(["a"], ids=[""])
        with pytest.raises(InputError, match="unknown arguments: namespace"):
            store.add_documents([good], namespace="x")
        assert len(store.index) == 0

    def test_delete(self, filled: GlotVectorStore) -> None:
        assert filled.delete(["d1", "not there", "d1", "", "x\0", "y" * 5000]) is True
        assert len(filled.index) == 39
        assert filled.delete([]) is True
        assert len(filled.index) == 39
        with pytest.raises(InputError, match=r"write \['d2'\]"):
            filled.delete("d2")
        with pytest.raises(InputError, match="unknown arguments: filter"):
            filled.delete(filter={"lang": "en"})  # it must not pass for "all"
        assert len(filled.index) == 39
        assert filled.delete() is True
        assert len(filled.index) == 0
        assert filled.similarity_search("text 7") == []

    def test_get_by_ids_never_raises(self, filled: GlotVectorStore) -> None:
        found = filled.get_by_ids(["d3", "not there", "", "x\0", "y" * 5000, "\ud800", "d1"])
        assert [document.id for document in found] == ["d3", "d1"]
        assert found[0] == corpus()[3]


class TestMaking:
    def test_from_texts_and_documents(self, embeddings: Recording, tmp_path: Path) -> None:
        with GlotVectorStore.from_texts(["a", "b"], embeddings, [{"n": 1}, {"n": 2}], ids=["1", "2"]) as store:
            assert store.get_by_ids(["2"]) == [Document(id="2", page_content="b", metadata={"n": 2})]
            assert store.embeddings is embeddings
        with GlotVectorStore.from_documents(corpus(5), embeddings, path=tmp_path / "index") as store:
            assert store.get_by_ids(["d4"]) == corpus(5)[4:]
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 5
            assert store.index.verify().ok
        with pytest.raises(InputError, match="unknown arguments: paht"):
            GlotVectorStore.from_texts(["a"], embeddings, paht=tmp_path)

    async def test_afrom_texts_and_documents(self, embeddings: Recording, tmp_path: Path) -> None:
        with await GlotVectorStore.afrom_texts(["a"], embeddings, ids=["1"]) as store:
            assert (await store.aget_by_ids(["1"]))[0].page_content == "a"
        with await GlotVectorStore.afrom_documents(corpus(3), embeddings, path=tmp_path / "index") as store:
            assert store.index.path == tmp_path / "index"
            assert await store.asimilarity_search("text 2", k=1) == corpus(3)[2:]

    def test_nothing_is_left_of_a_store_that_could_not_be_made(self, embeddings: Recording, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="metadata") as caught:  # which keeps the frames, and so the store, alive
            GlotVectorStore.from_texts(["a"], embeddings, [{"x": {1}}], path=tmp_path / "index")
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 0
            with pytest.raises(IndexLockedError):
                GlotVectorStore(embeddings, tmp_path / "index")
        assert caught.value.__traceback__ is not None

    def test_a_temporary_store_goes_with_close_and_as_garbage(self, embeddings: Recording) -> None:
        store = GlotVectorStore.from_texts(["a"], embeddings)
        path = store.index.path
        assert path.is_dir()
        store.close()
        store.close()
        assert not path.exists()
        with pytest.raises(IndexReadOnlyError, match="closed"):
            store.similarity_search("a")
        store = GlotVectorStore.from_texts(["a"], embeddings)
        path = store.index.path
        assert path.is_dir()
        del store
        gc.collect()
        assert not path.exists()

    def test_a_persistent_store_is_let_go_of_as_garbage(self, embeddings: Recording, tmp_path: Path) -> None:
        store = GlotVectorStore.from_texts(["a"], embeddings, path=tmp_path / "index")
        del store
        gc.collect()
        with GlotVectorStore(embeddings, tmp_path / "index") as again:
            assert again.similarity_search("a")[0].page_content == "a"

    def test_a_temporary_store_goes_at_the_end_of_the_process(self, tmp_path: Path) -> None:
        code = (
            "from langchain_core.embeddings import DeterministicFakeEmbedding\n"
            "from langchain_glot import GlotVectorStore\n"
            "store = GlotVectorStore.from_texts(['a'], DeterministicFakeEmbedding(size=4))\n"
            "print(store.index.path.parent)\n"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.strip() == str(tmp_path)
        assert done.stderr == ""
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_child_does_not_remove_its_parents_store(self, embeddings: Recording) -> None:
        with GlotVectorStore.from_texts(["a"], embeddings) as store:
            child = os.fork()
            if not child:
                store.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert store.index.path.is_dir()
            store.add_texts(["b"])
            assert store.similarity_search("b", k=1)[0].page_content == "b"

    def test_many_may_read_while_one_writes(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        with pytest.raises(InputError, match="read_only needs the path"):
            GlotVectorStore(embeddings, read_only=True)
        with pytest.raises(IndexNotFoundError):
            GlotVectorStore(embeddings, path, read_only=True)
        assert not path.exists()
        with GlotVectorStore(embeddings, path) as writer:
            writer.add_texts(["one"], ids=["1"])
            with (
                GlotVectorStore(embeddings, path, read_only=True) as reader,
                GlotVectorStore(embeddings, path, read_only=True) as other,
            ):
                writer.add_texts(["two"], ids=["2"])
                for store in (reader, other):
                    assert [document.id for document in store.similarity_search("two", k=1)] == ["2"]
                    with pytest.raises(IndexReadOnlyError):
                        store.add_texts(["three"])
                    with pytest.raises(IndexReadOnlyError):
                        store.delete(["1"])
            assert len(writer.index) == 2

    def test_an_index_of_other_embeddings_is_refused(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        GlotVectorStore(embeddings, path, fingerprint="model 1").close()
        with pytest.raises(FingerprintMismatchError, match="model 2"):
            GlotVectorStore(embeddings, path, fingerprint="model 2")
        with pytest.raises(FingerprintMismatchError, match="langchain:Recording:"):
            GlotVectorStore(embeddings, path)
        with pytest.raises(InputError, match="12 components, the encoder makes 5"):
            GlotVectorStore(Recording(size=5), path, fingerprint="model 1")
        GlotVectorStore(embeddings, path, fingerprint="model 1").close()

    def test_default_fingerprints_tell_models_apart(self) -> None:
        class Named(DeterministicFakeEmbedding):
            model: str = "a"

        fingerprints = {EmbeddingsEncoder(each).fingerprint for each in (Named(size=2), Named(size=2, model="b"))}
        assert len(fingerprints) == 2
        assert all(print.endswith(("Named:a", "Named:b")) for print in fingerprints)

    def test_what_is_no_embeddings_is_refused(self) -> None:
        with pytest.raises(InputError, match="must be a LangChain Embeddings object, got str"):
            GlotVectorStore("minilm")  # type: ignore[arg-type]

    def test_embeddings_that_give_something_else_are_refused(self) -> None:
        class Broken(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return {1: [[1.0]], 2: [[1.0, 0.0]], 3: [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]}[len(texts)]

            def embed_query(self, text: str) -> list[float]:
                return [1.0, 0.0]

        with GlotVectorStore(Broken()) as store:
            with pytest.raises(InputError, match=r"shape \(1, 2\), got \(1, 1\)"):
                store.add_texts(["a"])
            with pytest.raises(InputError, match=r"shape \(2, 2\), got \(1, 2\)"):
                store.add_texts(["a", "b"])
            with pytest.raises(InputError, match="'b' is all zeros"):
                store.add_texts(["a", "b", "c"])
            assert len(store.index) == 0

    def test_the_adapter_of_no_texts(self, embeddings: Recording) -> None:
        encoder = EmbeddingsEncoder(embeddings)
        assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, SIZE)
        assert encoder.encode_documents([]).dtype == np.float32


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

        for name in ("add", "delete", "get", "search", "search_vectors", "vectors"):
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
        assert set(threads) == {"add", "delete", "get", "search", "search_vectors", "vectors"}
        assert threading.get_ident() not in set().union(*threads.values())

    async def test_filters(self, filled: GlotVectorStore) -> None:
        wanted = {"lang": "de", "n": {"$in": [1, 2, 3, 4]}}
        assert {document.id for document in await filled.asimilarity_search("text 7", filter=wanted)} == {"d1", "d4"}
        found = await filled.amax_marginal_relevance_search("text 7", filter=wanted)
        assert {document.id for document in found} == {"d1", "d4"}


class TestIndexing:
    """`langchain_core.indexing.index` adds and deletes only what changed."""

    DOCUMENTS = tuple(
        Document(page_content=f"{source} part {part}", metadata={"source": source})
        for source in ("one", "two")
        for part in (1, 2)
    )
    CHANGED = (*DOCUMENTS[:3], Document(page_content="two part 2, new", metadata={"source": "two"}))

    @pytest.mark.parametrize("cleanup", ["incremental", "full"])
    def test_index(self, store: GlotVectorStore, embeddings: Recording, cleanup: Any) -> None:
        records = InMemoryRecordManager("test")
        records.create_schema()

        def run(documents: tuple[Document, ...]) -> Any:
            embeddings.documents.clear()
            return index(documents, records, store, cleanup=cleanup, source_id_key="source", key_encoder="sha256")

        assert run(self.DOCUMENTS) == {"num_added": 4, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
        assert run(self.DOCUMENTS) == {"num_added": 0, "num_updated": 0, "num_skipped": 4, "num_deleted": 0}
        assert embeddings.documents == []
        assert run(self.CHANGED) == {"num_added": 1, "num_updated": 0, "num_skipped": 3, "num_deleted": 1}
        assert embeddings.documents == ["two part 2, new"]
        assert {document.text for document in store.index} == {document.page_content for document in self.CHANGED}

    async def test_aindex(self, store: GlotVectorStore) -> None:
        records = InMemoryRecordManager("test")
        await records.acreate_schema()
        options: Any = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
        await aindex(self.DOCUMENTS, records, store, **options)
        result = await aindex(self.CHANGED, records, store, **options)
        assert result == {"num_added": 1, "num_updated": 0, "num_skipped": 3, "num_deleted": 1}
        assert {document.text for document in store.index} == {document.page_content for document in self.CHANGED}


class FakeDocstore:
    """As InMemoryDocstore of langchain-community."""

    def __init__(self, documents: dict[str, Document]) -> None:
        self._documents = documents

    def search(self, search: str) -> str | Document:
        return self._documents.get(search, f"ID {search} not found.")


class FakeFaissStore:
    """As FAISS of langchain-community, with a real FAISS index."""

    def __init__(self, vectors: np.ndarray, documents: list[Document], index: Any = None) -> None:
        self.index = faiss.IndexFlatL2(vectors.shape[1]) if index is None else index
        self.index.add(vectors.astype(np.float32))
        self.docstore = FakeDocstore({str(document.id): document for document in documents})
        self.index_to_docstore_id = {number: str(document.id) for number, document in enumerate(documents)}


class TestFromFaiss:
    def faiss_store(self, embeddings: Embeddings, size: int = 40, **options: Any) -> FakeFaissStore:
        documents = corpus(size)
        return FakeFaissStore(
            np.array(embeddings.embed_documents([d.page_content for d in documents])), documents, **options
        )

    def test_same_documents_ids_and_vectors(
        self, embeddings: Recording, oracle: InMemoryVectorStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("langchain_glot.faiss_store.BATCH", 7)  # several batches, the last one not full
        source = self.faiss_store(embeddings)
        embeddings.documents.clear()
        with GlotVectorStore.from_faiss(source, embeddings) as store:
            assert embeddings.documents == []
            assert store.get_by_ids([f"d{i}" for i in range(40)]) == corpus()
            raw = source.index.reconstruct_n(0, 40)
            expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
            np.testing.assert_allclose(store.index.vectors([f"d{i}" for i in range(40)]), expected, atol=1e-6)
            for query in ("text 7", "something else"):
                assert store.similarity_search(query, k=9) == oracle.similarity_search(query, k=9)
            store.delete(["d7"])
            store.add_texts(["new"], ids=["d0"])
            assert len(store.index) == 39

    def test_onto_a_path(self, embeddings: Recording, tmp_path: Path) -> None:
        for _ in range(2):  # the second time nothing changes
            GlotVectorStore.from_faiss(self.faiss_store(embeddings), embeddings, tmp_path / "index").close()
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 40
            assert store.index.stats().sequence == 1
            assert store.similarity_search("text 7", k=1) == [corpus()[7]]

    def test_an_empty_store(self, embeddings: Recording) -> None:
        with GlotVectorStore.from_faiss(FakeFaissStore(np.zeros((0, SIZE)), []), embeddings) as store:
            assert len(store.index) == 0

    def test_an_index_that_does_not_give_its_vectors_back_is_refused(self, embeddings: Recording) -> None:
        source = self.faiss_store(embeddings)
        wrapped = faiss.IndexIDMap(faiss.IndexFlatL2(SIZE))
        wrapped.add_with_ids(source.index.reconstruct_n(0, 40), np.arange(40))
        source.index = wrapped
        with pytest.raises(InputError, match="IndexIDMap, does not give its vectors back"):
            GlotVectorStore.from_faiss(source, embeddings)

    def test_an_ivf_index_needs_its_direct_map(self, embeddings: Recording) -> None:
        def ivf() -> Any:
            made = faiss.IndexIVFFlat(faiss.IndexFlatL2(SIZE), SIZE, 1)
            made.train(np.array(embeddings.embed_documents(["a", "b"]), np.float32))
            return made

        source = self.faiss_store(embeddings, index=ivf())
        with pytest.raises(InputError, match="make_direct_map"):
            GlotVectorStore.from_faiss(source, embeddings)
        source.index.make_direct_map()
        with GlotVectorStore.from_faiss(source, embeddings) as store:
            assert store.similarity_search("text 7", k=1) == [corpus()[7]]

    def test_parts_that_do_not_fit_are_refused(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        source = self.faiss_store(embeddings)
        source.index.add(np.ones((1, SIZE), np.float32))  # what a failed addition leaves behind
        with pytest.raises(InputError, match="41 vectors and index_to_docstore_id 40 ids"):
            GlotVectorStore.from_faiss(source, embeddings, path)
        source = self.faiss_store(embeddings)
        source.index_to_docstore_id[3] = "lost"
        with pytest.raises(InputError, match="no document 'lost'"):
            GlotVectorStore.from_faiss(source, embeddings, path)
        with pytest.raises(InputError, match=r"shape \(40, 12\), got \(40, 5\)"):
            GlotVectorStore.from_faiss(self.faiss_store(Recording(size=5)), embeddings, path)
        with GlotVectorStore(embeddings, path) as store:  # and it is not locked
            assert len(store.index) == 0


PASSAGES = {
    "kettle": "Accept all cookies. Menu Home About. The kettle boils a litre of water in two minutes. Share on X",
    "passport": "Home > Services. Passports are renewed at the town hall; bring two photographs. Subscribe to our news",
    "garden": "Log in. Tomato seedlings are planted out after the last frost of May. Related articles. Privacy policy",
    "train": "We value your privacy. The night train to Vienna leaves at ten in the evening. Download our app",
}


class TestWithTheModel:
    @pytest.fixture
    def passages(self, minilm: GlotEmbeddings, tmp_path: Path) -> Iterator[GlotVectorStore]:
        documents = [
            Document(id=name, page_content=text, metadata={"topic": name, "long": len(text) > 95})
            for name, text in PASSAGES.items()
        ]
        with GlotVectorStore.from_documents(documents, minilm, path=tmp_path / "index") as store:
            yield store

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("where do I get a new passport?", "passport"),
            ("how long until the water is hot?", "kettle"),
            ("when does the sleeper to Austria depart?", "train"),
            ("when can I put young tomatoes in the soil?", "garden"),
        ],
    )
    def test_finds_the_answer(self, passages: GlotVectorStore, question: str, answer: str) -> None:
        assert passages.similarity_search(question, k=1)[0].id == answer
        # Only what is not the answer is left to be found.
        others = {"topic": {"$in": [name for name in PASSAGES if name != answer]}}
        assert passages.similarity_search(question, k=1, filter=others)[0].id != answer

    def test_the_index_is_that_of_the_encoder(self, passages: GlotVectorStore, minilm: GlotEmbeddings) -> None:
        assert passages.index.manifest.fingerprint == minilm.encoder.fingerprint
        np.testing.assert_allclose(
            passages.index.vectors(list(PASSAGES)), minilm.embed_documents(list(PASSAGES.values())), atol=1e-5
        )
        path = passages.index.path
        passages.close()
        with pytest.raises(FingerprintMismatchError):
            GlotVectorStore(GlotEmbeddings(dtype="float32", pooling="mean"), path)
        with GlotIndex.open(path, minilm.encoder) as opened:  # a plain index, for the library's other tools
            assert opened.search("where do I get a new passport?", 1)[0].id == "passport"
        with pytest.raises(InputError, match="fingerprint of their own"):
            GlotVectorStore(minilm, fingerprint="another")

    @pytest.mark.parametrize("run", ["invoke", "ainvoke"])
    async def test_a_chain(self, passages: GlotVectorStore, run: str) -> None:
        prompt = ChatPromptTemplate.from_template("Context: {context}\nQuestion: {question}")
        retriever = passages.as_retriever(search_kwargs={"k": 1})
        chain = (
            {
                "context": retriever | (lambda documents: " ".join(document.page_content for document in documents)),
                "question": RunnablePassthrough(),
            }
            | prompt
            | ParrotFakeChatModel()
            | StrOutputParser()
        )
        question = "where do I get a new passport?"
        answer = chain.invoke(question) if run == "invoke" else await chain.ainvoke(question)
        assert answer == f"Context: {PASSAGES['passport']}\nQuestion: {question}"
