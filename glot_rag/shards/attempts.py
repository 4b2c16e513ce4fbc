"""What an attempt at a shard got done before its process died, so that a document that ends processes is found.

An error of Python's is caught where it happens. But a document may take all memory, or crash a library: then the
process ends, the engine starts another, and that one would end at the same place for ever. So an attempt notes which
documents it turns to. Those at which a process ended are taken one at a time by the next one, and a document at which
it ended alone, twice, is set aside.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ENDED_ALONE = 2  # processes that ended at a document that they embedded alone: no accident any more


class Attempts:
    """The notes on a shard: a small file beside it, which goes when the shard is complete.

    Args:
        path: the file.

    Attributes:
        lost: rows that earlier attempts made, which are made again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended: dict[int, int] = {}  # document -> processes that ended at it alone
        self._careful: set[int] = set()  # documents that are taken alone
        self.lost = 0
        before = _read(path)
        if before:
            first, end = before["at"]
            self._ended = {int(number): times for number, times in before["ended"].items()}
            self._careful = {*before["careful"], *range(first, end)}
            if end - first == 1:
                self._ended[first] = self._ended.get(first, 0) + 1
            self.lost = before["lost"] + before["rows"]

    def sizes(self, first: int, end: int) -> list[tuple[int, int]]:
        """How documents are taken: together, or one by one where a process ended before."""
        if any(number in self._careful for number in range(first, end)):
            return [(number, number + 1) for number in range(first, end)]
        return [(first, end)]

    def is_deadly(self, number: int) -> bool:
        """Whether a document is set aside."""
        return self._ended.get(number, 0) >= ENDED_ALONE

    def turn_to(self, first: int, end: int, rows: int) -> None:
        """Note which documents come next, and how many rows this attempt has made."""
        notes = {
            "at": [first, end],
            "rows": rows,
            "lost": self.lost,
            "careful": sorted(self._careful),
            "ended": self._ended,
        }
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(notes), encoding="utf-8")
        os.replace(temporary, self._path)  # not flushed: it is against the end of a process, not of the power

    def finished(self) -> None:
        """The shard is complete."""
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return notes if isinstance(notes, dict) and set(notes) == {"at", "rows", "lost", "careful", "ended"} else None
