"""`GlotVectorStore` inside the real llama-index-core, over the real backbone: finding and changing."""

from __future__ import annotations

import asyncio
import datetime
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode, VectorStoreQueryResult
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore
from some_nodes import BICYCLE, KETTLE, TEA, TEXTS, ids, nodes_of, plane, where

from glot_rag.errors import InputError
from glot_rag.index import Fusion
from glot_rag.index.search import diversify

# -- finding


def test_nodes_come_back_as_they_went_in_with_their_cosine(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    nodes = nodes_of(embedding)
    assert store.add(nodes) == ["kettle", "bicycle", "tea"]
    query = embedding.get_query_embedding("how fast does it heat water")
    found = store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=3))
    cosines = {node.node_id: float(np.dot(query, node.get_embedding())) for node in nodes}
    assert found.ids == sorted(cosines, key=lambda name: -cosines[name])
    assert found.similarities == pytest.approx([cosines[name] for name in found.ids], abs=1e-5)
    originals = {node.node_id: node.model_copy(update={"embedding": None}) for node in nodes}
    assert found.nodes == [originals[name] for name in found.ids]


def test_evidence_names_the_lines_that_match(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    store.add(nodes_of(embedding))
    question = "how fast does it heat water"
    vector = embedding.get_query_embedding(question)
    query = VectorStoreQuery(query_embedding=vector, query_str=question, similarity_top_k=1)
    (node,) = store.query(query, evidence=True).nodes or []
    spans = embedding.encoder.explain(KETTLE, question).best_spans()
    assert [each[:2] for each in node.metadata["glot_evidence"]] == [[span.start, span.end] for span in spans]
    assert KETTLE in node.get_content()
    assert "glot_evidence" not in store.get_nodes(["kettle"])[0].metadata
    with pytest.raises(InputError, match="evidence=True needs the query's text"):
        store.query(VectorStoreQuery(query_embedding=vector), evidence=True)


def test_kinds_of_nodes_survive(store: GlotVectorStore) -> None:
    unit = [1.0] + [0.0] * 383
    nodes = [
        IndexNode(id_="pointer", text="see there", index_id="elsewhere", embedding=unit),
        # With a path: LlamaIndex 0.12.10 cannot read back one that has only an address.
        ImageNode(id_="picture", text="a kettle", image_path="kettle.png", embedding=unit),
    ]
    store.add(nodes)
    pointer, picture = store.get_nodes(["pointer", "picture"])
    assert isinstance(pointer, IndexNode)
    assert (pointer.index_id, pointer.text) == ("elsewhere", "see there")
    assert isinstance(picture, ImageNode)
    assert (picture.image_path, picture.get_content()) == ("kettle.png", "a kettle")


def test_dates_and_numpy_scalars_have_a_stored_form(store: GlotVectorStore) -> None:
    when = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
    given = {"when": when, "path": Path("x"), "pair": (1, 2), "n": np.int64(3), "id": uuid.UUID(int=1)}
    stored = {"when": when.isoformat(), "path": "x", "pair": [1, 2], "n": 3, "id": str(uuid.UUID(int=1))}
    given |= {"day": when.date(), "numpy day": np.datetime64("2026-01-31"), "yes": np.bool_(True), "x": np.float32(0.5)}
    stored |= {"day": "2026-01-31", "numpy day": "2026-01-31", "yes": True, "x": 0.5}
    given["inside"], stored["inside"] = dict(given), dict(stored)
    source = RelatedNodeInfo(node_id="source", metadata=given)
    node = TextNode(
        id_="a", text="text", metadata=given, embedding=[1.0] * 384, relationships={NodeRelationship.SOURCE: source}
    )
    store.add([node])
    (found,) = store.get_nodes(["a"])
    assert found.metadata == stored
    assert found.source_node is not None
    assert found.source_node.metadata == stored
    assert node.metadata == given
    for value in ({1}, b"", object(), 1j, np.array([1]), float("inf"), 1 << 63, {"y": [{2}]}):
        with pytest.raises(InputError, match=r"the metadata of node 'b'\['x'\].* (must|got) "):
            store.add([TextNode(id_="b", text="text", metadata={"x": value}, embedding=[1.0] * 384)])


def test_numpy_counts_and_vectors() -> None:
    with GlotVectorStore() as store:
        store.add(plane(0, 10, 20, 30))
        vector: Any = np.array([1.0, 0.0], np.float32)
        two: Any = np.int64(2)
        assert store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=two)).ids == ["0", "1"]
        mmr = VectorStoreQuery(query_embedding=vector, similarity_top_k=two, mode=VectorStoreQueryMode.MMR)
        assert store.query(mmr, mmr_prefetch_k=np.int8(2)).ids == ["0", "1"]


