"""The directory of an index: what may be in it, who may write to it, and the number of the last commit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.errors import (
    GlotError,
    IndexCorruptedError,
    IndexDiskError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReadOnlyError,
    InputError,
)
from glot_rag.files import new_directory
from glot_rag.index.store.connection import STORE_NAME, is_blank
from glot_rag.index.store.schema import checksum

if TYPE_CHECKING:
    from filelock import BaseFileLock

FAISS_NAME = "index.faiss"
KEYWORDS_NAME = "index.keywords"
FILE_NAMES = (FAISS_NAME, KEYWORDS_NAME)  # derived from the store
ENCODER_NAME = "encoder"  # the saved encoder that makes the vectors, where there is one
DENOISER_NAME = "denoiser"  # the denoiser that documents went through, where there is one
LOCK_NAME = "writer.lock"
LAST_COMMIT_NAME = "store.commit"


def temporary_name(name: str) -> str:
    """Of a file while it is written. One is enough: only the holder of the writer's lock writes."""
    return f"{name}.tmp"


# A link or a pipe that lies in place of the file is neither followed nor waited for.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def index_directory(path: str | os.PathLike[str]) -> Path:
    """The absolute path of an index, which stays the same when the process changes its working directory.

    Raises:
        InputError: `path` is no path.
    """
    try:
        text = os.fspath(path)
        if isinstance(text, str) and text and "\0" not in text:
            return Path(text).absolute()
    except TypeError:
        pass
    raise InputError(f"the path of an index must be a str or a Path of at least one character, got {path!r:.100}")


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turn the operating system's errors into `IndexDiskError`, with the way out."""
    try:
        yield
    except GlotError:
        raise
    except OSError as error:
        at = error.filename or directory
        raise IndexDiskError(
            f"{at}: {error.strerror or error}. Check the path, its permissions and the free space of the disk; "
            "what was committed before is safe"
        ) from error


def require_free(directory: Path) -> None:
    """Refuse to make an index where there is something already.

    A process that died while it created an index leaves a lock and at most an encoder and a store without content.
    Such a directory never was an index, and one can be made in it.

    Raises:
        IndexExistsError: There is an index, a file, or a directory with other things in it.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise IndexExistsError(f"{directory} is a file; choose a directory that is empty or does not exist")
    names = {file.name for file in directory.iterdir()}
    rest = names - {LOCK_NAME, STORE_NAME, f"{STORE_NAME}-wal", f"{STORE_NAME}-shm", f"{STORE_NAME}-journal"}
    if LOCK_NAME in names:  # without the lock it was not the creation of an index that saved an encoder here
        rest -= {ENCODER_NAME}
    if STORE_NAME in names and (rest or not is_blank(directory)):
        raise IndexExistsError(f"There is an index in {directory}; use GlotIndex.open, or delete the directory first")
    if rest:
        raise IndexExistsError(f"{directory} is not an index and not empty (it holds {min(rest)!r}); choose another")


def remove_unfinished(directory: Path) -> None:
    """Remove what a creation left that did not come to an end. The caller holds the writer's lock."""
    shutil.rmtree(directory / ENCODER_NAME, ignore_errors=True)
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(OSError):
            (directory / f"{STORE_NAME}{suffix}").unlink()


@contextmanager
def new_index_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`files.new_directory` with the errors of an index.

    Raises:
        IndexExistsError: There is something at `path`.
        IndexDiskError: The disk is full or failing, or the path is wrong.
    """
    directory = index_directory(path)
    with disk_errors(directory):
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise IndexExistsError(f"{directory} exists and is not an empty directory; choose another")
        with new_directory(directory) as temporary:
            yield temporary


def require_index(directory: Path) -> None:
    """Refuse to open a directory without a store.

    Raises:
        IndexNotFoundError: There is no index, or one whose creation was cut off.
        IndexCorruptedError: There was one: a file derived from it is still there.
    """
    if (directory / STORE_NAME).is_file():
        used = any((directory / name).exists() for name in (*FILE_NAMES, LAST_COMMIT_NAME))
        if used or not is_blank(directory):
            return
    if any((directory / name).exists() for name in FILE_NAMES):
        raise IndexCorruptedError(f"{directory / STORE_NAME} is gone. Restore the directory from a backup")
    raise IndexNotFoundError(
        f"There is no index in {directory}; make one with `glot-rag index … --out DIR` or GlotIndex.create"
    )


def lock_for_writing(directory: Path, timeout: float) -> BaseFileLock:
    """Become the one writer. The operating system frees the lock when the process ends, however it ends.

    Raises:
        IndexLockedError: Another process still writes after `timeout` seconds.
        IndexReadOnlyError: The directory cannot be written to.
    """
    from filelock import FileLock, Timeout

    # Not thread-local: an index may be closed by another thread than the one that opened it.
    lock = FileLock(directory / LOCK_NAME, timeout=timeout, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise IndexLockedError(
            f"Another process is writing to {directory}. Wait for it (lock_timeout=seconds), or use read_only=True"
        ) from None
    except OSError as error:
        raise IndexReadOnlyError(
            f"{directory} cannot be written to ({error.strerror}); open the index with read_only=True"
        ) from error
    return lock


# -- the last commit
#
# SQLite cannot tell a log that was cut off from one that was never longer: it goes back to an earlier commit, whole. So
# each commit leaves its number in a file of its own once SQLite has it on disk. That file is not synced, which would
# double the price of a commit: after a power cut it may be behind the store, which says nothing, but never ahead of it.
# For the same reason no failure to write it matters.


def write_last_commit(directory: Path, sequence: int) -> None:
    """Note the number of a commit. Lines are of one length, so each overwrites the last one."""
    with suppress(OSError):
        descriptor = os.open(directory / LAST_COMMIT_NAME, os.O_WRONLY | os.O_CREAT | _SAFELY, 0o666)
        try:
            os.write(descriptor, _commit_line(sequence))
        finally:
            os.close(descriptor)


def read_last_commit(directory: Path) -> int:
    """The last commit that was noted; 0, which says nothing, if the file is missing or damaged.

    Read it before the store: then the store is at that commit or a later one.
    """
    with suppress(OSError, ValueError):
        descriptor = os.open(directory / LAST_COMMIT_NAME, os.O_RDONLY | _SAFELY)
        try:
            line = os.read(descriptor, 100)
        finally:
            os.close(descriptor)
        sequence = int(line[:20])
        if line == _commit_line(sequence):
            return sequence
    return 0


def _commit_line(sequence: int) -> bytes:
    return f"{sequence:020d} {checksum(b'commit', sequence).hex()}\n".encode()
