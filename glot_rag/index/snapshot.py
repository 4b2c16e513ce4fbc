"""Reads of one SQLite transaction: all of them see the same commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.rows import COLUMNS, WAY_OUT, Row, seal

Keys = NDArray[np.int64]
T = TypeVar("T")
VECTORS_AT_ONCE = 4096
CHUNK = 500  # values in one `IN (?, …)`; old SQLite builds allow 999


class State(NamedTuple):
    """The counters.

    Attributes:
        sequence: Number of the last commit that changed a document.
        next_key: The key that the next new document gets; never goes back.
        documents: How many there are.
        horizon: Deletions up to this sequence are forgotten: one who is behind it cannot catch up by replay.
    """

    sequence: int
    next_key: int
    documents: int
    horizon: int


class CheckpointRecord(NamedTuple):
    """A FAISS file that was written: the sequence it holds, its SHA-256 (hex), size in bytes, number of vectors."""

    sequence: int
    sha256: bytes
    size: int
    vectors: int


class Snapshot:
    """The store as of one commit. Every row is checked against its checksum when it is read."""

    def __init__(self, connection: sqlite3.Connection, vector_bytes: int) -> None:
        self._connection = connection
        self._vector_bytes = vector_bytes
        # A WAL read transaction starts with its first read, so this pins the commit that all later reads see.
        self.state = State(*self._sealed("SELECT sequence, next_key, documents, horizon, checksum FROM state")[0])

    def decode(self, columns: tuple[Any, ...]) -> Row:
        """A row that was read raw, checked."""
        return Row.from_columns(columns, self._vector_bytes)

    def raw_rows(
        self, tail: str = "ORDER BY key", parameters: Sequence[object] = (), columns: str = COLUMNS
    ) -> Iterator[tuple[Any, ...]]:
        """Rows, not checked; all of them by key, unless the end of the query says otherwise."""
        yield from self._connection.execute(f"SELECT {columns} FROM documents {tail}", parameters)

    def rows(self) -> Iterator[Row]:
        """All rows by key; ends with an error if there are fewer or more than were committed."""
        count = 0
        for columns in self.raw_rows():
            yield self.decode(columns)
            count += 1
        if count != self.state.documents:
            raise IndexCorruptedError(f"{count} documents are stored, {self.state.documents} were committed. {WAY_OUT}")

    def rows_after(self, key: int) -> Iterator[Row]:
        """Rows with a larger key, by key: the vectors that came after it."""
        return map(self.decode, self.raw_rows("WHERE key > ? ORDER BY key", [key]))

    def has_rows_after(self, key: int) -> bool:
        """Whether there is a row with a larger key."""
        return next(self.raw_rows("WHERE key > ? LIMIT 1", [key], "key"), None) is not None

    def sample(self, size: int, seed: int) -> Iterator[Row]:
        """Rows drawn at random, all of them if there are no more than `size`; the same for the same rows and seed."""
        keys = np.fromiter((key for (key,) in self.raw_rows("ORDER BY id", columns="key")), dtype=np.int64)
        if len(keys) > size:
            keys = np.random.default_rng(seed).choice(np.sort(keys), size, replace=False)
        return map(self.decode, self._where_in("key", np.sort(keys).tolist()))

    def vectors(self, keys: Keys | None) -> Iterator[tuple[Keys, Vectors]]:
        """Keys (N,) and vectors (N, D) of some documents or of all, in parts. Not checked against the checksums.

        Raises:
            IndexCorruptedError: A vector of another length.
        """
        rows = (
            self.raw_rows(columns="key, vector")
            if keys is None
            else self._where_in("key", np.sort(keys).tolist(), "key, vector")
        )
        while part := list(islice(rows, VECTORS_AT_ONCE)):
            if any(not isinstance(vector, bytes) or len(vector) != self._vector_bytes for _, vector in part):
                raise IndexCorruptedError(f"A stored vector does not have {self._vector_bytes} bytes. {WAY_OUT}")
            flat = np.frombuffer(b"".join(vector for _, vector in part), dtype="<f4")
            yield np.array([key for key, _ in part], dtype=np.int64), flat.reshape(len(part), -1)

    def removed_since(self, sequence: int) -> list[int]:
        """Keys deleted or replaced after commit number `sequence`, which must not be before the horizon."""
        return [row[0] for row in self._sealed("SELECT * FROM tombstones WHERE sequence > ?", sequence)]

    def raw_by_id(self, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The rows of those `ids` that exist, not checked."""
        return {columns[2].decode(): columns for columns in self._where_in("id", ids)}

    def by_key(self, keys: Iterable[int]) -> dict[int, Row]:
        """The rows of `keys`; those that do not exist are left out."""
        return {row.key: row for row in map(self.decode, self._where_in("key", sorted(keys)))}  # in their order on disk

    def matching(self, filter: Filter) -> Keys:
        """Keys of the documents that a metadata filter lets through."""
        where, parameters = compile_filter(filter)
        found = self._connection.execute(f"SELECT key FROM documents WHERE {where}", parameters)
        return np.fromiter((key for (key,) in found), dtype=np.int64)

    def ids(self, filter: Filter | None) -> list[str]:
        """Ids of all documents, or of those that a filter lets through, in the order in which they were added."""
        if filter is None:
            sql = "SELECT id FROM documents ORDER BY +key"  # +: sorted, rather than a walk over texts and vectors
            return [id.decode() for (id,) in self._connection.execute(sql)]
        found = dict(self._where_in("key", np.sort(self.matching(filter)).tolist(), "key, id"))
        return [found[key].decode() for key in sorted(found)]

    def rows_matching(self, filter: Filter) -> Iterator[Row]:
        """The documents that a metadata filter lets through, in the order in which they were added."""
        keys = np.sort(self.matching(filter)).tolist()
        for start in range(0, len(keys), CHUNK):
            found = self.by_key(keys[start : start + CHUNK])
            yield from (found[key] for key in sorted(found))

    def checkpoints(self) -> list[CheckpointRecord]:
        """The FAISS files that may be on disk, oldest first; two while a new one takes its place."""
        found = self._sealed("SELECT sequence, sha256, size, vectors, checksum FROM checkpoints ORDER BY number")
        return [CheckpointRecord(*row) for row in found]

    def integrity_problems(self) -> list[str]:
        """What SQLite's own check of its structure finds."""
        lines = [line.decode(errors="replace") for (line,) in self._connection.execute("PRAGMA integrity_check")]
        return [] if lines == ["ok"] else [f"SQLite: {line}" for line in lines]

    def _where_in(self, column: str, values: Sequence[object], columns: str = COLUMNS) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            yield from self.raw_rows(f"WHERE {column} IN ({','.join('?' * len(part))})", part, columns)

    def _sealed(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows whose last column is the seal over the others, without it."""
        rows = self._connection.execute(sql, parameters).fetchall()
        for row in rows:
            try:
                intact = seal(*row[:-1]) == row[-1]
            except TypeError:
                intact = False
            if not intact:
                raise IndexCorruptedError(
                    f"A row of the index's own bookkeeping does not match its checksum. {WAY_OUT}"
                )
        if not rows and " state" in sql:
            raise IndexCorruptedError("The index's counters are gone. Restore the directory from a copy")
        return [row[:-1] for row in rows]


class Transaction(Snapshot):
    """A snapshot that can change. Nothing is acknowledged before `Store.transaction` has committed it."""

    def __init__(self, connection: sqlite3.Connection, vector_bytes: int) -> None:
        super().__init__(connection, vector_bytes)
        self._next = self.state
        self.changes = 0

    def insert(self, id: str, text: str, metadata: str, vector: bytes) -> None:
        """Store a new document under a new key."""
        key = self._next.next_key
        self._next = self._next._replace(next_key=key + 1, documents=self._next.documents + 1)
        self._write(Row(key, self.state.sequence + 1, id, text, metadata, vector))

    def update_metadata(self, row: Row, metadata: str) -> None:
        """Change the metadata of a stored document, which keeps its key, as its vector is the same."""
        self._write(row._replace(sequence=self.state.sequence + 1, metadata=metadata))

    def remove(self, key: int) -> None:
        """Delete a document; the tombstone tells others to drop its vector."""
        sequence = self.state.sequence + 1
        self._connection.execute("DELETE FROM documents WHERE key = ?", [key])
        self._connection.execute("INSERT INTO tombstones VALUES (?, ?, ?)", [key, sequence, seal(key, sequence)])
        self._next = self._next._replace(documents=self._next.documents - 1)
        self.changes += 1

    def add_checkpoint(self, record: CheckpointRecord) -> None:
        """Note a FAISS file, before it takes its name."""
        self._connection.execute("INSERT INTO checkpoints VALUES (NULL, ?, ?, ?, ?, ?)", [*record, seal(*record)])

    def keep_only_checkpoint(self, record: CheckpointRecord) -> None:
        """Forget earlier files, and the deletions that the given one already holds."""
        self._connection.execute("DELETE FROM checkpoints WHERE number < (SELECT max(number) FROM checkpoints)")
        self._connection.execute("DELETE FROM tombstones WHERE sequence <= ?", [record.sequence])
        self._next = self._next._replace(horizon=record.sequence)

    def set_manifest(self, body: str) -> None:
        """Replace the settings, and forget the FAISS files that were written under the old ones."""
        self._connection.execute("UPDATE manifest SET body = ?, checksum = ?", [body, seal(body.encode())])
        self.forget_checkpoints()

    def forget_checkpoints(self) -> None:
        """From now on there is no FAISS file."""
        self._connection.execute("DELETE FROM checkpoints")

    def finish(self, *, settle: bool = False) -> None:
        """Write the counters; the last thing before the commit.

        Args:
            settle: Count up even if nothing changed, as SQLite writes nothing for a row that stays the same.
        """
        if self.changes or settle:
            self._next = self._next._replace(sequence=self.state.sequence + 1)
        if self._next != self.state:
            sql = "UPDATE state SET sequence = ?, next_key = ?, documents = ?, horizon = ?, checksum = ?"
            self._connection.execute(sql, [*self._next, seal(*self._next)])

    @property
    def last_sequence(self) -> int:
        """That of the store once this is committed."""
        return self._next.sequence

    def _write(self, row: Row) -> None:
        values = row.columns()
        self._connection.execute(f"REPLACE INTO documents ({COLUMNS}) VALUES ({','.join('?' * len(values))})", values)
        self.changes += 1
