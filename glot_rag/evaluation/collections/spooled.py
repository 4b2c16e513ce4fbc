"""A collection from anywhere, read once and kept in a temporary SQLite file: memory does not grow with its texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from glot_rag.errors import DatasetError
from glot_rag.evaluation.collections.collection import Collection, Judged
from glot_rag.evaluation.collections.skip_counter import SkipCounter

Value = TypeVar("Value", int, bytes)


class SpooledCollection(Collection):
    """A collection that is filled a document at a time with `add`, and then gets its queries with `judge`.

    The texts stay in a temporary file until the collection is closed.

    Args:
        name: for reports.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems = []
        self.queries_made = {}
        self.sha256 = {}
        self._table: IdTable[bytes] = IdTable()
        self._empty = SkipCounter("empty documents")
        self._judged: Judged | None = None

    def add(self, key: str, text: str, place: str) -> int | None:
        """Append a document -> its position; None for one without any text, which is counted and left out.

        Args:
            key: its id.
            text: its text.
            place: where it is from, for the errors' messages.

        Raises:
            DatasetError: the id was used before, or there is no room on the disk.
        """
        filled = bool(text.strip())
        self._table.add(key, place, text.encode("utf-8", "surrogatepass"), counts=filled)
        if filled:
            return len(self) - 1
        self._empty.add(key)
        return None

    def replace(self, position: int, text: str) -> None:
        """Replace the text of the document at a position."""
        self._table.replace(position, text.encode("utf-8", "surrogatepass"))

    def report_empty(self) -> None:
        """Add the number of documents without any text to the problems."""
        self._empty.report(self.problems)

    def judge(self, judged: Judged) -> None:
        """Set queries and judgements, after the last document."""
        self._judged = judged
        self.sha256 = {"dataset_hash": self.hash}

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: object) -> bool:
        """Whether there is a document of that id with a text."""
        return key in self._table

    def key(self, index: int) -> str:
        """The id of the document at a position."""
        return self._table.key(index)

    def text(self, index: int) -> str:
        """The text of the document at a position."""
        return self._table.value(index).decode("utf-8", "surrogatepass")

    def position(self, key: str) -> int:
        """The position of a document id; KeyError for an unknown one."""
        return self._table.position(key)

    @property
    def judged(self) -> Judged:
        """What `judge` set."""
        assert self._judged is not None, "a collection without judgements"
        return self._judged

    def close(self) -> None:
        """Remove the temporary file."""
        self._table.close()


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
    """Turn a full disk, while something from `place` is written to a temporary file, into a DatasetError."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatasetError(
            f"{place}: cannot be kept in a temporary file ({error}); TMPDIR names the folder of such files."
        ) from error


class IdTable(Generic[Value]):
    """A table on disk: id -> its place in the files, its position among the ids that count, and a value."""

    def __init__(self) -> None:
        self._count = 0
        self._database = temporary_database()
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, place TEXT, position INTEGER, value)")
        self._database.execute("CREATE UNIQUE INDEX positions ON ids (position)")

    def add(self, key: str, place: str, value: Value, *, counts: bool = True) -> None:
        """Append an id; one that does not count gets no position, but may not be used again either.

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
        """The number of ids that count."""
        return self._count

    def __contains__(self, key: object) -> bool:
        """Whether an id is there and counts."""
        return isinstance(key, str) and self._of(key, "position") is not None

    def knows(self, key: str) -> bool:
        """Whether an id is there, whether it counts or not."""
        return self._of(key, "place") is not None

    def position(self, key: str) -> int:
        """The position of an id; KeyError for one that is not there or does not count."""
        position = self._of(key, "position")
        if position is None:
            raise KeyError(key)
        return int(position)

    def key(self, position: int) -> str:
        """The id at a position; IndexError beyond the last."""
        key: bytes = self._at(position, "id")
        return key.decode("utf-8", "surrogatepass")

    def value(self, position: int) -> Value:
        """The value of the id at a position; IndexError beyond the last."""
        value: Value = self._at(position, "value")
        return value

    def replace(self, position: int, value: Value) -> None:
        """Replace the value of the id at a position."""
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
