"""Ids of a collection's documents or queries, and what goes with each, kept on disk while the collection is open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from glot_rag.errors import DatasetError

Value = TypeVar("Value", int, bytes)


def temporary_database() -> sqlite3.Connection:
    """A database in a file that SQLite makes in its temporary folder and removes; memory holds 4 MiB of it."""
    database = sqlite3.connect("", isolation_level=None)  # an empty name is such a file
    # A file that nobody finds again need not survive anything; within one transaction nothing is written early.
    for pragma in ("cache_size = -4096", "journal_mode = OFF", "synchronous = OFF"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")
    return database


@contextmanager
def room_for(place: str) -> Iterator[None]:
    """Raise DatasetError where what is from `place` cannot be kept in a temporary file."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatasetError(
            f"{place}: cannot be kept in a temporary file ({error}); TMPDIR names the folder of such files."
        ) from error


class IdTable(Generic[Value]):
    """Id -> its place in the files, its position among those that count, and a value."""

    def __init__(self) -> None:
        self._count = 0
        self._database = temporary_database()
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, place TEXT, position INTEGER, value)")
        self._database.execute("CREATE UNIQUE INDEX positions ON ids (position)")

    def add(self, key: str, place: str, value: Value, *, counts: bool = True) -> None:
        """The next id; one that does not count has no position, but may not be used again either.

        Raises:
            DatasetError: the id was used before, or there is no room on the disk.
        """
        row = (_blob(key), place, self._count if counts else None, value)
        with room_for(place):
            new = self._database.execute("INSERT OR IGNORE INTO ids VALUES (?, ?, ?, ?)", row).rowcount
        if not new:
            raise DatasetError(f"{place}: the id {key!r} was already used at {self._of(key, 'place')}.")
        self._count += counts

    def __len__(self) -> int:
        """Ids that count."""
        return self._count

    def __contains__(self, key: object) -> bool:
        """Whether an id is there and counts."""
        return isinstance(key, str) and self._of(key, "position") is not None

    def knows(self, key: str) -> bool:
        """Whether an id is there, whether it counts or not."""
        return self._of(key, "place") is not None

    def position(self, key: str) -> int:
        """Where an id stands; KeyError for one that is not there or does not count."""
        position = self._of(key, "position")
        if position is None:
            raise KeyError(key)
        return int(position)

    def key(self, position: int) -> str:
        """The id at a position; IndexError beyond the last."""
        key: bytes = self._at(position, "id")
        return key.decode("utf-8", "surrogatepass")

    def value(self, position: int) -> Value:
        """What goes with the id at a position; IndexError beyond the last."""
        value: Value = self._at(position, "value")
        return value

    def replace(self, position: int, value: Value) -> None:
        """Another value for the id at a position."""
        self._database.execute("UPDATE ids SET value = ? WHERE position = ?", (value, position))

    def close(self) -> None:
        """Remove the file."""
        self._database.close()

    def _of(self, key: str, column: str) -> Any:
        row = self._database.execute(f"SELECT {column} FROM ids WHERE id = ?", (_blob(key),)).fetchone()
        return None if row is None else row[0]

    def _at(self, position: int, column: str) -> Any:
        row = self._database.execute(f"SELECT {column} FROM ids WHERE position = ?", (position,)).fetchone()
        if row is None:
            raise IndexError(position)
        return row[0]


def _blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
