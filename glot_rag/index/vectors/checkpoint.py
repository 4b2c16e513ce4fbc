"""The FAISS file: derived from the store, it saves building the FAISS index anew on every opening."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from glot_rag.files import put_in_place
from glot_rag.index.store.directory import FAISS_NAME, FAISS_TEMPORARY_NAME
from glot_rag.index.store.snapshot import CheckpointRecord
from glot_rag.index.vectors.faiss_index import load_faiss

BLOCK = 1 << 20
_limits_guard = threading.Lock()
logger = logging.getLogger(__name__)


def write_temporary(directory: Path, index: Any, sequence: int) -> CheckpointRecord:
    """Write a FAISS index beside its place and flush it to the disk. `publish` then gives it its name.

    Raises:
        OSError: The disk is full or failing; the file in place is as it was.
    """
    faiss = load_faiss()
    digest, size = hashlib.sha256(), 0
    (directory / FAISS_TEMPORARY_NAME).unlink(missing_ok=True)  # "x" below follows no link that lies there
    with open(directory / FAISS_TEMPORARY_NAME, "xb") as file:

        def write(block: bytes) -> int:
            nonlocal size
            digest.update(block)  # hashed on its way to the disk, so that a disk that changes it is found out
            size += len(block)
            return file.write(block)

        faiss.write_index(index, faiss.PyCallbackIOWriter(write, BLOCK))
        file.flush()
        os.fsync(file.fileno())
    return CheckpointRecord(sequence, digest.hexdigest().encode(), size, index.ntotal)


def publish(directory: Path) -> None:
    """Put the written file in its place: whoever opens it sees the old one or the new one, whole."""
    put_in_place(directory / FAISS_TEMPORARY_NAME, directory / FAISS_NAME)


def recover(directory: Path, records: Sequence[CheckpointRecord]) -> None:
    """Finish what a writer began that died before `publish`: a file whose record was committed gets its name.

    Args:
        directory: That of an index. The caller holds the writer's lock.
        records: Of the files that count, the newest last.
    """
    temporary = directory / FAISS_TEMPORARY_NAME
    if not temporary.exists():
        return
    with open(temporary, "rb") as file:
        counts = bool(records) and sha256(file) == records[-1].sha256
    if counts:
        publish(directory)
    else:
        temporary.unlink()
    logger.info("%s: a writer died while it wrote the FAISS file; %s", directory, "finished" if counts else "removed")


def sha256(file: BinaryIO) -> bytes:
    """Hex digest of an open file, which is rewound."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest().encode()


def read(file: BinaryIO, record: CheckpointRecord, *, memory_map: bool = False) -> Any:
    """Parse a file whose SHA-256 is that of `record`.

    It is read through the descriptor that was hashed: the name may point to another file by now.

    Args:
        file: Open, at its start.
        record: What was noted when it was written.
        memory_map: Leave the vectors in the file, where the system and FAISS (from 1.11 on) can. Adding to such an
            index would end the process.

    Raises:
        RuntimeError: FAISS cannot parse it, or a size in it claims more memory than the file can fill.
        ValueError: It has another size than `record` says.
    """
    faiss = load_faiss()

    if os.fstat(file.fileno()).st_size != record.size:
        raise ValueError(f"it has {os.fstat(file.fileno()).st_size} bytes, not {record.size}")

    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", None)
    if memory_map and flags is not None and os.name == "posix":
        return faiss.read_index(f"/dev/fd/{file.fileno()}", flags)

    # The hash already says that these are our bytes. The limit is for the day when a bug says so wrongly: no vector
    # in the file can be larger than the file. FAISS has one limit per process, hence the guard.
    with _limits_guard:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(8 * record.size)  # FAISS divides it by up to 8, by element type
        try:
            return faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK))
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
