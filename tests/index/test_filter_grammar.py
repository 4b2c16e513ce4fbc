"""Every operator and combination against the plain-Python oracle, and what a stranger's filter cannot do."""

import json
import sqlite3

import pytest
from filter_oracle import matches
from hash_encoder import assert_same_hits, brute_force
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glot_rag.errors import InputError
from glot_rag.index import Document
from glot_rag.index.filters import CASEFOLD, MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, compile_filter

KEYS = ["a", "b", "a.b", "a.b.a", "ü"]
texts = st.text(st.sampled_from("aAßsé'\"%_ []"), max_size=3)
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 2.0, 1e300, 5e-324, 0.1 + 0.2, 0.3]),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63), float(2**53)]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "b.a", "ü", "'"]), inner, max_size=2)
    ),
)
metadata = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
ordered = st.one_of(numbers, texts)
one_operator = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin", "$any", "$all"]), st.lists(scalars, max_size=3)),
    st.tuples(st.sampled_from(["$exists", "$empty"]), st.booleans()),
    st.tuples(st.sampled_from(["$substring", "$isubstring"]), texts),
)
conditions = st.recursive(
    st.lists(one_operator, min_size=1, max_size=2).map(dict),
    lambda inner: inner.map(lambda condition: {"$not": condition}),
    max_leaves=2,
)
leaves = st.dictionaries(st.sampled_from(KEYS), st.one_of(scalars, conditions), max_size=2)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def table():
    """The table that a compiled filter is a condition on, without the rest of an index."""
    connection = sqlite3.connect(":memory:")
    connection.create_function(CASEFOLD, 1, str.casefold, deterministic=True)
    connection.execute("CREATE TABLE documents (metadata TEXT)")
    yield connection
    connection.close()


def selected(table, filter, metadatas):
    table.execute("DELETE FROM documents")
    table.executemany("INSERT INTO documents VALUES (?)", [[json.dumps(each)] for each in metadatas])
    where, parameters = compile_filter(filter)
    return [row - 1 for (row,) in table.execute(f"SELECT rowid FROM documents WHERE {where}", parameters)]


@settings(max_examples=400, deadline=None)
@given(filter=filters, metadatas=st.lists(metadata, min_size=1, max_size=6))
@example(filter={"a": {"$isubstring": "SS"}}, metadatas=[{"a": "ß"}, {"a": "s"}])
@example(filter={"a": {"$gt": 2**53}}, metadatas=[{"a": 2**53 + 1}, {"a": float(2**53)}])
@example(filter={"a.b": 1}, metadatas=[{"a": {"b": 1}}, {"a.b": 1}, {"a.b": 2, "a": {"b": 1}}, {"a": '{"b": 1}'}])
@example(filter={"a.b.a": {"$ne": 1}}, metadatas=[{"a": {"b": {"a": 1}}}, {"a": {"b.a": 1}}, {"a": [{"b": 1}]}, {}])
@example(filter={"a.b": {"$empty": True}}, metadatas=[{"a": {"b": []}}, {"a.b": "x", "a": {"b": ""}}, {"a": 1}])
@example(filter={"a": {"$all": []}}, metadatas=[{"a": []}, {"a": 1}, {}])
def test_any_filter_means_what_the_oracle_says(table, filter, metadatas):
    expected = [number for number, each in enumerate(metadatas) if matches(filter, each)]
    assert selected(table, filter, metadatas) == expected


FILTERS = [
    {"n": {"$gte": 20, "$lt": 23}},
    {"n": {"$gt": 20.5, "$lte": 23}},
    {"lang": {"$ne": "en"}},
    {"missing": {"$ne": "en"}},
    {"lang": {"$nin": ["en", None]}},
    {"$or": [{"n": 3}, {"lang": "fr", "n": {"$lt": 9}}]},
    {"$not": {"$or": [{"even": True}, {"lang": "de"}]}},
    {"$and": [{"n": {"$gt": 5}}, {"n": {"$not": {"$gt": 9}}}]},
    {"tags": {"$any": ["t3", "t5"]}},
    {"tags": {"$all": ["t3", "odd"]}},
    {"lang": {"$gt": "de"}},
    {"lang": {"$exists": True, "$empty": False}},
]


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_search_ids_and_documents_agree_with_brute_force(index, encoder, filter):
    languages = ["en", "de", None, "fr"]
    documents = [
        Document(
            f"text {i}",
            f"d{i}",
            {"lang": languages[i % 4], "n": i, "even": i % 2 == 0, "tags": [f"t{i % 7}", "odd" if i % 2 else "even"]},
        )
        for i in range(60)
    ]
    index.add(documents)
    kept = [document for document in documents if matches(filter, document.metadata)]
    assert 0 < len(kept) <= 60
    assert index.ids(filter) == [document.id for document in kept]
    assert list(index.documents(filter)) == kept
    for k in (1, 100):
        assert_same_hits(index.search("query", k, filter), brute_force(encoder, kept, "query", k))


