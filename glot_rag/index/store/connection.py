"""Connections to the SQLite file: their settings, their errors, and whether it is still the same file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from glot_rag.errors import IndexCorruptedError, IndexDiskError, IndexLockedError
from glot_rag.index.filters import CASEFOLD

STORE_NAME = "store.sqlite"
BUSY_SECONDS = 30.0

Identity = tuple[int, int]


def connect(directory: Path, mode: str) -> sqlite3.Connection:
    """Open the file with SQLite's URI parameters `mode`, e.g. "mode=ro".

    Transactions are begun by hand. A connection moves between threads but serves one at a time.
    """
    uri = f"{(directory / STORE_NAME).as_uri()}?{mode}"
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


def use_write_ahead_log(connection: sqlite3.Connection, directory: Path) -> None:
    """Let readers and the writer work at the same time.

    Raises:
        IndexDiskError: The file system cannot.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != b"wal":
        raise IndexDiskError(
            f"The file system of {directory} has no shared memory, which SQLite's write-ahead log needs; "
            "put the index on a local disk"
        )


@contextmanager
def sqlite_errors(directory: Path) -> Iterator[None]:
    """Turn SQLite's errors into this library's."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 decodes messages, which may quote a damaged name
        message, path = str(error), directory / STORE_NAME
        if "locked" in message:
            raise IndexLockedError(f"Another program holds {path}: {message}. Try again once it is done") from error
        if any(sign in message for sign in ("full", "disk I/O", "readonly", "unable to open")):
            raise IndexDiskError(
                f"{path}: {message}. Check the permissions and the free space of the disk; "
                "what was committed before is safe"
            ) from error
        raise IndexCorruptedError(
            f"{path} is damaged or not an index: {message}. Restore the directory from a backup"
        ) from error


def is_blank(directory: Path) -> bool:
    """Whether a creation was cut off before it wrote anything: no table and no page that could have held one."""
    with sqlite_errors(directory), closing(connect(directory, reading_mode(directory))) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return bool(tables == 0 and pages <= 1)


def identity(path: str) -> Identity | None:
    """Device and inode of the file: other numbers at the same path are another index. None: there is no such file.

    Every snapshot asks, so the path is a str: `pathlib` takes longer than the system call.

    Raises:
        IndexDiskError: The operating system does not say.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IndexDiskError(f"{path}: {error.strerror}. Check the path and its permissions") from error
    return status.st_dev, status.st_ino


def reading_mode(directory: Path) -> str:
    """The URI parameters of a connection that only reads.

    SQLite writes to its log's shared memory even to read, except where nothing can ever be written.
    """
    return "immutable=1" if _on_read_only_file_system(directory) else "mode=ro"


def _on_read_only_file_system(directory: Path) -> bool:
    return hasattr(os, "statvfs") and (os.statvfs(directory).f_flag & os.ST_RDONLY) == os.ST_RDONLY
