"""The number of the last acknowledged commit, kept beside the store: a store that ends earlier has lost some.

SQLite cannot tell a log that was cut off from one that was never longer: it goes back to an earlier commit, whole. So
each commit leaves its number in a file of its own once SQLite has it on disk. That file is not synced: it would double
the price of a commit, and after a power cut it may be behind the store, which says nothing, but never ahead of it. For
the same reason no failure to write it matters.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from glot_rag.index.rows import seal

NAME = "store.commit"
# Whatever lies there instead of a file (a link, a pipe) is neither followed nor waited for.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def write(directory: Path, sequence: int) -> None:
    """Note a commit. Lines are of one length, so each overwrites the last one."""
    with suppress(OSError):
        descriptor = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | _SAFELY, 0o666)
        try:
            os.write(descriptor, _line(sequence))
        finally:
            os.close(descriptor)


def read(directory: Path) -> int:
    """The last commit that was noted; 0, which says nothing, if there is no such file or it is damaged.

    Read it before the store: then the store is at that commit or a later one.
    """
    with suppress(OSError, ValueError):
        descriptor = os.open(directory / NAME, os.O_RDONLY | _SAFELY)
        try:
            line = os.read(descriptor, 100)
        finally:
            os.close(descriptor)
        sequence = int(line[:20])
        if line == _line(sequence):
            return sequence
    return 0


def _line(sequence: int) -> bytes:
    return f"{sequence:020d} {seal(b'commit', sequence).hex()}\n".encode()
