from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from glot_rag.errors import DatasetError
from glot_rag.evaluation.collections.spooled import IdTable


def test_ids_places_positions_and_values() -> None:
    table: IdTable[int] = IdTable()
    for number, (key, counts) in enumerate([("b", True), ("empty", False), ("\ud800", True), ("a", True)]):
        table.add(key, f"file:{number + 1}", 10 * number, counts=counts)
    assert len(table) == 3
    assert [table.key(position) for position in range(3)] == ["b", "\ud800", "a"]
    assert [table.value(position) for position in range(3)] == [0, 20, 30]
    assert [table.position(key) for key in ("a", "b", "\ud800")] == [2, 0, 1]
    assert ("a" in table, "empty" in table, "other" in table, 1 in table) == (True, False, False, False)
    assert (table.knows("empty"), table.knows("other")) == (True, False)
    table.replace(1, 99)
    assert table.value(1) == 99
    for unknown in ("empty", "other"):
        with pytest.raises(KeyError):
            table.position(unknown)
    with pytest.raises(IndexError):
        table.key(3)
    for again in ("a", "empty"):
        with pytest.raises(DatasetError, match=rf"file:9: the id '{again}' was already used at file:"):
            table.add(again, "file:9", 0)
    assert len(table) == 3


def test_a_disk_without_room_is_said() -> None:
    table: IdTable[bytes] = IdTable()
    table._database.execute("PRAGMA max_page_count = 8")  # what a full disk looks like
    with pytest.raises(DatasetError, match=r"docs\.jsonl:7: cannot be kept in a temporary file .*full.*TMPDIR"):
        table.add("a", "docs.jsonl:7", b"x" * 100_000)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    table: IdTable[bytes] = IdTable()
    for number in range(10):
        table.add(f"{number}", "", b"x" * 2**20)  # more than memory holds
    table.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        table.key(0)
