"""Runs one history of an index again and again, letting another system call fail each time. See test_index_faults.py.

Arguments: a directory, the shared library of faults.c, and how many failing calls to try at most. The library is
preloaded. Prints a line of counts as JSON.
"""

import ctypes
import errno
import json
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from hash_encoder import HashEncoder, assert_same_hits, brute_force

from glot_rag.errors import GlotError, IndexRecoveryWarning
from glot_rag.index import Document, GlotIndex

ENCODER = HashEncoder()


def add(first, last, prefix="text"):
    documents = [Document(f"{prefix} {i}", f"d{i}", {"n": i}) for i in range(first, last)]

    def change(state):
        return state | {document.id: document for document in documents}

    return (lambda index: index.add(documents)), change


def delete(*numbers):
    gone = {f"d{i}" for i in numbers}

    def change(state):
        return {id: document for id, document in state.items() if id not in gone}

    return (lambda index: index.delete(gone)), change


def describe(number):
    def change(state):
        old = state.get(f"d{number}")
        return state if old is None else state | {old.id: Document(old.text, old.id, {"described": True})}

    return (lambda index: index.update_metadata({f"d{number}": {"described": True}})), change


def keep(state):
    return state


HISTORY = [
    add(0, 12),
    (GlotIndex.checkpoint, keep),
    delete(3, 4, 5),
    describe(7),
    (lambda index: index.reindex("hnsw"), keep),
    add(2, 9, "new"),
    (GlotIndex.compact, keep),
    delete(0),
    (GlotIndex.close, keep),
]


class Faults:
    """The preloaded library."""

    def __init__(self, library):
        self._library = ctypes.CDLL(library)
        self._library.faults_calls.restype = ctypes.c_long

    def arm(self, root, nth, code, lasting):
        self._library.faults_arm(str(root).encode(), ctypes.c_long(nth), code, int(lasting))

    @contextmanager
    def paused(self):
        self._library.faults_pause(1)
        yield
        self._library.faults_pause(0)

    @property
    def calls(self):
        return self._library.faults_calls()


def stored(index):
    return {document.id: document for document in index}


def live(path, faults, nth, code, lasting):
    """One history. Gives the number of calls, and how many operations raised or warned."""
    GlotIndex.create(path, ENCODER).close()
    index, state, noticed = GlotIndex.open(path, ENCODER), {}, 0
    faults.arm(path, nth, code, lasting)
    for operation, change in HISTORY:
        after = change(state)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                operation(index)
                state = after
            except (OSError, GlotError):  # anything else fails the test
                noticed += 1
                if operation is not GlotIndex.close:
                    with faults.paused():
                        now = stored(index)
                    assert now in (state, after), "half an operation is stored"
                    state = now
        noticed += len(caught)
        assert all(warning.category is IndexRecoveryWarning for warning in caught), caught
    calls = faults.calls
    faults.arm("", 0, 0, False)
    index.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexRecoveryWarning)
        with GlotIndex.open(path, ENCODER) as index:
            assert stored(index) == state, "not what was acknowledged"
            assert_same_hits(index.search("text 1", 5), brute_force(ENCODER, list(state.values()), "text 1", 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with GlotIndex.open(path, ENCODER) as index:
            assert index.verify().problems == ()
            index.add([Document("after", "after")])
            assert index.search("after", 1)[0].id == "after"
    return calls, noticed


def main():
    folder, faults, most = Path(sys.argv[1]), Faults(sys.argv[2]), int(sys.argv[3])
    calls, noticed = live(folder / "counted", faults, 0, 0, False)
    assert calls > 50, f"only {calls} calls were seen"
    assert noticed == 0
    counts = {"calls": calls, "faults": 0, "noticed": 0}
    stride = max(1, calls * 4 // most)
    for case, (code, lasting) in enumerate(
        (c, lasting) for c in (errno.ENOSPC, errno.EIO) for lasting in (False, True)
    ):
        for nth in range(1 + case % stride, calls + 1, stride):
            try:
                _, seen = live(folder / f"{code}-{nth}-{lasting}", faults, nth, code, lasting)
            except BaseException as error:
                faults.arm("", 0, 0, False)
                raise AssertionError(f"call {nth} failed with {errno.errorcode[code]}, lasting: {lasting}") from error
            counts["faults"] += 1
            counts["noticed"] += seen > 0
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
