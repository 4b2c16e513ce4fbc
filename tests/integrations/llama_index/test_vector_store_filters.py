"""Metadata filters of `GlotVectorStore`: every operator, nested, against LlamaIndex's own simple store."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore
from some_nodes import ids, nodes_of, plane, where

from glot_rag.errors import InputError


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


try:
    from llama_index.core.vector_stores.utils import build_metadata_filter_fn
except ImportError:  # earlier versions: their simple store knows fewer operators, and nothing of missing keys
    build_metadata_filter_fn = None

LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
VALUES: list[Any] = [2, 2.5, "fast", "GARAGE", "ar", "", ["hot", "x"], ["fast", "hot"], [1, 2], [], None]


@pytest.mark.skipif(build_metadata_filter_fn is None, reason="the oracle is the simple store of later versions")
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
            # All of it as a part of another filter: that store knows no nesting, so sets are the oracle.
            twos = {id for id, metadata in by_id.items() if metadata.get("x") == 2}
            for outer, wanted in (
                (FilterCondition.AND, expected & twos),
                (FilterCondition.OR, expected | twos),
                (FilterCondition.NOT, by_id.keys() - expected - twos),
            ):
                nested = MetadataFilters(filters=[chosen, where("x", 2)], condition=outer)
                found = {node.node_id for node in flat.get_nodes(filters=nested)}
                assert found - raised == wanted - raised, (value, condition, outer)
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


@pytest.mark.parametrize("key", ["doc_id", "document_id", "ref_doc_id"])
def test_a_users_own_value_under_the_names_of_the_source_is_found(key: str) -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
    own, other = plane(0, 10)
    own.metadata, own.relationships = {key: "INV-7"}, source
    other.relationships = source
    with GlotVectorStore() as store:
        store.add([own, other])

        def matching(value: str) -> set[str]:
            return {node.node_id for node in store.get_nodes(filters=MetadataFilters(filters=[where(key, value)]))}

        assert matching("INV-7") == {"0"}
        assert matching("book") == {"1"}  # who gives none of their own filters by the source, as LlamaIndex has it
        assert [node.metadata for node in store.get_nodes()] == [{key: "INV-7"}, {}]
        assert ids(store, [1.0, 0.0], doc_ids=["book"]) == ["0", "1"]
        store.delete("INV-7")
        assert len(store.get_nodes()) == 2
        store.delete("book")
        assert store.get_nodes() == []


def test_keys_inside_of_objects() -> None:
    ann, bob, dotted = plane(0, 10, 20)
    ann.metadata = {"author": {"name": "Ann", "address": {"city": "Ulm"}}}
    bob.metadata = {"author": {"name": "Bob"}}
    dotted.metadata = {"author.name": "Ann"}
    with GlotVectorStore() as store:
        store.add([ann, bob, dotted])
        by_name = MetadataFilters(filters=[where("author.name", "Ann")])
        assert ids(store, [1.0, 0.0], filters=by_name) == ["0", "2"]
        assert ids(store, [1.0, 0.0], filters=MetadataFilters(filters=[where("author.address.city", "Ulm")])) == ["0"]
        store.delete_nodes(filters=by_name)
        assert [node.metadata for node in store.get_nodes()] == [bob.metadata]


def test_a_query_by_filter_alone(store: GlotVectorStore, embedding: GlotEmbedding) -> None:
    store.add(nodes_of(embedding))
    kitchen = MetadataFilters(filters=[where("topic", "kitchen")])
    found = store.query(VectorStoreQuery(filters=kitchen, similarity_top_k=9))
    assert (found.ids, found.similarities) == (["kettle", "tea"], None)
    assert found.nodes == store.get_nodes(filters=kitchen)
    assert store.query(VectorStoreQuery(filters=kitchen, similarity_top_k=1)).ids == ["kettle"]
    assert store.query(VectorStoreQuery(doc_ids=["outside"], similarity_top_k=9)).ids == ["bicycle"]
    assert store.query(VectorStoreQuery(node_ids=["tea"], filters=kitchen)).ids == ["tea"]
    for also in ({"query_str": "water"}, {"mode": VectorStoreQueryMode.MMR}):
        with pytest.raises(InputError, match="the query has no embedding"):
            store.query(VectorStoreQuery(filters=kitchen, **also))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ({"mode": "fastest"}, {}, "query mode 'fastest' is not supported; known: 'default'"),
        ({"mode": VectorStoreQueryMode.HYBRID, "query_str": None}, {}, "query mode 'hybrid' needs query_str"),
        ({"mode": VectorStoreQueryMode.TEXT_SEARCH, "query_str": None}, {}, "query mode 'text_search' needs query_str"),
        (
            {"mode": VectorStoreQueryMode.HYBRID, "query_str": "a", "alpha": 2.0},
            {},
            "weight of a fusion must be from 0",
        ),
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
