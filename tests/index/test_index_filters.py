import pytest
from hash_encoder import HashEncoder, assert_same_hits, brute_force, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.errors import InputError
from glot_rag.index import Document, GlotIndex

FILTERS = [
    ({}, lambda m: True),
    ({"lang": "en"}, lambda m: m["lang"] == "en"),
    ({"lang": "en", "even": False}, lambda m: False),
    ({"lang": "de", "even": False}, lambda m: m["lang"] == "de"),
    ({"lang": None}, lambda m: m["lang"] is None),
    ({"n": 7}, lambda m: m["n"] == 7),
    ({"n": 7.0}, lambda m: m["n"] == 7),
    ({"n": {"$eq": 7}}, lambda m: m["n"] == 7),
    ({"n": "7"}, lambda m: False),
    ({"n": True}, lambda m: False),
    ({"even": 1}, lambda m: False),
    ({"missing": None}, lambda m: False),
    ({"lang": {"$in": ["en", "fr", None, 3]}}, lambda m: m["lang"] in ("en", "fr", None)),
    ({"n": {"$in": list(range(0, 5000, 3))}}, lambda m: m["n"] % 3 == 0),
    ({"n": {"$in": []}}, lambda m: False),
]


@pytest.mark.parametrize(("filter", "keep"), FILTERS)
def test_equals_brute_force(index, encoder, filter, keep):
    documents = corpus(120)
    index.add(documents)
    for k in (1, 10, 200):
        assert_same_hits(index.search("query", k, filter), brute_force(encoder, documents, "query", k, keep))


def test_one_in_many_is_found(index):
    index.add([Document(f"text {i}", f"d{i}", {"tag": "rare" if i == 1234 else "common"}) for i in range(2000)])
    assert [hit.id for hit in index.search("text 1", 10, {"tag": "rare"})] == ["d1234"]


HOSTILE = ['a"b', "a.b", "$", "$.lang", "", "a\\b", "é", "[0]", "a'b", "x') OR 1=1 --", "a\nb", "😀", "lang", "%", '"']


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_and_values_are_taken_literally(index, key):
    index.add([Document("one", "one", {key: key}), Document("two", "two", {key: "other", "x": key})])
    assert [hit.id for hit in index.search("q", 5, {key: key})] == ["one"]
    assert [hit.id for hit in index.search("q", 5, {key: {"$in": ["other", key]}, "x": key})] == ["two"]
    assert index.search("q", 5, {key + "?": key}) == []


def test_lists_and_objects_do_not_pass_for_their_text(index):
    index.add(
        [Document("one", "one", {"a": [1]}), Document("two", "two", {"a": {"b": 1}}), Document("3", "3", {"a": "[1]"})]
    )
    assert [hit.id for hit in index.search("q", 5, {"a": {"$in": ["[1]", '{"b":1}']}})] == ["3"]


def test_a_path_reaches_nested_keys_and_a_key_with_a_dot(index):
    nested = {"author": {"name": "Ann", "at": {"year": 2024}}}
    index.add([Document("one", "one", nested), Document("two", "two", {"author.name": "Ann"}), Document("3", "3")])
    assert index.ids({"author.name": "Ann"}) == ["one", "two"]
    assert index.ids({"author.name": {"$ne": "Ann"}}) == ["3"]
    assert index.ids({"author.at.year": {"$gt": 2023}}) == ["one"]
    assert index.ids({"author.at": {"$exists": True}}) == ["one"]
    assert {hit.id for hit in index.search("q", 5, {"author.name": "Ann"})} == {"one", "two"}
    assert index.ids({"a.b.c.d.e.f.g.h.i": 1}) == []  # longer than a path may be: only the key itself
    index.add([Document("long", "long", {"a.b.c.d.e.f.g.h.i": 1})])
    assert index.ids({"a.b.c.d.e.f.g.h.i": 1}) == ["long"]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)


def kind(value):
    return "bool" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else type(value).__name__


@settings(max_examples=15, deadline=None)
@given(values=st.lists(scalars, min_size=1, max_size=8))
def test_any_scalar_matches_its_equals_only(tmp_path_factory, values):
    with GlotIndex.create(tmp_path_factory.mktemp("f") / "i", HashEncoder()) as index:
        index.add([Document(f"text {i}", f"d{i}", {"key": value}) for i, value in enumerate(values)])
        for value in values:
            same = {f"d{i}" for i, v in enumerate(values) if kind(v) == kind(value) and v == value}
            assert {hit.id for hit in index.search("q", 10, {"key": value})} == same


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("lang", "must be a dict"),
        ({1: 2}, "filter key must be a str"),
        ({"a\ud800": 1}, "lone surrogate"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a": [1]}, r"for one of several values write"),
        ({"a": {"$near": 1}}, r"unknown operator '\$near'; known: \$eq, \$in"),
        ({"a": {"b": 1}}, "unknown operator 'b'"),
        ({"a": {}}, "one operator"),
        ({"a": {"$in": "en"}}, r"\$in takes a list"),
        ({"a": {"$in": [[1]]}}, "takes a str"),
        ({"a": float("nan")}, "finite number"),
        ({"a": 2**64}, "64 bits"),
    ],
)
def test_bad_filters(index, filter, message):
    with pytest.raises(InputError, match=message):
        index.search("q", 5, filter)
