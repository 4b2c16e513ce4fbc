"""The directory of an index: whether it may be used, and who may write in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from glot_rag.errors import (
    IndexCorruptedError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReadOnlyError,
)
from glot_rag.files import sync_directory
from glot_rag.index import checkpoint
from glot_rag.index.checkpoint import FILE_NAME
from glot_rag.index.store import STORE_NAME, Store

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = "writer.lock"


def refuse_used(directory: Path) -> None:
    """Let a new index be made only where there is nothing.

    Raises:
        IndexExistsError: There is an index, a file, or a directory with other things in it.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise IndexExistsError(f"{directory} is a file; choose a directory that is empty or does not exist")
    # A creation that was cut off leaves a lock and a store without content: it never was, and may be made again.
    names = {file.name for file in directory.iterdir()}
    rest = names - {LOCK_NAME, STORE_NAME, f"{STORE_NAME}-wal", f"{STORE_NAME}-shm"}
    if STORE_NAME in names and (rest or not Store.is_blank(directory)):
        raise IndexExistsError(f"There is an index in {directory}; use GlotIndex.open, or delete the directory first")
    if rest:
        raise IndexExistsError(f"{directory} is not an index and not empty (it holds {min(rest)!r}); choose another")


@contextmanager
def made_whole(directory: Path) -> Iterator[Path]:
    """A directory to fill, which gets its name once the block has ended: it is there as a whole or not at all.

    Raises:
        IndexExistsError: There is something already.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise IndexExistsError(f"{directory} exists and is not an empty directory; choose another")
    parent = directory.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    beside = parent / f".{directory.name}-{uuid4().hex}"
    beside.mkdir()
    try:
        yield beside
        sync_directory(beside)
        if directory.exists():
            directory.rmdir()
        os.rename(beside, directory)
        sync_directory(parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def require_index(directory: Path) -> None:
    """Say clearly that there is nothing to open.

    Raises:
        IndexNotFoundError: There is no index.
        IndexCorruptedError: There was one: its FAISS file is left.
    """
    if (directory / STORE_NAME).is_file():
        return
    if (directory / FILE_NAME).exists():
        raise IndexCorruptedError(f"{directory / STORE_NAME} is gone. Restore the directory from a copy")
    raise IndexNotFoundError(f"There is no index in {directory}; make one with GlotIndex.create")


def settle(directory: Path, store: Store) -> None:
    """End what a writer began that died while it wrote the FAISS file. The caller holds the writer's lock."""
    try:
        with store.snapshot() as snapshot:
            records = snapshot.checkpoints()
    except IndexCorruptedError:
        return  # to be told when the vectors are loaded, or by `verify`
    checkpoint.settle(directory, records)


def lock_for_writing(directory: Path, timeout: float) -> BaseFileLock:
    """Become the one writer. The operating system frees the lock when the process ends, however it ends.

    Raises:
        IndexLockedError: Another one writes, and still does after `timeout` seconds.
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
