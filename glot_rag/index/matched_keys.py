"""The documents that filters let through, kept while the store stays as it is: the same few filters come again."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.snapshot import Keys, Snapshot

_MOST_BYTES = 32 << 20  # of keys: four filters that let all of a million documents through
_MOST_PARAMETERS = 1_000  # a longer filter is hardly asked twice, and would itself take room


class MatchedKeys:
    """Keys by filter, of one state of the store; those not asked for longest go first. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequence = -1
        self._kept: OrderedDict[str, Keys] = OrderedDict()
        self._bytes = 0

    def of(self, snapshot: Snapshot, filter: Filter) -> Keys:
        """As `Snapshot.matching`, in ascending order; the array cannot be written to."""
        where, parameters = compile_filter(filter)
        if len(parameters) > _MOST_PARAMETERS:
            return np.sort(snapshot.matching(filter))
        name = repr((where, parameters))  # not the values themselves: 1 == True
        sequence = snapshot.state.sequence
        with self._lock:
            if sequence == self._sequence and name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        found: Keys = np.sort(snapshot.matching(filter))  # neighbours in FAISS are found faster one after the other
        found.setflags(write=False)
        with self._lock:
            if sequence > self._sequence:
                self._kept.clear()
                self._sequence, self._bytes = sequence, 0
            if sequence == self._sequence and name not in self._kept:
                self._kept[name] = found
                self._bytes += found.nbytes
                while self._bytes > _MOST_BYTES:
                    self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found
