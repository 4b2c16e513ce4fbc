"""The SQLite file: the truth about an index."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glot_rag.errors import (
    IndexCorruptedError,
    IndexLockedError,
    IndexReadOnlyError,
    IndexStoreError,
    IndexVersionError,
)
from glot_rag.files import sync_directory
from glot_rag.index import commit_mark, schema
from glot_rag.index.filter_operators import CASEFOLD
from glot_rag.index.manifest import FORMAT_VERSION, Manifest
from glot_rag.index.rows import seal
from glot_rag.index.snapshot import Snapshot, State, Transaction
from glot_rag.index.upgrade import upgrade

STORE_NAME = "store.sqlite"
BUSY_SECONDS = 30.0
MAX_MANIFEST_BYTES = 1 << 16
IDLE_CONNECTIONS = 8
START = State(sequence=0, next_key=1, documents=0, horizon=0)


@contextmanager
def typed_errors(directory: Path) -> Iterator[None]:
    """SQLite's errors as this library's."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 decodes messages, which may quote a damaged name
        message = str(error)
        if "locked" in message:
            raise IndexLockedError(f"Another program holds {directory / STORE_NAME}: {message}") from error
        if any(sign in message for sign in ("full", "disk I/O", "readonly", "unable to open")):
            raise IndexStoreError(f"{directory / STORE_NAME}: {message}. What was committed before is safe") from error
        raise IndexCorruptedError(
            f"{directory / STORE_NAME} is damaged or not an index: {message}. Restore the directory from a copy"
        ) from error


