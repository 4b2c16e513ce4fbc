"""The SQLite file that holds the documents: snapshots for readers, transactions for the one writer."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from glot_rag.errors import IndexCorruptedError, IndexReadOnlyError, IndexReplacedError
from glot_rag.files import sync_directory
from glot_rag.index.store import schema
from glot_rag.index.store.connection import (
    BUSY_SECONDS,
    STORE_NAME,
    connect,
    identity,
    reading_mode,
    sqlite_errors,
    use_write_ahead_log,
)
from glot_rag.index.store.directory import read_last_commit, write_last_commit
from glot_rag.index.store.manifest import Manifest
from glot_rag.index.store.schema import checksum
from glot_rag.index.store.snapshot import Snapshot, State
from glot_rag.index.store.transaction import Transaction

MAX_MANIFEST_BYTES = 1 << 16
IDLE_CONNECTIONS = 8
GONE = "The index {} was removed since it was opened; open one that exists with GlotIndex.open"
START = State(sequence=0, next_key=1, documents=0, horizon=0)
logger = logging.getLogger(__name__)


class _Opened(NamedTuple):
    """A connection, and which of the files that were at this path it reads."""

    connection: sqlite3.Connection
    generation: int


class Store:
    """Snapshots for many threads, transactions for one writer.

    A thread takes a connection from a small pool for the time of one snapshot or transaction, so threads never wait for
    each other to read, and a thread that ends leaves nothing open.

    Another program may put another index in place of this one: an open file stays what it was, while new connections
    and SQLite's log are looked up by name. So the file's identity is compared at each snapshot and around each commit.
    A writer then stops with an error. A reader opens the new index, as the next generation, if the same encoder made
    it; snapshots of the old one that are in use stay as they are.

    Args:
        directory: The absolute path of an index.
        read_only: Refuse transactions, and write nothing to the directory. Otherwise the caller is the one writer.

    Raises:
        IndexCorruptedError: The file is not a store, or its manifest is damaged.
        IndexVersionError: The store has another format.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self._directory = directory
        self._read_only = read_only
        self._idle: list[_Opened] = []
        self._guard = threading.Lock()
        self._closed = False
        self._commit_failed = False  # its pages may be in the log, whole, where the next opening finds them
        self._generation = 0
        self._path = str(directory / STORE_NAME)
        self._identity = identity(self._path)
        self._mode = reading_mode(directory) if read_only else "mode=rw"
        try:
            with self._connection() as opened:
                self.manifest = self._check(opened.connection)
                if not read_only:  # another program may have chosen another journal
                    use_write_ahead_log(opened.connection, directory)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, directory: Path, manifest: Manifest) -> Store:
        """Write an empty store in one transaction: after a crash it is there as a whole or not at all."""
        body = manifest.to_json()
        with sqlite_errors(directory), closing(connect(directory, "mode=rwc")) as connection:
            use_write_ahead_log(connection, directory)
            connection.execute("BEGIN IMMEDIATE")
            schema.create(connection)
            connection.execute("INSERT INTO manifest VALUES (?, ?)", [body, checksum(body.encode())])
            connection.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?)", [*START, checksum(*START)])
            connection.execute("COMMIT")
        sync_directory(directory)
        return cls(directory, read_only=False)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Read the last commit, and only that, until the block ends.

        Raises:
            IndexReplacedError: There is another index at the path, and this is the writer or the index of another
                encoder; or there is none any more.
        """
        while True:
            with self._connection() as (connection, generation):
                connection.execute("BEGIN")
                try:
                    snapshot = Snapshot(connection, self.manifest.vector_bytes, generation)
                    # After the first read: only then has SQLite opened its log, by name.
                    if self._is_current(generation):
                        yield snapshot
                        return
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change the store: all of it, on the disk, once the block has ended; nothing if it raises.

        Where the commit itself fails, say because the disk refuses to sync, SQLite goes on without the change, yet may
        find it in its log when the store is next opened. So the next transaction commits something even if it changes
        nothing, over the failed one's place in the log: what it then acknowledges ("no such document") stays true.

        Raises:
            IndexReplacedError: There is another index at the path; nothing is acknowledged.
        """
        with self._connection() as (connection, generation):
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(connection, self.manifest.vector_bytes, generation)
                self._is_current(generation)
                yield transaction
                transaction.finish(always=self._commit_failed)
                self._is_current(generation)
                self._commit_failed = True
                connection.execute("COMMIT")
                self._commit_failed = False
                self._is_current(generation)
                if transaction.last_sequence != transaction.state.sequence:
                    write_last_commit(self._directory, transaction.last_sequence)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def last_commit(self) -> int:
        """The last commit that is known to be acknowledged: a later snapshot that is behind it has lost some."""
        return read_last_commit(self._directory)

    def require_same_file(self) -> None:
        """Refuse to write beside a store that is not the open one.

        Raises:
            IndexReplacedError: There is another index at the path, or none.
        """
        self._is_current(self._generation)

    def copy_to(self, directory: Path) -> None:
        """Write a copy, as of one commit, into an empty directory. Writers go on meanwhile."""
        with self._connection() as (source, _), closing(connect(directory, "mode=rwc")) as target:
            source.backup(target)  # in one step, so within one read transaction

    def compact(self) -> None:
        """Give the space of what was deleted back to the file system. The caller holds the writer's lock."""
        with self._connection() as (connection, _):
            connection.execute("VACUUM")
            # A reader in the middle of an iteration keeps the log as it is. It is emptied later; no need to wait.
            connection.execute("PRAGMA busy_timeout = 0").fetchall()
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}").fetchall()

    def close(self) -> None:
        """Close the idle connections now, and the others when they come back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for opened in idle:
            opened.connection.close()

    def read_manifest(self) -> Manifest:
        """The settings as of the last commit."""
        with self._connection() as (connection, _):
            return self._manifest_of(connection)

    # -- inside

    def _is_current(self, generation: int) -> bool:
        """Whether the store at the path is the one of that generation; False: a reader has opened a new one.

        Raises:
            IndexReplacedError: It is another one that cannot be used, or is gone.
        """
        found = identity(self._path)
        with self._guard:
            if self._generation == generation and found == self._identity:
                return True
            if self._read_only:
                if found != self._identity:
                    self._follow()
                return False
        raise IndexReplacedError(
            f"{self._directory} was removed, or another index was put in its place, since it was opened for writing. "
            "Changes made since then are not in the index that is there now: open it again with GlotIndex.open, and "
            "repeat them"
        )

    def _follow(self) -> None:
        """Turn to the index that is at the path now. The caller holds the guard."""
        found = identity(self._path)
        if found is None:
            raise IndexReplacedError(GONE.format(self._directory))
        with closing(connect(self._directory, self._mode)) as connection:
            manifest = self._check(connection)
        old = self.manifest
        if (manifest.fingerprint, manifest.dimension) != (old.fingerprint, old.dimension):
            raise IndexReplacedError(
                f"Another index was put in place of {self._directory}: encoder {manifest.fingerprint!r} made it, this "
                f"one was made by {old.fingerprint!r}. Open it again with GlotIndex.open and its encoder"
            )
        logger.warning("another index was put in place of %s; reading that one from now on", self._directory)
        self.manifest, self._identity = manifest, found
        self._generation += 1
        for opened in self._idle:
            opened.connection.close()
        self._idle.clear()

    def _manifest_of(self, connection: sqlite3.Connection) -> Manifest:
        # Its size comes before it is read: the file may be anybody's.
        sql = "SELECT CASE WHEN length(CAST(body AS BLOB)) <= ? THEN body END, checksum FROM manifest LIMIT 2"
        rows = connection.execute(sql, [MAX_MANIFEST_BYTES]).fetchall()
        if len(rows) != 1 or not isinstance(rows[0][0], bytes) or checksum(rows[0][0]) != rows[0][1]:
            raise IndexCorruptedError(
                f"The manifest in {self._directory / STORE_NAME} is damaged. Restore it from a backup"
            )
        return Manifest.from_json(rows[0][0])

    def _check(self, connection: sqlite3.Connection) -> Manifest:
        """Read the settings, and refuse tables, views and triggers that are not an index's.

        Those could run for ever, or change data. The table of the manifest is the same in all formats, so that another
        format is told from damage.
        """
        connection.execute("BEGIN")
        try:
            found = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 100").fetchall()
            known = schema.known_objects()
            manifest = None
            if any(row[1] == b"manifest" and row in known for row in found):
                manifest = self._manifest_of(connection)
            foreign = [row[1] for row in found if row not in known]
            if foreign:
                name = str(foreign[0], errors="replace") if isinstance(foreign[0], bytes) else foreign[0]
                raise IndexCorruptedError(
                    f"{self._directory / STORE_NAME} is damaged or not an index: {name!r:.80} in it is not one of an "
                    "index's tables. Restore the directory from a backup"
                )
            return self._manifest_of(connection) if manifest is None else manifest
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[_Opened]:
        with sqlite_errors(self._directory):
            with self._guard:
                if self._closed:  # by another thread, in the middle of a call
                    raise IndexReadOnlyError(f"The index {self._directory} is closed")
                opened = self._idle.pop() if self._idle else None
                generation = self._generation
            if opened is None:
                if identity(self._path) is None:
                    raise IndexReplacedError(GONE.format(self._directory))
                opened = _Opened(connect(self._directory, self._mode), generation)
            try:
                yield opened
            finally:
                with self._guard:
                    current = not self._closed and opened.generation == self._generation
                    keep = current and len(self._idle) < IDLE_CONNECTIONS
                    if keep:
                        self._idle.append(opened)
                if not keep:
                    opened.connection.close()