def test_a_vector_index_finds_and_answers_offline(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    documents = [Document(text=text, id_=name) for name, text in TEXTS.items()]
    index = VectorStoreIndex.from_documents(
        documents, StorageContext.from_defaults(vector_store=store), embed_model=embedding
    )
    found = index.as_retriever(similarity_top_k=3).retrieve("how fast does it heat water")
    assert found[0].node.ref_doc_id == "kettle"
    assert {each.node.ref_doc_id for each in found} == set(TEXTS)
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1)
    assert BICYCLE in str(engine.query("when do I oil the chain?"))
    filtered = index.as_retriever(filters=MetadataFilters(filters=[where("doc_id", "tea")]), similarity_top_k=3)
    assert [each.node.ref_doc_id for each in filtered.retrieve("when do I oil the chain?")] == ["tea"]
    index.delete_ref_doc("bicycle")
    index.update_ref_doc(Document(text="Black tea may boil.", id_="tea"))
    again = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    texts = {each.node.get_content() for each in again.as_retriever(similarity_top_k=9).retrieve("tea")}
    assert texts == {KETTLE, "Black tea may boil."}


def test_mmr_passes_over_copies_of_all_that_was_chosen() -> None:
    with GlotVectorStore() as store:
        store.add(plane(0, 1, 40, 41, 2))
        near = [1.0, 0.0]
        assert ids(store, near, k=3) == ["0", "1", "4"]
        mmr = {"mode": VectorStoreQueryMode.MMR, "mmr_threshold": 0.4}
        assert ids(store, near, k=2, **mmr) == ["0", "3"]
        assert ids(store, near, k=5, mode=VectorStoreQueryMode.MMR, mmr_threshold=1.0) == ["0", "1", "4", "2", "3"]
        found = store.query(
            VectorStoreQuery(query_embedding=near, similarity_top_k=2, mode=VectorStoreQueryMode.MMR), mmr_threshold=0.4
        )
        assert found.similarities == pytest.approx([1.0, np.cos(np.radians(41))], abs=1e-6)  # cosines, not gains
        one = VectorStoreQuery(query_embedding=near, similarity_top_k=2, mode=VectorStoreQueryMode.MMR)
        assert store.query(one, mmr_threshold=0.4, mmr_prefetch_k=2).ids == ["0", "1"]
        with pytest.raises(InputError, match="mmr_threshold must be from 0 to 1"):
            store.query(one, mmr_threshold=1.5)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_mmr_is_the_definition(threshold: float) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = np.sort(random.normal(size=20))[::-1]
    chosen = [0]
    while len(chosen) < 8:
        rest = [n for n in range(20) if n not in chosen]
        gains = [
            threshold * relevance[n] - (1 - threshold) * max(float(vectors[n] @ vectors[c]) for c in chosen)
            for n in rest
        ]
        chosen.append(rest[int(np.argmax(gains))])
    assert diversify(relevance, vectors, 8, threshold) == chosen
    assert sorted(diversify(relevance, vectors, 99, threshold)) == list(range(20))


# -- changing


