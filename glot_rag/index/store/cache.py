"""What searches ask the store for again and again, kept as long as the store does not change. Safe between threads."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from glot_rag.errors import IndexCorruptedError
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.store.schema import WAY_OUT, Row
from glot_rag.index.store.snapshot import Keys, Snapshot, Version

MOST_ROW_BYTES = 8 << 20  # some ten thousand passages
EMPTY_ROW_BYTES = 300  # size of a row without its texts
MOST_KEY_BYTES = 32 << 20  # four filters that match all of a million documents
MOST_PARAMETERS = 1_000  # a filter with more is hardly asked twice, and would itself take room


class RowCache:
    """Rows that hits were made of, by key. The oldest leave first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: Version = (-1, -1)
        self._rows: dict[int, Row] = {}
        self._bytes = 0

    def rows(self, snapshot: Snapshot, keys: Sequence[int]) -> list[Row]:
        """The rows with these keys, in their order, from memory where possible.

        Raises:
            IndexCorruptedError: There is none, or it does not match its checksum.
        """
        with self._lock:
            kept = self._rows if snapshot.version == self._version else {}
            found = list(map(kept.get, keys))
        if not all(found):
            missing = {key for key, row in zip(keys, found, strict=True) if row is None}
            read = snapshot.by_key(missing)
            if len(read) < len(missing):
                raise IndexCorruptedError(f"The search found documents that the store does not have. {WAY_OUT}")
            self._keep(snapshot.version, read)
            return [read[key] if row is None else row for key, row in zip(keys, found, strict=True)]
        return found  # type: ignore[return-value]  # all are there

    def _keep(self, version: Version, rows: dict[int, Row]) -> None:
        with self._lock:
            if version > self._version:
                self._rows.clear()
                self._version, self._bytes = version, 0
            if version != self._version:
                return
            for key, row in rows.items():
                if key not in self._rows:
                    self._rows[key] = row
                    self._bytes += row_bytes(row)
            while self._bytes > MOST_ROW_BYTES:
                self._bytes -= row_bytes(self._rows.pop(next(iter(self._rows))))


class FilterCache:
    """Keys that a filter matched, by filter. Those that were not asked for longest leave first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: Version = (-1, -1)
        self._keys: OrderedDict[str, Keys] = OrderedDict()
        self._bytes = 0

    def keys(self, snapshot: Snapshot, filter: Filter) -> Keys:
        """`Snapshot.matching` in ascending order, from memory where possible; the array cannot be written to."""
        where, parameters = compile_filter(filter)
        if len(parameters) > MOST_PARAMETERS:
            return np.sort(snapshot.matching(filter))
        name = repr((where, parameters))  # not the values themselves: 1 == True
        with self._lock:
            if snapshot.version == self._version and name in self._keys:
                self._keys.move_to_end(name)
                return self._keys[name]
        found: Keys = np.sort(snapshot.matching(filter))  # in order, FAISS finds neighbouring vectors faster
        found.setflags(write=False)
        with self._lock:
            if snapshot.version > self._version:
                self._keys.clear()
                self._version, self._bytes = snapshot.version, 0
            if snapshot.version == self._version and name not in self._keys:
                self._keys[name] = found
                self._bytes += found.nbytes
                while self._bytes > MOST_KEY_BYTES:
                    self._bytes -= self._keys.popitem(last=False)[1].nbytes
        return found


def row_bytes(row: Row) -> int:
    """About how much memory a row takes."""
    return EMPTY_ROW_BYTES + sys.getsizeof(row.id) + sys.getsizeof(row.text) + sys.getsizeof(row.metadata)
