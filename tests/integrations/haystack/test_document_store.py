"""`GlotDocumentStore` through Haystack's own tests, and its retrievers in a pipeline."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers import FilterRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DocumentStore, DuplicatePolicy
from haystack.errors import FilterError
from haystack.testing.document_store import DocumentStoreBaseExtendedTests
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
)
from haystack_integrations.components.retrievers.glot import (
    GlotEmbeddingRetriever,
    GlotHybridRetriever,
    GlotKeywordRetriever,
)
from haystack_integrations.document_stores.glot import GlotDocumentStore

from glot_rag.errors import InputError


class TestGlotDocumentStore(
    DocumentStoreBaseExtendedTests,
    CountDocumentsAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
):
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> Iterator[GlotDocumentStore]:
        store = GlotDocumentStore(str(tmp_path / "index"), embedding_dim=768)
        yield store
        store.close()

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        """As Haystack's own, but for the embeddings' norm, and for the order, which theirs leaves open."""
        key = lambda document: document.id  # noqa: E731
        assert len(received) == len(expected)
        for got, wanted in zip(sorted(received, key=key), sorted(expected, key=key), strict=True):
            assert {**got.to_dict(), "embedding": None} == {**wanted.to_dict(), "embedding": None}
            assert (got.embedding is None) == (wanted.embedding is None)
            if got.embedding is not None and wanted.embedding is not None:
                unit = np.array(wanted.embedding) / np.linalg.norm(wanted.embedding)
                np.testing.assert_allclose(got.embedding, unit, atol=1e-6)

    def test_write_documents(self, document_store: DocumentStore) -> None:
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="1 documents are there already"):
            document_store.write_documents([document])

    async def test_write_documents_async(self, document_store: GlotDocumentStore) -> None:  # type: ignore[override]
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="1 documents are there already"):
            await document_store.write_documents_async([document])


VECTORS = {"kettle": [1.0, 0.0, 0.0], "ladder": [0.0, 1.0, 0.0], "lamp": [0.6, 0.0, 0.8]}
TEXTS = {"kettle": "boils water", "ladder": "three steps", "lamp": "dims by a touch, needs no water"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GlotDocumentStore]:
    made = GlotDocumentStore(str(tmp_path / "shop"), embedding_dim=3, fingerprint="by hand")
    made.write_documents(
        [Document(id=id, content=TEXTS[id], meta={"size": len(id)}, embedding=VECTORS[id]) for id in TEXTS]
    )
    made.write_documents([Document(id="bare", content="water without an embedding")])
    yield made
    made.close()


def ids(found: dict[str, list[Document]]) -> list[str]:
    return [document.id for document in found["documents"]]


def test_retrievers(store: GlotDocumentStore) -> None:
    by_embedding = GlotEmbeddingRetriever(store).run([1.0, 0.0, 0.0])
    assert ids(by_embedding) == ["kettle", "lamp", "ladder"]  # not the one without an embedding
    assert [document.score for document in by_embedding["documents"]] == pytest.approx([1.0, 0.6, 0.0])
    by_words = GlotKeywordRetriever(store, top_k=2).run("waters")
    assert ids(by_words) == [hit.id for hit in store.index.search("waters", 2, mode="keyword")] != []
    assert ids(GlotKeywordRetriever(store).run("water")) != ids(by_words)
    by_both = GlotHybridRetriever(store, weight=0.9).run("touch", [1.0, 0.0, 0.0], top_k=2)
    assert ids(by_both) == ["kettle", "lamp"]
    assert ids(GlotHybridRetriever(store, weight=0.1).run("touch", [1.0, 0.0, 0.0], top_k=1)) == ["lamp"]
    small = {"field": "meta.size", "operator": "<", "value": 5}
    assert ids(GlotEmbeddingRetriever(store, filters=small).run([1.0, 0.0, 0.0])) == ["lamp"]
    with pytest.raises(InputError, match="must be a GlotDocumentStore, got str"):
        GlotKeywordRetriever("index")  # type: ignore[arg-type]


def test_a_pipeline_that_is_read_back_has_the_same_store(store: GlotDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("near", GlotEmbeddingRetriever(store, top_k=1))
    pipeline.add_component("words", GlotKeywordRetriever(store, top_k=1))
    pipeline.add_component("both", GlotHybridRetriever(store, weight=0.5))
    again = Pipeline.loads(pipeline.dumps())  # while the store is open: they share the index
    asked: dict[str, Any] = {
        "near": {"query_embedding": VECTORS["ladder"]},
        "words": {"query": "steps"},
        "both": {"query": "steps", "query_embedding": VECTORS["ladder"]},
    }
    assert again.run(asked) == pipeline.run(asked)
    assert ids(again.run(asked)["near"]) == ["ladder"]


def test_a_copy_shares_the_index(store: GlotDocumentStore) -> None:
    retriever = copy.deepcopy(GlotEmbeddingRetriever(store, top_k=1))
    assert retriever.document_store.index is store.index
    assert ids(retriever.run(VECTORS["ladder"])) == ["ladder"]
    assert pickle.loads(pickle.dumps(store)).to_dict() == store.to_dict()  # noqa: S301 (made here)


async def test_a_pipeline_that_runs_asynchronously_writes_and_filters(store: GlotDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("write", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.add_component("filter", FilterRetriever(store))
    found = await pipeline.run_async({"write": {"documents": [Document(id="new", content="a")]}, "filter": {}})
    assert found["write"] == {"documents_written": 1}
    assert {*VECTORS, "bare"} <= set(ids(found["filter"]))


def test_an_id_that_comes_twice_is_treated_as_one_that_is_there(store: GlotDocumentStore) -> None:
    twice = [Document(id=id, content=text) for id, text in (("fan", "first"), ("new", "a"), ("new", "b"))]
    memory = InMemoryDocumentStore()
    for policy in (DuplicatePolicy.SKIP, DuplicatePolicy.OVERWRITE):
        for each in (store, memory):
            each.delete_documents(["fan", "new"])
        assert store.write_documents(twice, policy) == memory.write_documents(twice, policy)
        kept = {document.id: document.content for document in store.filter_documents()}
        assert {document.id: document.content for document in memory.filter_documents()}.items() <= kept.items()
    store.delete_documents(["fan", "new"])
    with pytest.raises(DuplicateDocumentError, match="1 documents are there already, or come twice, such as 'new'"):
        store.write_documents(twice)


def test_a_field_that_is_missing_is_none(store: GlotDocumentStore) -> None:
    memory = InMemoryDocumentStore()
    memory.write_documents(store.filter_documents())
    for operator in ("in", "not in"):
        for listed in ([None], [6, None], [6], []):
            filters = {"field": "meta.size", "operator": operator, "value": listed}
            found = {document.id for document in store.filter_documents(filters)}
            assert found == {document.id for document in memory.filter_documents(filters)}, filters


def test_what_it_keeps_and_what_it_refuses(store: GlotDocumentStore, tmp_path: Path) -> None:
    empty = Document(id="empty", content=None, meta={"a": None})
    store.write_documents([empty])
    (found,) = store.filter_documents({"field": "meta.size", "operator": "==", "value": 6})[:1]
    assert (found.id, found.content, found.embedding) == ("kettle", TEXTS["kettle"], VECTORS["kettle"])
    assert [d for d in store.filter_documents() if d.id == "empty"] == [empty]
    assert store.write_documents([Document(id="lamp", content="new")], policy=DuplicatePolicy.SKIP) == 0
    with pytest.raises(DuplicateDocumentError):
        store.write_documents([Document(id="new", content="a"), Document(id="new", content="b")])
    with pytest.raises(InputError, match="embedding of 2 numbers, this store takes 3"):
        store.write_documents([Document(id="short", content="a", embedding=[1.0, 0.0])])
    with pytest.raises(InputError, match="the metadata field '_haystack'"):
        store.write_documents([Document(id="own", content="a", meta={"_haystack": 1})])
    with pytest.raises(InputError, match="the update has the metadata field '_haystack'"):
        store.update_by_filter({"field": "meta.size", "operator": ">", "value": 1}, {"_haystack": 1})
    with pytest.raises(InputError, match="an empty filter matches every document"):
        store.delete_by_filter({})
    for filters, message in (
        ({"field": "content", "operator": "==", "value": "x"}, "filters by metadata, not by 'content'"),
        ({"field": "meta.a", "operator": "~", "value": "x"}, "unknown operator '~'"),
        ({"operator": "XOR", "conditions": []}, "unknown operator 'XOR'"),
        ({"field": "meta.a", "operator": ">", "value": True}, "takes a number or a text, got True"),
        ({"field": "meta.a", "operator": "==", "value": {"$gt": 1}}, "got {'\\$gt': 1}"),
        ({"operator": "AND", "conditions": ["meta.a"]}, "must be a dict, got str"),
    ):
        with pytest.raises(FilterError, match=message):
            store.filter_documents(filters)
    assert store.count_documents() == 5
    store.close()
    reader = GlotDocumentStore(store.path, 3, "by hand", read_only=True)
    assert reader.count_documents() == 5
    reader.close()