def test_adding_again_replaces(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    kettle, bicycle, tea = nodes_of(embedding)
    store.add([kettle, bicycle, tea])
    store.add([TextNode(id_="tea", text="No tea.", embedding=bicycle.get_embedding())])
    assert {node.get_content() for node in store.get_nodes()} == {KETTLE, BICYCLE, "No tea."}
    query = embedding.get_text_embedding(BICYCLE)
    assert set(ids(store, query, k=2)) == {"bicycle", "tea"}  # by the new vector


def test_a_node_that_cannot_be_stored_leaves_the_batch_out() -> None:
    with GlotVectorStore() as store:
        with pytest.raises(InputError, match="node '1' has no embedding"):
            store.add([*plane(0), TextNode(id_="1", text="x")])
        store.add(plane(0))
        with pytest.raises(InputError, match=r"shape \(1, 2\)"):
            store.add([TextNode(id_="2", text="x", embedding=[1.0, 0.0, 0.0])])
        with pytest.raises(InputError, match="unknown arguments: namespace"):
            store.add(plane(0), namespace="x")
        assert [node.node_id for node in store.get_nodes()] == ["0"]


def test_deleting(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    def left() -> set[str]:
        return {node.node_id for node in store.get_nodes()}

    nodes = nodes_of(embedding)
    loose = TextNode(id_="loose", text="a note", embedding=nodes[0].embedding)
    store.add([*nodes, loose])
    store.delete("None")  # the text that LlamaIndex writes for a node without a source
    store.delete("elsewhere")
    assert left() == {*TEXTS, "loose"}
    store.delete("house")
    assert left() == {"bicycle", "loose"}
    store.add(nodes)
    store.delete_nodes(["tea", "bicycle", "none"], MetadataFilters(filters=[where("topic", "kitchen")]))
    assert left() == {"kettle", "bicycle", "loose"}
    store.delete_nodes(["bicycle", "none", ""])
    store.delete_nodes([])
    assert left() == {"kettle", "loose"}
    with pytest.raises(InputError, match="needs node_ids or filters"):
        store.delete_nodes(filters=MetadataFilters(filters=[]))
    with pytest.raises(InputError, match="write \\['kettle'\\]"):
        store.delete_nodes("kettle")  # type: ignore[arg-type]
    store.delete_nodes(filters=MetadataFilters(filters=[where("page", 1)]))
    assert left() == {"loose"}
    store.clear()
    assert left() == set()
    assert ids(store, nodes[0].get_embedding()) == []


@pytest.mark.parametrize("strategy", [DocstoreStrategy.UPSERTS, DocstoreStrategy.UPSERTS_AND_DELETE])
@pytest.mark.parametrize("split", [True, False])
def test_an_ingestion_pipeline_upserts_and_deletes(
    store: GlotVectorStore, embedding: GlotEmbedding, split: bool, strategy: DocstoreStrategy
) -> None:
    splitter = [SentenceSplitter(chunk_size=128, chunk_overlap=0)] if split else []
    pipeline = IngestionPipeline(
        transformations=[*splitter, embedding],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=strategy,
    )

    def run(**texts: str) -> tuple[int, set[str]]:
        ran = pipeline.run(documents=[Document(text=text, id_=name) for name, text in texts.items()])
        return len(ran), {node.get_content() for node in store.get_nodes()}

    assert run(**TEXTS) == (3, {KETTLE, BICYCLE, TEA})
    assert run(**TEXTS) == (0, {KETTLE, BICYCLE, TEA})
    left = {TEA} if strategy == DocstoreStrategy.UPSERTS else set()
    assert run(kettle=KETTLE, bicycle="New tyres.") == (1, {KETTLE, "New tyres.", *left})


@pytest.mark.parametrize(
    "call",
    [
        lambda store, query: store.async_add(plane(10)),
        lambda store, query: store.aquery(query),
        lambda store, query: store.aget_nodes(["0"]),
        lambda store, query: store.adelete("none"),
        lambda store, query: store.adelete_nodes(["0"]),
        lambda store, query: store.aclear(),
    ],
    ids=["add", "query", "get_nodes", "delete", "delete_nodes", "clear"],
)
async def test_async_methods_wait_for_a_thread(
    call: Callable[[GlotVectorStore, VectorStoreQuery], Coroutine[Any, Any, Any]],
) -> None:
    free = threading.Event()
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    with GlotVectorStore() as store:
        store.add(plane(0))
        pool.submit(free.wait)
        task = asyncio.ensure_future(call(store, VectorStoreQuery(query_embedding=[1.0, 0.0])))
        await asyncio.sleep(0.05)
        done_without_a_thread = task.done()
        free.set()
        await task
    assert not done_without_a_thread  # what ran in the event loop would not have waited for the only thread


async def test_async_gives_the_same() -> None:
    with GlotVectorStore() as store:
        assert await store.async_add(plane(0, 10, 20)) == ["0", "1", "2"]
        query = VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=2)
        assert await store.aquery(query) == store.query(query)
        assert (await store.aquery(query)).ids == ["0", "1"]
        await store.adelete_nodes(["0"])
        assert (await store.aget_nodes(["0", "1"])) == store.get_nodes(["1"])
        await store.adelete("none")
        await store.aclear()
        assert await store.aget_nodes() == []


def test_modes_by_words_and_by_both(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    store.add(nodes_of(embedding))
    vector = embedding.get_query_embedding("kettle")

    def query(mode: VectorStoreQueryMode, **more: Any) -> VectorStoreQueryResult:
        return store.query(
            VectorStoreQuery(query_str="kettle", query_embedding=vector, similarity_top_k=3, mode=mode, **more)
        )

    index = store.client
    assert index is not None
    words, expected = query(VectorStoreQueryMode.TEXT_SEARCH), index.search("kettle", 3, mode="keyword")
    assert words.ids == [hit.id for hit in expected] != []
    assert words.similarities == [hit.score for hit in expected]
    for alpha in (None, 0.0, 0.7, 1.0):
        found = query(VectorStoreQueryMode.HYBRID, alpha=alpha, hybrid_top_k=2)
        fusion = Fusion() if alpha is None else Fusion(weight=alpha)
        hits = index.search_vectors([vector], 2, texts=["kettle"], mode="hybrid", fusion=fusion)[0]
        assert (found.ids, found.similarities) == ([hit.id for hit in hits], [hit.score for hit in hits])


def test_a_retriever_searches_by_both(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    index = VectorStoreIndex(
        nodes_of(embedding),
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=embedding,
    )
    for mode in ("hybrid", "text_search"):
        retriever = index.as_retriever(vector_store_query_mode=mode, similarity_top_k=1)
        assert [node.node_id for node in retriever.retrieve("kettle")] == ["kettle"]
