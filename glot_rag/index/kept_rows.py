"""Rows that hits were made of, kept while the store stays as it is: the same documents are found again and again."""

from __future__ import annotations

import sys
import threading

from glot_rag.index.rows import Row
from glot_rag.index.snapshot import Snapshot

_MOST_BYTES = 8 << 20  # some ten thousand passages
_ROW_BYTES = 300  # of one without its strings


class KeptRows:
    """Checked rows by key, of one state of the store; those that came first go first. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequence = -1
        self._kept: dict[int, Row] = {}
        self._bytes = 0

    def of(self, snapshot: Snapshot, keys: set[int]) -> dict[int, Row]:
        """As `Snapshot.by_key`."""
        sequence = snapshot.state.sequence
        with self._lock:
            kept = self._kept if sequence == self._sequence else {}
            found = {key: kept[key] for key in keys if key in kept}
        missing = keys.difference(found) if found else keys
        if missing:
            read = snapshot.by_key(missing)
            found.update(read)
            self._keep(sequence, read)
        return found

    def _keep(self, sequence: int, rows: dict[int, Row]) -> None:
        with self._lock:
            if sequence > self._sequence:
                self._kept.clear()
                self._sequence, self._bytes = sequence, 0
            if sequence != self._sequence:
                return
            for key, row in rows.items():
                if key not in self._kept:
                    self._kept[key] = row
                    self._bytes += _size(row)
            while self._bytes > _MOST_BYTES:
                self._bytes -= _size(self._kept.pop(next(iter(self._kept))))


def _size(row: Row) -> int:
    return _ROW_BYTES + sys.getsizeof(row.id) + sys.getsizeof(row.text) + sys.getsizeof(row.metadata)