def test_ids_and_documents_are_in_the_order_of_addition(index):
    index.add([Document("a", "z"), Document("b", "y", {"x": 1}), Document("c", "m", {"x": 1})])
    index.add([Document("changed", "z", {"x": 1})])
    assert index.ids() == [document.id for document in index.documents()] == ["y", "m", "z"]
    assert index.ids({"x": 1}) == ["y", "m", "z"]
    assert index.delete(index.ids({"x": 1})) == 3
    assert index.ids() == index.ids({"x": 1}) == []


def test_a_bad_filter_is_refused_before_the_first_document(index):
    with pytest.raises(InputError, match="must be a dict"):
        index.documents([])
    with pytest.raises(InputError, match="must be a dict"):
        index.ids("")


def nested(depth, inner):
    for _ in range(depth):
        inner = {"$not": inner}
    return inner


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"$and": {"a": 1}}, r"\$and takes a list of filters, got dict"),
        ({"$or": "ab"}, r"\$or takes a list of filters, got str"),
        ({"$or": [1]}, r"a filter in \$or must be a dict"),
        ({"$not": [{"a": 1}]}, r"the filter of \$not must be a dict"),
        ({"$nor": [{"a": 1}]}, r"unknown operator '\$nor'; between filters there are: \$and, \$or, \$not"),
        ({"a": {"$not": 3}}, r"\$not takes a dict of operators, got 3"),
        ({"a": {"$gt": None}}, r"\$gt takes a number or a text, got None"),
        ({"a": {"$lte": True}}, r"\$lte takes a number or a text, got True"),
        ({"a": {"$lt": float("inf")}}, "finite number"),
        ({"a": {"$exists": 1}}, r"\$exists takes True or False, got 1"),
        ({"a": {"$any": "b"}}, r"\$any takes a list of values, got str"),
        ({"a": {"$all": [{}]}}, "takes a str, a number, a bool or None, got {}"),
        ({"a": {"$substring": 1}}, "must be a str, got int"),
        ({"a": {1: 1}}, "unknown operator 1"),
        (nested(MAX_DEPTH + 1, {"a": 1}), "more than 16 levels deep"),
        ({"a": nested(MAX_DEPTH + 1, {"$eq": 1})}, "more than 16 levels deep"),
        (nested(50_000, {}), "more than 16 levels deep"),
        ({f"k{i}": 1 for i in range(MAX_CONDITIONS + 1)}, "more than 256 conditions"),
        ({"a": {"$all": list(range(MAX_CONDITIONS + 1))}}, "more than 256 conditions"),
        ({"a": {"$in": range(MAX_VALUES + 1)}}, "more than 200000 values"),
        ({"a": {"$in": ["x" * (1 << 23)] * 3}}, "more than 16777216 characters"),
    ],
    ids=lambda part: None if isinstance(part, str) else "",
)
def test_what_is_refused(filter, message):
    with pytest.raises(InputError, match=message):
        compile_filter(filter)


def test_a_filter_that_holds_itself_is_refused():
    endless = {}
    endless["$not"] = endless
    with pytest.raises(InputError, match="levels deep"):
        compile_filter(endless)
    deep = []
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(InputError, match="takes a str, a number"):
        compile_filter({"a": deep})


def test_the_largest_filters_that_are_allowed_run(table):
    metadatas = [{"a": 1}, {"a": 2}, {}]
    wide = {"$or": [{"a": {"$all": [1]}} for _ in range(MAX_CONDITIONS)]}
    assert selected(table, wide, metadatas) == []
    assert selected(table, nested(MAX_DEPTH, {"a": 1}), metadatas) == [0]
    assert selected(table, {"a": nested(MAX_DEPTH, {"$eq": 1})}, metadatas) == [0]
    both = {"a": {"$in": list(range(MAX_VALUES))}}
    assert selected(table, both, metadatas) == [0, 1]
    alternating = {"a": 1}
    for depth in range(MAX_DEPTH):
        alternating = {"$and": [{}, alternating]} if depth % 2 else {"$or": [alternating, {"$or": []}]}
    assert selected(table, alternating, metadatas) == [0]


@settings(max_examples=200, deadline=None)
@given(
    filter=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=2)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.one_of(
                    st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$all", "$empty", "a"]),
                    st.text(max_size=3),
                    st.integers(0, 1),
                ),
                inner,
                max_size=3,
            ),
        ),
        max_leaves=8,
    )
)
def test_anything_compiles_and_runs_or_is_a_typed_error(table_for_fuzz, filter):
    try:
        where, parameters = compile_filter(filter)
    except InputError:
        return
    table_for_fuzz.execute(f"SELECT 1 FROM documents WHERE {where}", parameters).fetchall()


@pytest.fixture(scope="module")
def table_for_fuzz(table):
    table.execute("DELETE FROM documents")
    table.execute("INSERT INTO documents VALUES (?)", [json.dumps({"a": [1, "x", None], "b": {"c": 1}})])
    return table
