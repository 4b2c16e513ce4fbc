"""Reading the store: one snapshot is one SQLite transaction, in which all reads see the same commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexCorruptedError
from glot_rag.index.filters import Filter, compile_filter, places_of, value_at
from glot_rag.index.store.schema import (
    COLUMNS,
    COUNT_COLUMNS,
    VECTOR_COLUMNS,
    WAY_OUT,
    Row,
    check_counts,
    check_vector,
    checksum,
)

Keys = NDArray[np.int64]
Version = tuple[int, int]
VECTORS_AT_ONCE = 4096
_BOTH = f"{COLUMNS}, vector_checksum, vector", "documents LEFT JOIN vectors USING (key)"
_ALL = f"{_BOTH[0]}, counts_checksum, counts", f"{_BOTH[1]} LEFT JOIN term_counts USING (key)"
# What SQLite gives for a JSON value, by its type -> the value
_FROM_JSON: Mapping[bytes, Callable[[Any], Any]] = {
    b"text": bytes.decode,
    b"real": lambda value: value,
    b"true": lambda _: True,
    b"false": lambda _: False,
    b"null": lambda _: None,
}
CHUNK = 500  # values in one `IN (?, …)`; old SQLite builds allow 999


class State(NamedTuple):
    """The store's counters.

    Attributes:
        sequence: Number of the last commit that changed a document.
        next_key: The key that the next new document gets. It only grows.
        documents: How many documents there are.
        horizon: Deletions up to this commit are forgotten: a replica of an earlier one has to be loaded anew.
    """

    sequence: int
    next_key: int
    documents: int
    horizon: int


class CheckpointRecord(NamedTuple):
    """A file that was derived from the store and written.

    Attributes:
        file: Its name.
        sequence: The commit it holds.
        digest: Of its bytes, in hex, see `replica.files`.
        size: In bytes.
        documents: How many are in it, those that were deleted since it was built included.
    """

    file: bytes
    sequence: int
    digest: bytes
    size: int
    documents: int


class Snapshot:
    """The store as of one commit. Every row is checked against its checksum when it is read.

    Args:
        connection: In a transaction that has read nothing yet.
        vector_bytes: Size of a stored vector.
        generation: Counts the files that were opened at this path, see `Store`.

    Attributes:
        state: The counters.
        version: (generation, sequence): two snapshots of one version hold the same documents.
    """

    def __init__(self, connection: sqlite3.Connection, vector_bytes: int, generation: int = 0) -> None:
        self._connection = connection
        self._vector_bytes = vector_bytes
        # SQLite's read transaction starts with its first read, so this decides the commit that all later reads see.
        self.state = State(*self._checked("SELECT sequence, next_key, documents, horizon, checksum FROM state")[0])
        self.version: Version = (generation, self.state.sequence)

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return self._vector_bytes // 4

    def rows(self) -> Iterator[Row]:
        """All rows in the order of their keys; an error at the end if there are not as many as were committed."""
        return map(Row.from_columns, self._all_of(COLUMNS, "documents"))

    def documents(self) -> Iterator[tuple[Row, bytes]]:
        """All rows with their vectors, as `rows` gives them."""
        return map(self.decode, self._all_of(*_BOTH))

    def raw_documents(self) -> Iterator[tuple[Any, ...]]:
        """All documents in the order of their keys, unchecked, for `check`."""
        columns, tables = _ALL
        yield from self._connection.execute(f"SELECT {columns} FROM {tables} ORDER BY key")

    def check(self, columns: tuple[Any, ...]) -> None:
        """Check a document that `raw_documents` gave: its row, its vector and its counts of terms."""
        row, _ = self.decode(columns[:-2])
        check_counts((row.key, *columns[-2:]), row.id)

    def orphans(self, table: str) -> int:
        """How many rows of a table belong to no document."""
        sql = f"SELECT count(*) FROM {table} LEFT JOIN documents USING (key) WHERE id IS NULL"
        return int(self._connection.execute(sql).fetchone()[0])

    def decode(self, columns: tuple[Any, ...]) -> tuple[Row, bytes]:
        """Check a document that was read raw; gives its row and its vector."""
        row = Row.from_columns(columns[:-2])
        return row, check_vector((row.key, *columns[-2:]), self._vector_bytes, row.id)

    def all_vectors(self) -> Iterator[tuple[Keys, Vectors]]:
        """Keys (N,) and vectors (N, D) of all documents, in parts by key; the same error as `rows` at the end."""
        return self._matrices(self._all_of(VECTOR_COLUMNS, "vectors"))

    def has_vectors_after(self, key: int) -> bool:
        """Whether there is a vector whose key is larger."""
        return self._connection.execute("SELECT 1 FROM vectors WHERE key > ? LIMIT 1", [key]).fetchone() is not None

    def vectors_after(self, key: int) -> Iterator[tuple[Keys, Vectors]]:
        """Keys and vectors of the documents with a larger key, which were added later, in the order of their keys."""
        sql = f"SELECT {VECTOR_COLUMNS} FROM vectors WHERE key > ? ORDER BY key"
        return self._matrices(self._connection.execute(sql, [key]))

    def all_counts(self) -> Iterator[tuple[int, bytes]]:
        """Keys and counts of terms of all documents, by key; the same error as `rows` at the end."""
        return ((columns[0], check_counts(columns)) for columns in self._all_of(COUNT_COLUMNS, "term_counts"))

    def counts_after(self, key: int) -> Iterator[tuple[int, bytes]]:
        """Keys and counts of terms of the documents with a larger key, in the order of their keys."""
        sql = f"SELECT {COUNT_COLUMNS} FROM term_counts WHERE key > ? ORDER BY key"
        return ((columns[0], check_counts(columns)) for columns in self._connection.execute(sql, [key]))

    def sample(self, size: int, seed: int) -> Keys:
        """At most `size` keys, drawn at random; the same ones for the same documents and seed."""
        found = self._connection.execute("SELECT key FROM documents ORDER BY id")
        keys = np.sort(np.fromiter((key for (key,) in found), dtype=np.int64))
        return np.random.default_rng(seed).choice(keys, size, replace=False) if len(keys) > size else keys

    def vectors(self, keys: Iterable[int], *, check: bool = True) -> Iterator[tuple[Keys, Vectors]]:
        """Keys (N,) and vectors (N, D) of documents, in parts. Keys that do not exist are left out.

        Args:
            keys: Of the documents.
            check: Compare each vector with its checksum; otherwise only its length is checked.

        Raises:
            IndexCorruptedError: A vector is not what was written.
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
        """Keys that were deleted or replaced after commit `sequence`, which must not be before the horizon."""
        return [row[0] for row in self._checked("SELECT * FROM tombstones WHERE sequence > ?", sequence)]

    def raw_by_id(self, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The documents with these ids, unchecked, for `decode`; ids that do not exist are left out."""
        return {columns[2].decode(): columns for columns in self._where_in(*_BOTH, "id", ids)}

    def by_id(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows with these ids; ids that do not exist are left out."""
        return {row.id: row for row in map(Row.from_columns, self._where_in(COLUMNS, "documents", "id", ids))}

    def keys_of(self, ids: Sequence[str]) -> list[int]:
        """The keys of these ids; ids that do not exist are left out."""
        return [key for (key,) in self._where_in("key", "documents", "id", ids)]

    def by_key(self, keys: Iterable[int]) -> dict[int, Row]:
        """The rows with these keys; keys that do not exist are left out."""
        found = self._where_in(COLUMNS, "documents", "key", sorted(keys))  # in their order on disk
        return {row.key: row for row in map(Row.from_columns, found)}

    def matching(self, filter: Filter) -> Keys:
        """Keys of the documents that match a filter."""
        where, parameters = compile_filter(filter)
        found = self._connection.execute(f"SELECT key FROM documents WHERE {where}", parameters)
        return np.fromiter((key for (key,) in found), dtype=np.int64)

    def ids(self, filter: Filter | None) -> list[str]:
        """Ids of all documents, or of those that match a filter, in the order in which they were added."""
        if filter is None:
            sql = "SELECT id FROM documents ORDER BY +key"  # +: sorted, rather than a walk over texts
            return [id.decode() for (id,) in self._connection.execute(sql)]
        found = dict(self._where_in("key, id", "documents", "key", np.sort(self.matching(filter)).tolist()))
        return [found[key].decode() for key in sorted(found)]

    def facets(self, key: str, filter: Filter | None) -> list[tuple[Any, int]]:
        """The values of a metadata key and how many documents have each, the most frequent first."""
        where, asked = ("1", []) if filter is None else compile_filter(filter)
        selects, parameters = [], list[str]()
        for path in places_of(key):
            tables, at = value_at(path)
            selects.append(
                f"SELECT documents.key AS document, m.type, m.value FROM documents, {tables} WHERE {at} AND ({where})"
            )
            parameters += [*path, *asked]
        sql = f"""
            WITH found AS ({" UNION ALL ".join(selects)}),
            single AS (
                SELECT document, type, value FROM found WHERE type NOT IN ('array', 'object')
                UNION SELECT document, e.type, e.value FROM found, json_each(found.value) AS e
                WHERE found.type = 'array' AND e.type NOT IN ('array', 'object'))
            SELECT replace(type, 'integer', 'real') AS kind, value, count(DISTINCT document) AS documents
            FROM single GROUP BY kind, value ORDER BY documents DESC, kind, value"""
        found = self._connection.execute(sql, parameters)
        return [(_FROM_JSON[kind](value), count) for kind, value, count in found]

    def rows_matching(self, filter: Filter) -> Iterator[Row]:
        """The documents that match a filter, in the order in which they were added."""
        keys = np.sort(self.matching(filter)).tolist()
        for start in range(0, len(keys), CHUNK):
            found = self.by_key(keys[start : start + CHUNK])
            yield from (found[key] for key in sorted(found))

    def checkpoints(self, file: str | None = None) -> list[CheckpointRecord]:
        """Records of the files that may be on disk, oldest first; two of each while new ones replace old ones.

        Args:
            file: Only those of the file with this name.
        """
        found = self._checked(
            "SELECT file, sequence, digest, size, documents, checksum FROM checkpoints ORDER BY number"
        )
        records = [CheckpointRecord(*row) for row in found]
        return [record for record in records if file is None or record.file == file.encode()]

    def integrity_problems(self) -> list[str]:
        """What SQLite's own check of the file's structure finds, one line a problem."""
        lines = [line.decode(errors="replace") for (line,) in self._connection.execute("PRAGMA integrity_check")]
        return [] if lines == ["ok"] else [f"SQLite: {line}" for line in lines]

    def _all_of(self, columns: str, tables: str) -> Iterator[tuple[Any, ...]]:
        count = 0
        for row in self._connection.execute(f"SELECT {columns} FROM {tables} ORDER BY key"):
            yield row
            count += 1
        if count != self.state.documents:
            what = {"vectors": "vectors", "term_counts": "counts of terms"}.get(tables, "documents")
            raise IndexCorruptedError(f"{count} {what} are stored, {self.state.documents} were committed. {WAY_OUT}")

    def _where_in(self, columns: str, tables: str, name: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            places = ",".join("?" * len(part))
            yield from self._connection.execute(f"SELECT {columns} FROM {tables} WHERE {name} IN ({places})", part)

    def _checked(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the store's own bookkeeping without their last column, the checksum of the others."""
        rows = self._connection.execute(sql, parameters).fetchall()
        for row in rows:
            try:
                intact = checksum(*row[:-1]) == row[-1]
            except TypeError:
                intact = False
            if not intact:
                raise IndexCorruptedError(
                    f"A row of the index's own bookkeeping does not match its checksum. {WAY_OUT}"
                )
        if not rows and " state" in sql:
            raise IndexCorruptedError("The index's counters are gone. Restore the directory from a backup")
        return [row[:-1] for row in rows]
