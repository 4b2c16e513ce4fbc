"""What a filter let through is remembered, and never for longer than it is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hash_encoder import HashEncoder

from glot_rag.index import Document, GlotIndex
from glot_rag.index.store import cache
from glot_rag.index.store.snapshot import Snapshot

EVEN = {"even": True}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every filter that is looked up in the store."""
    calls: list[object] = []
    matching = Snapshot.matching

    def counted(self: Snapshot, filter: dict[str, object]) -> object:
        calls.append(filter)
        return matching(self, filter)

    monkeypatch.setattr(Snapshot, "matching", counted)
    return calls


def documents(count: int, first: int = 0) -> list[Document]:
    return [Document(f"text {i}", f"d{i}", {"even": i % 2 == 0, "n": i}) for i in range(first, first + count)]


def test_a_filter_is_looked_up_once_until_something_changes(index: GlotIndex, asked: list[object]) -> None:
    changes: list[Callable[[], object]] = [
        lambda: index.add(documents(10)),
        lambda: index.add(documents(1, first=10)),
        lambda: index.delete(["d4"]),
        lambda: index.update_metadata({"d3": {"even": True, "n": 3}}),
    ]
    expected = [set(range(0, 10, 2)), {*range(0, 11, 2)}, {0, 2, 6, 8, 10}, {0, 2, 3, 6, 8, 10}]
    for number, (change, found) in enumerate(zip(changes, expected, strict=True), start=1):
        change()
        for _ in range(3):
            assert {hit.metadata["n"] for hit in index.search("text", 20, EVEN)} == found
        assert len(asked) == number


def test_a_reader_sees_what_another_wrote(index: GlotIndex, encoder: HashEncoder, asked: list[object]) -> None:
    index.add(documents(4))
    with GlotIndex.open(index.path, encoder=encoder, read_only=True) as reader:
        assert len(reader.search("text", 10, EVEN)) == 2
        index.delete(["d0"])
        assert [hit.id for hit in reader.search("text", 10, EVEN)] == ["d2"]


def test_filters_that_are_equal_in_python_only(index: GlotIndex) -> None:
    index.add([Document("a", "one", {"v": 1}), Document("b", "true", {"v": True}), Document("c", "text", {"v": "1"})])
    for value, id in ((1, "one"), (True, "true"), ("1", "text"), (1.0, "one"), (True, "true")):
        assert [hit.id for hit in index.search("a", 5, {"v": value})] == [id]


def test_little_is_kept(index: GlotIndex, asked: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(documents(100))
    monkeypatch.setattr(cache, "MOST_KEY_BYTES", 8 * 30)  # keys of 8 bytes
    first, second, third = ({"n": {"$lt": number}} for number in (10, 20, 11))
    for filter in (first, second, first):
        index.search("text", 5, filter)
    assert asked == [first, second]
    for filter in (third, first, second):  # the second was not asked for longest
        index.search("text", 5, filter)
    assert asked == [first, second, third, second]
    for _ in range(2):
        index.search("text", 5, {"n": {"$lt": 90}})  # more than is kept at all
        index.search("text", 5, {"n": {"$in": list(range(2_000))}})  # too long
    assert len(asked) == 8


def test_nothing_is_kept_of_an_index_without_documents(index: GlotIndex, tmp_path: Path) -> None:
    assert index.search("text", 5, EVEN) == []
    index.add(documents(2))
    assert [hit.id for hit in index.search("text", 5, EVEN)] == ["d0"]
