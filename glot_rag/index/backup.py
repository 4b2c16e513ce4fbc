"""A copy of an index that is in use."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from glot_rag.index import checkpoint
from glot_rag.index.directory import made_whole
from glot_rag.index.reading import ReadableIndex
from glot_rag.index.store import Store

ENCODER_NAME = "encoder"  # where `glot-rag index` keeps what made the vectors


def backup_index(index: ReadableIndex, destination: str | os.PathLike[str]) -> None:
    """Copy an index as of its last commit, while this and other processes go on reading and writing.

    The copy is an index like the one it is made from. It is there as a whole or, after an error, not at all.

    Args:
        index: An open one; `read_only` will do.
        destination: A directory that is empty or does not exist.

    Raises:
        IndexExistsError: There is something at `destination`.
        IndexStoreError: SQLite could not read the one or write the other.
        OSError: The disk is full or failing.
        IndexReadOnlyError: The index is closed.
    """
    len(index)  # refused if it is closed
    with made_whole(Path(destination)) as copy:
        index._store.copy_to(copy)
        digest = _copy_file(index.path / checkpoint.FILE_NAME, copy / checkpoint.FILE_NAME)
        store = Store(copy, read_only=False)
        try:
            # A writer may have put a newer file in place since, or be about to: the copy then builds its own.
            with store.transaction() as transaction:
                if digest not in [record.sha256 for record in transaction.checkpoints()[-1:]]:
                    transaction.forget_checkpoints()
                    (copy / checkpoint.FILE_NAME).unlink(missing_ok=True)
        finally:
            store.close()
        copy_encoder(index.path, copy)


def copy_encoder(source: Path, destination: Path) -> None:
    """Copy the saved encoder, if there is one beside the index."""
    if (source / ENCODER_NAME).is_dir():
        shutil.copytree(source / ENCODER_NAME, destination / ENCODER_NAME)


def _copy_file(source: Path, destination: Path) -> bytes | None:
    if not source.is_file():
        return None
    digest = hashlib.sha256()
    with open(source, "rb") as file, open(destination, "wb") as copy:
        while block := file.read(checkpoint.BLOCK):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest().encode()