class Store:
    """Snapshots for many threads, transactions for one writer.

    A thread takes a connection from a small pool for the time of one snapshot or transaction, so threads never wait for
    each other to read, and a thread that ends leaves nothing open.

    Args:
        directory: That of an index.
        read_only: Refuse transactions, and write nothing to the directory. Otherwise the caller is the one writer, and
            a store of an older format is brought to this one.

    Raises:
        IndexCorruptedError: The file is no store, or its manifest is damaged.
        IndexVersionError: A newer library wrote it; or an older one did, and it is opened read-only.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self._directory = directory
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._closed = False
        self._in_doubt = False  # a commit failed: its pages may be in the log, whole, for the next opening to find
        self._mode = "mode=rw"
        if read_only:
            # SQLite needs to write a WAL's shared memory even to read, except where nothing can ever be written.
            self._mode = "immutable=1" if _on_read_only_file_system(directory) else "mode=ro"
        try:
            self.manifest = self._read_checked()
            if self.manifest.format_version < FORMAT_VERSION:
                if read_only:
                    raise IndexVersionError(
                        f"{directory} has format version {self.manifest.format_version}, this library reads "
                        f"{FORMAT_VERSION}. Open it for writing once, which brings it to that: glot-rag compact PATH"
                    )
                self._upgrade()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, directory: Path, manifest: Manifest) -> Store:
        """Write an empty store in one transaction: after a crash it is there as a whole or not at all."""
        body = manifest.to_json()
        with typed_errors(directory):
            connection = _connect(directory, "mode=rwc")
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != b"wal":
                    raise IndexStoreError(
                        f"The file system of {directory} has no shared memory, which SQLite's WAL needs"
                    )
                connection.execute("BEGIN IMMEDIATE")
                schema.create(connection, schema.BOOKKEEPING, schema.DOCUMENTS)
                connection.execute("INSERT INTO manifest VALUES (?, ?)", [body, seal(body.encode())])
                connection.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?)", [*START, seal(*START)])
                connection.execute("COMMIT")
            finally:
                connection.close()
        sync_directory(directory)
        return cls(directory, read_only=False)

    @staticmethod
    def is_blank(directory: Path) -> bool:
        """Whether a creation was cut off before it wrote anything: no table and no page that could have held one."""
        with typed_errors(directory):
            connection = _connect(directory, "mode=rw")
            try:
                (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                (pages,) = connection.execute("PRAGMA page_count").fetchone()
            finally:
                connection.close()
        return bool(tables == 0 and pages <= 1)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Read the last commit, and only that, until the block ends."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield Snapshot(connection, self.manifest.vector_bytes)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change the store: all of it, durably, once the block has ended; nothing if it raises.

        Where the commit itself fails, say for want of a sync, SQLite goes on without the change, yet may find it in its
        log when the store is next opened. So the next transaction commits something even if it changes nothing, over
        the failed one's place in the log: what is acknowledged then ("no such document") stays true.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(connection, self.manifest.vector_bytes)
                yield transaction
                transaction.finish(settle=self._in_doubt)
                self._in_doubt = True
                connection.execute("COMMIT")
                self._in_doubt = False
                if transaction.last_sequence != transaction.state.sequence:
                    commit_mark.write(self._directory, transaction.last_sequence)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def acknowledged(self) -> int:
        """The last commit that is known to be acknowledged: a later snapshot that is behind it has lost some."""
        return commit_mark.read(self._directory)

    def copy_to(self, directory: Path) -> None:
        """Write a copy, as of one commit, into an empty directory. Writers go on meanwhile."""
        with typed_errors(directory), self._connection() as source:
            target = _connect(directory, "mode=rwc")
            try:
                source.backup(target)  # in one step, so within one read transaction
            finally:
                target.close()

    def compact(self) -> None:
        """Give the space of what was deleted back to the file system. The caller holds the writer's lock."""
        with self._connection() as connection:
            connection.execute("VACUUM")
            # A reader in the middle of an iteration keeps the log as it is; it is emptied later, no need to wait.
            connection.execute("PRAGMA busy_timeout = 0").fetchall()
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}").fetchall()

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _upgrade(self) -> None:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                manifest = upgrade(connection, self.manifest)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self.manifest = manifest

    def read_manifest(self) -> Manifest:
        """The settings as of the last commit."""
        with self._connection() as connection:
            return self._manifest_of(connection)

    def _manifest_of(self, connection: sqlite3.Connection) -> Manifest:
        # Its size comes before it is read: the file may be anybody's.
        sql = "SELECT CASE WHEN length(CAST(body AS BLOB)) <= ? THEN body END, checksum FROM manifest LIMIT 2"
        rows = connection.execute(sql, [MAX_MANIFEST_BYTES]).fetchall()
        if len(rows) != 1 or not isinstance(rows[0][0], bytes) or seal(rows[0][0]) != rows[0][1]:
            raise IndexCorruptedError(
                f"The manifest in {self._directory / STORE_NAME} is damaged. Restore it from a copy"
            )
        return Manifest.from_json(rows[0][0])

    def _read_checked(self) -> Manifest:
        """The settings, and the certainty that there are no tables, views and triggers but those of their format.

        Others could run for ever, or alter data. The manifest's own table is the same in all formats: a newer one is
        told from a damaged one.
        """
        with self._connection() as connection:
            connection.execute("BEGIN")  # a writer may be upgrading it
            try:
                found = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 100").fetchall()
                known = schema.known_tables(FORMAT_VERSION)
                if any(row[1] == b"manifest" and row in known for row in found):
                    known = schema.known_tables(self._manifest_of(connection).format_version)
                strange = [name for kind, name, sql in found if (kind, name, sql) not in known]
                if strange:
                    name = str(strange[0], errors="replace") if isinstance(strange[0], bytes) else strange[0]
                    raise IndexCorruptedError(
                        f"{self._directory / STORE_NAME} is damaged or not an index: {name!r:.80} in it is none of an "
                        "index's tables. Restore the directory from a copy"
                    )
                return self._manifest_of(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with typed_errors(self._directory):
            with self._guard:
                if self._closed:  # by another thread, in the middle of a call
                    raise IndexReadOnlyError(f"The index {self._directory} is closed")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = _connect(self._directory, self._mode)
            try:
                yield connection
            finally:
                with self._guard:
                    keep = not self._closed and len(self._idle) < IDLE_CONNECTIONS
                    if keep:
                        self._idle.append(connection)
                if not keep:
                    connection.close()


def _connect(directory: Path, mode: str) -> sqlite3.Connection:
    uri = f"{(directory / STORE_NAME).absolute().as_uri()}?{mode}"
    # Transactions are begun by hand; a connection moves between threads but serves one at a time.
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # checksums come before decoding
    try:
        for setting in ("synchronous = FULL", "cell_size_check = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {setting}")
        connection.create_function(CASEFOLD, 1, str.casefold, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _on_read_only_file_system(directory: Path) -> bool:
    return hasattr(os, "statvfs") and (os.statvfs(directory).f_flag & os.ST_RDONLY) == os.ST_RDONLY
