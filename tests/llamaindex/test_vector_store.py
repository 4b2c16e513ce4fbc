"""`GlotVectorStore` inside the real llama-index-core, over the real backbone."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, ImageNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.simple import build_metadata_filter_fn
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore
from pydantic import ValidationError

from glot_rag import Document as IndexDocument
from glot_rag import GlotIndex
from glot_rag.errors import FingerprintMismatchError, IndexExistsError, IndexReadOnlyError, InputError
from glot_rag.index.mmr import diversify

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."
BICYCLE = "Pump the tyres of the bicycle once a week and oil its chain before every winter ride in the rain."
TEA = "Green tea should not be brewed with water that has just boiled."
TEXTS = {"kettle": KETTLE, "bicycle": BICYCLE, "tea": TEA}


@pytest.fixture(scope="module")
def embedding() -> GlotEmbedding:
    return GlotEmbedding(dtype="float32", device="cpu")


@pytest.fixture
def store(embedding: GlotEmbedding) -> Iterator[GlotVectorStore]:
    with GlotVectorStore(embed_model=embedding) as made:
        yield made


def nodes_of(embedding: GlotEmbedding) -> list[BaseNode]:
    """Three nodes from two source documents."""
    facts: dict[str, dict[str, Any]] = {
        "kettle": {"topic": "kitchen", "page": 1, "tags": ["hot", "fast"]},
        "bicycle": {"topic": "garage", "page": 2},
        "tea": {"topic": "kitchen", "page": 3, "draft": None},
    }
    sources = {"kettle": "house", "bicycle": "outside", "tea": "house"}
    return [
        TextNode(
            id_=name,
            text=text,
            metadata=facts[name],
            embedding=embedding.get_text_embedding(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=sources[name])},
        )
        for name, text in TEXTS.items()
    ]


def plane(*angles: float) -> list[BaseNode]:
    """Nodes "0", "1", … whose vectors lie in a plane, at these angles to (1, 0) in degrees."""
    turned = np.radians(angles)
    return [
        TextNode(id_=str(number), text=f"at {angle}", embedding=[float(np.cos(turn)), float(np.sin(turn))])
        for number, (angle, turn) in enumerate(zip(angles, turned, strict=True))
    ]


def ids(store: GlotVectorStore, embedding: list[float], k: int = 9, **query: Any) -> list[str]:
    found = store.query(VectorStoreQuery(query_embedding=embedding, similarity_top_k=k, **query))
    assert found.ids is not None
    assert found.nodes is not None
    assert [node.node_id for node in found.nodes] == found.ids
    return found.ids


def where(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


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


def test_kinds_of_nodes_survive(store: GlotVectorStore) -> None:
    unit = [1.0] + [0.0] * 383
    nodes = [
        IndexNode(id_="pointer", text="see there", index_id="elsewhere", embedding=unit),
        ImageNode(id_="picture", text="a kettle", image_url="kettle.png", embedding=unit),
    ]
    store.add(nodes)
    pointer, picture = store.get_nodes(["pointer", "picture"])
    assert isinstance(pointer, IndexNode)
    assert (pointer.index_id, pointer.text) == ("elsewhere", "see there")
    assert isinstance(picture, ImageNode)
    assert (picture.image_url, picture.get_content()) == ("kettle.png", "a kettle")


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


# -- filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([where("topic", "kitchen")], {"kettle", "tea"}),
        ([where("page", 2)], {"bicycle"}),
        ([where("page", "2")], set()),
        ([where("page", [1, 2], FilterOperator.IN)], {"kettle", "bicycle"}),
        ([where("page", [1, 2], FilterOperator.IN), where("topic", "kitchen")], {"kettle"}),
        ([where("page", [1, 2], FilterOperator.IN), where("page", [2, 3], FilterOperator.IN)], {"bicycle"}),
        ([where("page", 1), where("page", 2)], set()),
        ([where("page", [], FilterOperator.IN)], set()),
        ([where("draft", None)], {"tea"}),
        ([where("topic", "cellar")], set()),
        ([], {"kettle", "bicycle", "tea"}),
    ],
)
def test_filters_choose_before_the_search(
    store: GlotVectorStore, embedding: GlotEmbedding, filters: list[MetadataFilter], expected: set[str]
) -> None:
    store.add(nodes_of(embedding))
    query = embedding.get_query_embedding("tyres and chains")
    chosen = MetadataFilters(filters=filters)
    assert set(ids(store, query, filters=chosen)) == expected
    assert len(ids(store, query, k=1, filters=chosen)) == min(1, len(expected))  # the nearest one may not match
    assert {node.node_id for node in store.get_nodes(filters=chosen)} == expected


LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
VALUES: list[Any] = [2, 2.5, "fast", "GARAGE", "ar", "", ["hot", "x"], ["fast", "hot"], [1, 2], [], None]


@pytest.mark.parametrize("operator", list(FilterOperator))
def test_every_operator_means_what_it_means_in_the_simple_store(operator: FilterOperator) -> None:
    nodes = plane(*range(8))
    facts: list[dict[str, Any]] = [{"x": value} for value in (1, 2, "fast", "garage", ["hot", "fast"], [2], None)]
    for node, metadata in zip(nodes, [*facts, {}], strict=True):
        node.metadata = metadata
    by_id = {node.node_id: node.metadata for node in nodes}
    flat = GlotVectorStore()
    flat.add(nodes)
    compared = 0
    for value in VALUES:
        if isinstance(value, list) != (operator in LISTS) or (value is None and operator != FilterOperator.IS_EMPTY):
            continue
        if operator.value.startswith("text_match") and not isinstance(value, str):
            continue
        for condition in FilterCondition:
            # Beside a second condition that the first node alone meets.
            chosen = MetadataFilters(filters=[where("x", value, operator), where("x", 1)], condition=condition)
            oracle = build_metadata_filter_fn(by_id.__getitem__, chosen)
            expected, raised = set(), set()
            for id in by_id:
                try:
                    expected |= {id} if oracle(id) else set()
                except TypeError:  # it compares a text with a number, or looks for a part of a number
                    raised.add(id)
            found = {node.node_id for node in flat.get_nodes(filters=chosen)}
            assert found - raised == expected - raised, (value, condition)
            compared += 1
    assert compared >= 6
    flat.close()


def test_filters_nest(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    store.add(nodes_of(embedding))
    query = embedding.get_query_embedding("water")
    either = MetadataFilters(filters=[where("page", 1), where("topic", "garage")], condition=FilterCondition.OR)
    assert set(ids(store, query, filters=either)) == {"kettle", "bicycle"}
    nested = MetadataFilters(filters=[either, where("page", 1, FilterOperator.GT)])
    assert ids(store, query, filters=nested) == ["bicycle"]
    neither = MetadataFilters(filters=[either], condition=FilterCondition.NOT)
    assert ids(store, query, filters=neither) == ["tea"]
    store.delete_nodes(filters=neither)
    assert {node.node_id for node in store.get_nodes()} == {"kettle", "bicycle"}


def nest(depth: int) -> MetadataFilters:
    filters = MetadataFilters(filters=[where("page", 1)])
    for _ in range(depth):
        filters = MetadataFilters(filters=[filters])
    return filters


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (MetadataFilters(filters=[where("page", [1], FilterOperator.EQ)]), "'==' takes one value"),
        (MetadataFilters(filters=[where("page", "12", FilterOperator.IN)]), "'in' takes a list"),
        (MetadataFilters(filters=[where("page", "12", FilterOperator.ANY)]), "'any' takes a list"),
        (MetadataFilters(filters=[where("page", 1, FilterOperator.TEXT_MATCH)]), r"\$substring must be a str, got int"),
        (MetadataFilters(filters=[where("page", None, FilterOperator.LT)]), r"\$lt takes a number or a text"),
        (MetadataFilters(filters=[where("$page", 1)]), r"unknown operator '\$page'"),
        (nest(50), "more than 16 levels deep"),
    ],
)
def test_what_the_index_cannot_filter_is_refused_by_name(filters: MetadataFilters, message: str) -> None:
    with GlotVectorStore() as store:
        for _ in range(2):  # also before there is an index
            with pytest.raises(InputError, match=message):
                store.query(VectorStoreQuery(query_embedding=[1.0, 0.0], filters=filters))
            with pytest.raises(InputError, match=message):
                store.get_nodes(filters=filters)
            with pytest.raises(InputError, match=message):
                store.delete_nodes(["0"], filters=filters)
            store.add(plane(0))
        assert len(store.get_nodes()) == 1


def test_restriction_to_documents_and_nodes(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    store.add(nodes_of(embedding))
    query = embedding.get_query_embedding("tyres and chains")
    assert set(ids(store, query, doc_ids=["house"])) == {"kettle", "tea"}
    assert ids(store, query, doc_ids=[]) == []
    assert set(ids(store, query, node_ids=["tea", "bicycle", "none"])) == {"tea", "bicycle"}
    assert ids(store, query, node_ids=["tea", "bicycle"], doc_ids=["house"]) == ["tea"]
    page = MetadataFilters(filters=[where("page", 1)])
    assert ids(store, query, node_ids=["tea"], filters=page) == []
    assert len(ids(store, query, node_ids=[])) == 3  # what every retriever of a VectorStoreIndex sends


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ({"mode": VectorStoreQueryMode.HYBRID}, {}, "query mode 'hybrid' is not supported"),
        ({"mode": VectorStoreQueryMode.SVM}, {}, "query mode 'svm' is not supported"),
        ({"query_embedding": None}, {}, "no embedding"),
        ({"similarity_top_k": 0}, {}, "k must be an int of 1 or more"),
        ({}, {"fliter": 1}, "unknown arguments: fliter"),
        ({"mode": VectorStoreQueryMode.MMR}, {"treshold": 1}, "unknown arguments: treshold"),
        ({"query_embedding": [1.0, 0.0, 0.0]}, {}, r"shape \(N, 2\)"),
    ],
)
def test_queries_that_cannot_be_answered(query: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with GlotVectorStore() as store:
        store.add(plane(0))
        with pytest.raises(InputError, match=message):
            store.query(VectorStoreQuery(**{"query_embedding": [1.0, 0.0], **query}), **options)


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


@pytest.mark.parametrize("split", [True, False])
def test_an_ingestion_pipeline_upserts_and_deletes(
    store: GlotVectorStore, embedding: GlotEmbedding, split: bool
) -> None:
    splitter = [SentenceSplitter(chunk_size=128, chunk_overlap=0)] if split else []
    pipeline = IngestionPipeline(
        transformations=[*splitter, embedding],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )

    def run(**texts: str) -> tuple[int, set[str]]:
        ran = pipeline.run(documents=[Document(text=text, id_=name) for name, text in texts.items()])
        return len(ran), {node.get_content() for node in store.get_nodes()}

    assert run(**TEXTS) == (3, {KETTLE, BICYCLE, TEA})
    assert run(**TEXTS) == (0, {KETTLE, BICYCLE, TEA})
    assert run(kettle=KETTLE, bicycle="New tyres.") == (1, {KETTLE, "New tyres."})


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


# -- keeping


def test_it_persists_and_refuses_other_embeddings(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with GlotVectorStore(tmp_path / "index", embed_model=embedding) as first:
        first.add(nodes_of(embedding))
        StorageContext.from_defaults(vector_store=first).persist(str(tmp_path / "context"))
        assert first.client is not None
        assert first.client.stats().file_sequence == first.client.stats().sequence
        record = first.to_dict()
    again = GlotVectorStore.from_dict(record)
    assert record["class_name"] == "GlotVectorStore"
    assert ids(again, embedding.get_query_embedding("how fast does it heat water"), k=1) == ["kettle"]
    assert again.get_nodes(["kettle"])[0].metadata == {"topic": "kitchen", "page": 1, "tags": ["hot", "fast"]}
    again.close()
    for other in (
        {},
        {"fingerprint": "another"},
        {"embed_model": MockEmbedding(embed_dim=384)},
        {"embed_model": GlotEmbedding(dtype="float32", query_prompt="query: ")},
    ):
        with pytest.raises(FingerprintMismatchError) as refused:
            GlotVectorStore(tmp_path / "index", **other)
        # The refused one has let go of the directory, though its error, and so its frame, is still held.
        GlotVectorStore(tmp_path / "index", embed_model=embedding).close()
        assert refused.value


def test_other_embeddings_are_known_by_name(tmp_path: Path) -> None:
    with GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v1")) as store:
        assert store.client is None
        store.add(plane(0, 90))
    with pytest.raises(FingerprintMismatchError, match="v2"):
        GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v2"))
    with GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v1")) as store:
        assert ids(store, [0.0, 1.0]) == ["1", "0"]
        assert store.client is not None
        with pytest.raises(InputError, match="query the vector store instead"):
            store.client.search("text")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(IndexExistsError, match="not an index and not empty"):
        GlotVectorStore(tmp_path / "other")


def test_an_index_made_without_llama_index_can_be_queried(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", embedding.encoder) as index:
        index.add([IndexDocument(text, name, {"page": 1}) for name, text in TEXTS.items()])
    with GlotVectorStore(tmp_path / "index", embed_model=embedding) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        (found,) = index.as_retriever(similarity_top_k=1).retrieve("how fast does it heat water")
        assert found.node == TextNode(id_="kettle", text=KETTLE, metadata={"page": 1})


def test_a_temporary_store_leaves_nothing_behind() -> None:
    store = GlotVectorStore()
    assert store.client is None
    assert store.get_nodes() == []
    assert ids(store, [1.0, 0.0]) == []
    store.clear()
    store.delete("none")
    with pytest.raises(InputError, match="give it one"):
        store.persist("anywhere")
    store.add(plane(0))
    assert store.client is not None
    folder = store.client.path
    copy = store.model_copy()
    del store
    gc.collect()
    assert ids(copy, [1.0, 0.0]) == ["0"]  # a copy shares the index and keeps it open
    copy.close()
    copy.close()
    assert not folder.exists()
    with pytest.raises(IndexReadOnlyError, match="closed"):
        copy.add(plane(0))
    other = GlotVectorStore()
    other.add(plane(0))
    assert other.client is not None
    folder = other.client.path
    del other
    gc.collect()
    assert not folder.exists()


def test_mistakes_are_told_at_once(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="pth"):
        GlotVectorStore(pth="x")
    with pytest.raises(InputError, match="must be a LlamaIndex embedding, got str"):
        GlotVectorStore(embed_model="minilm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave the argument out"):
        GlotVectorStore(embed_model=embedding, fingerprint="mine")
    with pytest.raises(InputError, match="cannot be pickled"):
        pickle.dumps(GlotVectorStore(tmp_path))


# -- the package


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def test_it_is_a_part_of_the_namespace_beside_the_core() -> None:
    code = (
        "import llama_index.core, llama_index.embeddings.glot, llama_index.vector_stores.glot, sys\n"
        "print([getattr(sys.modules[name], '__file__', None) for name in\n"
        "       ('llama_index', 'llama_index.embeddings', 'llama_index.vector_stores')], 'torch' in sys.modules)"
    )
    assert run(code) == "[None, None, None] False"


def test_without_llama_index_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['llama_index.core'] = None\n"
        "try:\n    import llama_index.vector_stores.glot\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    assert run(code) == (
        "MissingExtraError This needs the package 'llama-index-core'. "
        "Install it with: pip install 'glot-rag[llama-index]'"
    )
