"""A writer that prints a line for each acknowledged operation until it is killed. Run by test_index_crash.py.

Arguments: directory, first operation, last operation, where to kill itself (`function:nth:before|after`, or `-`), and
whether checkpoints are reindexings ("reindex").
"""

import os
import signal
import sys
from pathlib import Path

from hash_encoder import HashEncoder

from glot_rag.index import Document, GlotIndex, snapshot

BATCH = 4


def operation(number):
    """(method, argument) of operation `number`; the same in every process."""
    if number % 7 == 5:
        return "checkpoint", None
    if number % 4 == 3:
        return "delete", [f"d{(number * 5 + i) % 41}" for i in range(3)]
    return "add", [Document(f"op {number} text {i}", f"d{(number * 3 + i) % 41}", {"op": number}) for i in range(BATCH)]


TYPES = ["hnsw", "HNSW16"]


def apply(state, number):
    """What operation `number` does to a dict of documents."""
    method, argument = operation(number)
    if method == "add":
        state.update({document.id: document for document in argument})
    elif method == "delete":
        for id in argument:
            state.pop(id, None)


def kill_at(place):
    name, nth, moment = place.split(":")
    owner, function = (os, name.removeprefix("os.")) if name.startswith("os.") else (snapshot.Transaction, name)
    original, calls = getattr(owner, function), 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == int(nth) and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, function, wrapped)


def main():
    directory, first, last, place = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    with GlotIndex.open(directory, HashEncoder(), lock_timeout=10) as index:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if place != "-":
            kill_at(place)
        for number in range(first, last):
            method, argument = operation(number)
            if method == "checkpoint" and sys.argv[5:] == ["reindex"]:
                method, argument = "reindex", TYPES[number // 7 % 2]
            getattr(index, method)(*([] if argument is None else [argument]))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
