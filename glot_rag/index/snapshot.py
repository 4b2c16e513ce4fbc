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
from glot_rag.index.rows import COLUMNS, VECTOR_COLUMNS, WAY_OUT, Row, check_vector, seal

Keys = NDArray[np.int64]
T = TypeVar("T")
VECTORS_AT_ONCE = 4096
_BOTH = f"{COLUMNS}, seal, vector", "documents LEFT JOIN vectors USING (key)"
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

    def rows(self) -> Iterator[Row]:
        """All rows by key; ends with an error if there are fewer or more than were committed."""
        return map(Row.from_columns, self._all_of(COLUMNS, "documents"))

    def documents(self) -> Iterator[tuple[Row, bytes]]:
        """As `rows`, each with its vector."""
        return map(self.decode, self._all_of(*_BOTH))

    def raw_documents(self) -> Iterator[tuple[Any, ...]]:
        """All documents by key for `decode`: not checked, nor how many there are."""
        columns, tables = _BOTH
        yield from self._connection.execute(f"SELECT {columns} FROM {tables} ORDER BY key")

    def orphans(self) -> int:
        """How many vectors there are of documents that do not exist."""
        sql = "SELECT count(*) FROM vectors LEFT JOIN documents USING (key) WHERE id IS NULL"
        return int(self._connection.execute(sql).fetchone()[0])

    def decode(self, columns: tuple[Any, ...]) -> tuple[Row, bytes]:
        """A document that was read raw and its vector, checked."""
        row = Row.from_columns(columns[:-2])
        return row, check_vector((row.key, *columns[-2:]), self._vector_bytes, row.id)

    def all_vectors(self) -> Iterator[tuple[Keys, Vectors]]:
        """As `vectors`, of all documents by key; ends with an error as `rows` does."""
        return self._matrices(self._all_of(VECTOR_COLUMNS, "vectors"))

    def has_vectors_after(self, key: int) -> bool:
        """Whether there is a vector with a larger key."""
        return self._connection.execute("SELECT 1 FROM vectors WHERE key > ? LIMIT 1", [key]).fetchone() is not None

    def vectors_after(self, key: int) -> Iterator[tuple[Keys, Vectors]]:
        """As `vectors`, by key, of the documents with a larger key: those that came after it."""
        sql = f"SELECT {VECTOR_COLUMNS} FROM vectors WHERE key > ? ORDER BY key"
        return self._matrices(self._connection.execute(sql, [key]))

    def sample(self, size: int, seed: int) -> Keys:
        """Keys of documents drawn at random, of all if there are no more than `size`; the same for the same rows."""
        found = self._connection.execute("SELECT key FROM documents ORDER BY id")
        keys = np.sort(np.fromiter((key for (key,) in found), dtype=np.int64))
        return np.random.default_rng(seed).choice(keys, size, replace=False) if len(keys) > size else keys

    def vectors(self, keys: Iterable[int], *, check: bool = True) -> Iterator[tuple[Keys, Vectors]]:
        """Keys (N,) and vectors (N, D) of those of some documents that exist, in parts.

        Args:
            keys: Of the documents.
            check: Against the checksums; where that is left out, the lengths only.

        Raises:
            IndexCorruptedError: A vector that is not what was written.
        """
        return self._matrices(self._where_in(VECTOR_COLUMNS, "vectors", "key", sorted(keys)), check)

    def _matrices(self, rows: Iterator[tuple[Any, ...]], check: bool = True) -> Iterator[tuple[Keys, Vectors]]:
        while part := list(islice(rows, VECTORS_AT_ONCE)):
            if check:
                for columns in part:
                    check_vector(columns, self._vector_bytes)
            elif any(not isinstance(vector, bytes) or len(vector) != self._vector_bytes for _, _, vector in part):
                raise IndexCorruptedError(f"A stored vector does not have {self._vector_bytes} bytes. {WAY_OUT}")
            flat = np.frombuffer(b"".join([vector for _, _, vector in part]), dtype="<f4")
            yield np.array([key for key, _, _ in part], dtype=np.int64), flat.reshape(len(part), -1)

    def removed_since(self, sequence: int) -> list[int]:
        """Keys deleted or replaced after commit number `sequence`, which must not be before the horizon."""
        return [row[0] for row in self._sealed("SELECT * FROM tombstones WHERE sequence > ?", sequence)]

    def raw_by_id(self, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The documents of those `ids` that exist, for `decode`."""
        return {columns[2].decode(): columns for columns in self._where_in(*_BOTH, "id", ids)}

    def by_id(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of those `ids` that exist."""
        return {row.id: row for row in map(Row.from_columns, self._where_in(COLUMNS, "documents", "id", ids))}

    def keys_of(self, ids: Sequence[str]) -> list[int]:
        """The keys of those `ids` that exist."""
        return [key for (key,) in self._where_in("key", "documents", "id", ids)]

    def by_key(self, keys: Iterable[int]) -> dict[int, Row]:
        """The rows of `keys`; those that do not exist are left out."""
        found = self._where_in(COLUMNS, "documents", "key", sorted(keys))  # in their order on disk
        return {row.key: row for row in map(Row.from_columns, found)}

    def matching(self, filter: Filter) -> Keys:
        """Keys of the documents that a metadata filter lets through."""
        where, parameters = compile_filter(filter)
        found = self._connection.execute(f"SELECT key FROM documents WHERE {where}", parameters)
        return np.fromiter((key for (key,) in found), dtype=np.int64)

    def ids(self, filter: Filter | None) -> list[str]:
        """Ids of all documents, or of those that a filter lets through, in the order in which they were added."""
        if filter is None:
            sql = "SELECT id FROM documents ORDER BY +key"  # +: sorted, rather than a walk over texts
            return [id.decode() for (id,) in self._connection.execute(sql)]
        found = dict(self._where_in("key, id", "documents", "key", np.sort(self.matching(filter)).tolist()))
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

    def _all_of(self, columns: str, tables: str) -> Iterator[tuple[Any, ...]]:
        count = 0
        for row in self._connection.execute(f"SELECT {columns} FROM {tables} ORDER BY key"):
            yield row
            count += 1
        if count != self.state.documents:
            what = "vectors" if tables == "vectors" else "documents"
            raise IndexCorruptedError(f"{count} {what} are stored, {self.state.documents} were committed. {WAY_OUT}")

    def _where_in(self, columns: str, tables: str, name: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            places = ",".join("?" * len(part))
            yield from self._connection.execute(f"SELECT {columns} FROM {tables} WHERE {name} IN ({places})", part)

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
        self._write(Row(key, self.state.sequence + 1, id, text, metadata))
        self._connection.execute("INSERT INTO vectors VALUES (?, ?, ?)", [key, seal(key, vector), vector])

    def update_metadata(self, row: Row, metadata: str) -> None:
        """Change the metadata of a stored document, which keeps its key, as its vector is the same."""
        self._write(row._replace(sequence=self.state.sequence + 1, metadata=metadata))

    def remove(self, key: int) -> None:
        """Delete a document; the tombstone tells others to drop its vector."""
        sequence = self.state.sequence + 1
        for table in ("documents", "vectors"):
            self._connection.execute(f"DELETE FROM {table} WHERE key = ?", [key])
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
