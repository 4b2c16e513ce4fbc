"""Runs one history of an index again and again, letting another system call fail each time. See test_index_faults.py.

Arguments: a directory, the shared library of faults.c, which is preloaded, and how many calls of the history to let
fail at most, evenly spread. Prints a line of counts as JSON.
"""

import ctypes
import errno
import json
import shutil
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from hash_encoder import HashEncoder, assert_all_searches

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


def delete_even():
    def change(state):
        return {id: document for id, document in state.items() if document.metadata.get("n", 1) % 2}

    return (lambda index: index.delete(filter={"n": {"$in": [0, 2, 4, 6, 8]}})), change


def mark(least):
    def change(state):
        return {
            id: Document(old.text, id, {**old.metadata, "marked": True}) if old.metadata.get("n", 0) >= least else old
            for id, old in state.items()
        }

    return (lambda index: index.set_metadata({"marked": True}, filter={"n": {"$gte": least}})), change


def keep(state):
    return state


HISTORY = [
    add(0, 5),
    (GlotIndex.checkpoint, keep),
    delete(3, 4),
    describe(1),
    add(2, 6, "new"),
    mark(4),
    (GlotIndex.compact, keep),
    delete_even(),
    delete(3),
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
    """One history. Gives the number of calls, and how many operations raised or warned.

    What the next opening may show is what the index showed last, or that with one operation that raised since the last
    one that returned.
    """
    GlotIndex.create(path, ENCODER).close()
    index, state, doubtful, noticed = GlotIndex.open(path, ENCODER), {}, [], 0
    faults.arm(path, nth, code, lasting)
    for operation, change in HISTORY:
        after = change(state)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                operation(index)
                state = after
                if operation is not GlotIndex.close:
                    doubtful = []
            except (OSError, GlotError):  # anything else fails the test
                noticed += 1
                if operation is not GlotIndex.close:
                    with faults.paused():
                        now = stored(index)
                    assert now in (state, after), "half an operation is stored"
                    doubtful = [*doubtful, after] if now == state else []
                    state = now
        noticed += len(caught)
        assert all(warning.category is IndexRecoveryWarning for warning in caught), caught
    calls = faults.calls
    faults.arm("", 0, 0, False)
    index.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexRecoveryWarning)
        with GlotIndex.open(path, ENCODER) as index:
            opened = stored(index)
            assert opened == state or opened in doubtful, "not what was acknowledged"
            state = opened
            assert_all_searches(index, state.values(), "text 1", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with GlotIndex.open(path, ENCODER) as index:
            assert index.verify().problems == ()
            index.add([Document("after", "after")])
            assert index.search("after", 1)[0].id == "after"
    return calls, noticed


def next_write(folder, faults, code):
    """An addition fails at each of its calls in turn; then a deletion finds nothing of it to delete.

    Each time, what an opening shows before and after that deletion is looked up in a copy of the files, as a killed
    process would leave them. Gives how often the addition was found before. After, it must be gone for good.
    """
    extra = [Document("extra", "extra")]
    found, nth, failed = 0, 0, True
    while failed:
        nth, failed = nth + 1, False
        path = folder / f"next-{code}-{nth}"
        index = GlotIndex.create(path, ENCODER)
        index.add([Document("first", "first")])
        faults.arm(path, nth, code, True)
        try:
            index.add(extra)
        except (OSError, GlotError):
            failed = True
        faults.arm("", 0, 0, False)
        if failed:
            assert set(stored(index)) == {"first"}
            found += shown(path, folder / f"before-{code}-{nth}") == {"first", "extra"}
            assert index.delete(["extra"]) == 0
            after = shown(path, folder / f"after-{code}-{nth}")
            assert after == {"first"}, f"{after} is there, after what failed at call {nth} was not there to delete"
            index.close()
            with GlotIndex.open(path, ENCODER) as again:
                assert set(stored(again)) == {"first"}
                assert again.verify().problems == ()
        else:
            index.close()
    return found


def shown(path, copy):
    """The ids that an opening shows, if the process ended now."""
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    with GlotIndex.open(copy, ENCODER) as index:
        return set(stored(index))


def main():
    folder, faults, most = Path(sys.argv[1]), Faults(sys.argv[2]), int(sys.argv[3])
    calls, noticed = live(folder / "counted", faults, 0, 0, False)
    assert calls > 50, f"only {calls} calls were seen"
    assert noticed == 0
    counts = {"calls": calls, "faults": 0, "noticed": 0}
    cases = [(code, lasting) for lasting in (False, True) for code in (errno.ENOSPC, errno.EIO)]
    for number, nth in enumerate(range(1, calls + 1, -(-calls // most))):
        code, lasting = cases[number % 4]
        try:
            _, seen = live(folder / f"{nth}", faults, nth, code, lasting)
        except BaseException as error:
            faults.arm("", 0, 0, False)
            raise AssertionError(f"call {nth} failed with {errno.errorcode[code]}, lasting: {lasting}") from error
        counts["faults"] += 1
        counts["noticed"] += seen > 0
    counts["doubtful"] = next_write(folder, faults, errno.EIO)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
