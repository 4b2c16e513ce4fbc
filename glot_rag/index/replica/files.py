"""Files derived from the store: each saves building its part of the index anew on every opening.

A file counts if a record in the store has its digest, under its own name or the temporary one. The digest is the
SHA-256 of the SHA-256s of the file's parts, which are hashed side by side: an opening waits for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from glot_rag.files import put_in_place
from glot_rag.index.store.directory import FILE_NAMES, temporary_name
from glot_rag.index.store.snapshot import CheckpointRecord

BLOCK = 1 << 20
PART = 16 * BLOCK  # hashed on its own
MOST_THREADS = 8
logger = logging.getLogger(__name__)

# Takes bytes on their way to a file; gives how many they were.
Writer = Callable[[bytes | memoryview], int]


class Digest:
    """The digest of a file whose bytes come in order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._part, self._room = hashlib.sha256(), PART

    def update(self, block: bytes | memoryview) -> None:
        """Take the next bytes."""
        rest = memoryview(block).cast("B")
        while len(rest) >= self._room:
            self._part.update(rest[: self._room])
            rest = rest[self._room :]
            self._parts.append(self._part.digest())
            self._part, self._room = hashlib.sha256(), PART
        self._part.update(rest)
        self._room -= len(rest)

    def hex(self) -> bytes:
        """The digest of what came so far."""
        last = [self._part.digest()] if self._room < PART else []
        return _of_parts([*self._parts, *last])


def digest_of(file: BinaryIO) -> bytes:
    """The digest, in hex, of an open file, which is rewound."""
    file.seek(0)
    size = os.fstat(file.fileno()).st_size
    if size <= PART or not hasattr(os, "pread"):
        digest = Digest()
        while block := file.read(BLOCK):
            digest.update(block)
        file.seek(0)
        return digest.hex()

    def part(start: int) -> bytes:
        hashed = hashlib.sha256()
        for at in range(start, min(start + PART, size), BLOCK):
            hashed.update(os.pread(file.fileno(), min(BLOCK, start + PART - at), at))
        return hashed.digest()

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
        return _of_parts(list(threads.map(part, range(0, size, PART))))


def _of_parts(parts: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(parts)).hexdigest().encode()


def write_temporary(directory: Path, name: str, fill: Callable[[Writer], object]) -> tuple[bytes, int]:
    """Write a file beside its place and flush it to the disk. `publish` then gives it its name.

    Args:
        directory: That of the index.
        name: Of the file.
        fill: Is called with a function that writes.

    Returns:
        Its digest (hex) and its size in bytes.

    Raises:
        OSError: The disk is full or failing; the file in place is as it was.
    """
    digest, size = Digest(), 0
    path = directory / temporary_name(name)
    path.unlink(missing_ok=True)  # "x" below follows no link that lies there
    with open(path, "xb") as file:

        def write(block: bytes | memoryview) -> int:
            nonlocal size
            digest.update(block)  # hashed on its way to the disk, so that a disk that changes it is found out
            size += len(block)
            return file.write(block)

        fill(write)
        file.flush()
        os.fsync(file.fileno())
    return digest.hex(), size


def publish(directory: Path, name: str) -> None:
    """Put the written file in its place: whoever opens it sees the old one or the new one, whole."""
    put_in_place(directory / temporary_name(name), directory / name)


def recover(directory: Path, records: Sequence[CheckpointRecord]) -> None:
    """Finish what a writer began that died before `publish`: a file whose record was committed gets its name.

    Args:
        directory: That of an index. The caller holds the writer's lock.
        records: Of the files that count, the newest last.
    """
    for name in FILE_NAMES:
        temporary = directory / temporary_name(name)
        if not temporary.exists():
            continue
        newest = [record.digest for record in records if record.file == name.encode()][-1:]
        with open(temporary, "rb") as file:
            counts = digest_of(file) in newest
        if counts:
            publish(directory, name)
        else:
            temporary.unlink()
        done = "finished" if counts else "removed"
        logger.info("%s: a writer died while it wrote %s; %s", directory, name, done)


def check_size(file: BinaryIO, record: CheckpointRecord) -> None:
    """Refuse an open file of another size than its record says.

    Raises:
        ValueError: It has another size.
    """
    size = os.fstat(file.fileno()).st_size
    if size != record.size:
        raise ValueError(f"it has {size} bytes, not {record.size}")
