"""Changing the store: one transaction is one commit."""

from __future__ import annotations

import sqlite3

from glot_rag.index.store.schema import COLUMNS, Row, checksum, part_checksum
from glot_rag.index.store.snapshot import CheckpointRecord, Snapshot


class Transaction(Snapshot):
    """A snapshot that can be changed. Nothing is acknowledged before `Store.transaction` has committed it.

    Attributes:
        changes: How many documents were added, changed or deleted so far.
    """

    def __init__(self, connection: sqlite3.Connection, vector_bytes: int, generation: int = 0) -> None:
        super().__init__(connection, vector_bytes, generation)
        self._next = self.state
        self.changes = 0

    def insert(self, id: str, text: str, metadata: str, vector: bytes, counts: bytes) -> None:
        """Store a new document under a new key, with its vector and the counts of its terms."""
        key = self._next.next_key
        self._next = self._next._replace(next_key=key + 1, documents=self._next.documents + 1)
        self._write(Row(key, self.state.sequence + 1, id, text, metadata))
        for table, part in (("vectors", vector), ("term_counts", counts)):
            self._connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", [key, part_checksum(key, part), part])

    def update_metadata(self, row: Row, metadata: str) -> None:
        """Change the metadata of a stored document. It keeps its key, as its vector stays the same."""
        self._write(row._replace(sequence=self.state.sequence + 1, metadata=metadata))

    def remove(self, key: int) -> None:
        """Delete a document; the tombstone tells replicas to drop it."""
        sequence = self.state.sequence + 1
        for table in ("documents", "vectors", "term_counts"):
            self._connection.execute(f"DELETE FROM {table} WHERE key = ?", [key])
        self._connection.execute("INSERT INTO tombstones VALUES (?, ?, ?)", [key, sequence, checksum(key, sequence)])
        self._next = self._next._replace(documents=self._next.documents - 1)
        self.changes += 1

    def add_checkpoint(self, record: CheckpointRecord) -> None:
        """Record a derived file, before it gets its name."""
        values = [record.file.decode(), *record[1:], checksum(*record)]
        self._connection.execute("INSERT INTO checkpoints VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)

    def keep_newest_checkpoints(self, sequence: int) -> None:
        """Forget earlier files, and the deletions up to a commit, which the newest ones already contain."""
        newest = "SELECT max(number) FROM checkpoints GROUP BY file"
        self._connection.execute(f"DELETE FROM checkpoints WHERE number NOT IN ({newest})")
        self._connection.execute("DELETE FROM tombstones WHERE sequence <= ?", [sequence])
        self._next = self._next._replace(horizon=sequence)

    def set_manifest(self, body: str) -> None:
        """Replace the settings, and forget the files that were written under the old ones."""
        self._connection.execute("UPDATE manifest SET body = ?, checksum = ?", [body, checksum(body.encode())])
        self.forget_checkpoints()

    def forget_checkpoints(self) -> None:
        """Record that there are no derived files."""
        self._connection.execute("DELETE FROM checkpoints")

    def finish(self, *, always: bool = False) -> None:
        """Write the counters, as the last thing before the commit.

        Args:
            always: Count this commit even if it changes nothing, so that SQLite writes a page.
        """
        if self.changes or always:
            self._next = self._next._replace(sequence=self.state.sequence + 1)
        if self._next != self.state:
            sql = "UPDATE state SET sequence = ?, next_key = ?, documents = ?, horizon = ?, checksum = ?"
            self._connection.execute(sql, [*self._next, checksum(*self._next)])

    @property
    def last_sequence(self) -> int:
        """The store's sequence once this is committed."""
        return self._next.sequence

    def _write(self, row: Row) -> None:
        values = row.columns()
        self._connection.execute(f"REPLACE INTO documents ({COLUMNS}) VALUES ({','.join('?' * len(values))})", values)
        self.changes += 1
