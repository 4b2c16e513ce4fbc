"""Rows are read and checked once until something changes; nothing old is given back."""

import sqlite3

import pytest
from hash_encoder import HashEncoder, corpus

from glot_rag.errors import IndexCorruptedError
from glot_rag.index import Document, GlotIndex
from glot_rag.index.store import cache
from glot_rag.index.store.snapshot import Snapshot


@pytest.fixture
def read(index, monkeypatch):
    """How many rows each search took from the store."""
    index.add(corpus(30))
    counts = []
    by_key = Snapshot.by_key

    def counted(snapshot, keys):
        counts.append(len(keys))
        return by_key(snapshot, keys)

    monkeypatch.setattr(Snapshot, "by_key", counted)
    return counts


def test_a_row_is_read_once_until_something_changes(index, read):
    first = index.search("text 3", 5)
    assert index.search("text 3", 5) == first
    assert read == [5]
    assert {hit.id for hit in index.search("text 3", 7)} > {hit.id for hit in first}
    assert read == [5, 2]
    index.update_metadata({"d3": {"n": "new"}})
    assert index.search("text 3", 5)[0].metadata == {"n": "new"}
    assert read == [5, 2, 5]


def test_a_hit_is_the_callers_own(index, read):
    index.search("text 3", 1)[0].metadata["n"] = "changed"
    assert index.search("text 3", 1)[0].metadata["n"] == 3


def test_a_reader_sees_what_another_wrote(index, read, path, encoder):
    with GlotIndex.open(path, encoder, read_only=True) as reader:
        assert reader.search("text 3", 1)[0].metadata["n"] == 3
        index.add([Document("text 3", "d3", {"n": "new"})])
        assert reader.search("text 3", 1)[0].metadata == {"n": "new"}
        index.delete(["d3"])
        assert "d3" not in {hit.id for hit in reader.search("text 3", 30)}


def test_little_is_kept(index, read, monkeypatch):
    monkeypatch.setattr(cache, "MOST_ROW_BYTES", 2_000)
    for _ in range(3):
        hits = index.search("text 3", 30)
        assert sorted(hit.text for hit in hits) == sorted(f"text {n}" for n in range(30))
    kept = index._searcher._rows
    assert 0 < len(kept._rows) < 5
    assert kept._bytes == sum(map(cache.row_bytes, kept._rows.values())) <= 2_000
    assert read[0] == 30
    assert all(25 < count < 30 for count in read[1:])


def test_an_older_state_is_neither_kept_nor_given(index, read):
    kept = index._searcher._rows
    with index._store.snapshot() as before:
        index.search("text 3", 30)
        index.update_metadata({"d3": {"n": "new"}})
        (key,) = (hit_key for hit_key, row in kept._rows.items() if row.id == "d3")
        index.search("text 3", 30)
        assert kept.rows(before, [key, key])[1].parsed_metadata()["n"] == 3
    assert kept._rows[key].parsed_metadata() == {"n": "new"}


def test_a_damaged_row_is_not_kept(path, tmp_path):
    with GlotIndex.create(path, HashEncoder()) as index:
        index.add(corpus(5))
    connection = sqlite3.connect(path / "store.sqlite")
    with connection:
        connection.execute("UPDATE documents SET text = 'forged' WHERE id = 'd3'")
    connection.close()
    with GlotIndex.open(path, HashEncoder(), read_only=True, check=False) as index:
        for _ in range(2):
            with pytest.raises(IndexCorruptedError, match="'d3'"):
                index.search("text 3", 1)
