"""A writer that prints a line for each acknowledged operation until it is killed. Run by test_index_crash.py.

Arguments: directory, first operation, and whether checkpoints are reindexings ("reindex").
"""

import sys
from itertools import count
from pathlib import Path

from hash_encoder import HashEncoder

from glot_rag.index import Document, GlotIndex

BATCH = 4


def operation(number):
    """(method, argument) of operation `number`; the same in every process."""
    if number % 7 == 5:
        return "checkpoint", None
    if number % 8 == 1:
        return "delete", {"filter": {"op": number - 5}}
    if number % 8 == 2:
        return "set_metadata", {"values": {"seen": number}, "filter": {"op": {"$lt": number - 6}}}
    if number % 4 == 3:
        return "delete", [f"d{(number * 5 + i) % 41}" for i in range(3)]
    return "add", [Document(f"op {number} text {i}", f"d{(number * 3 + i) % 41}", {"op": number}) for i in range(BATCH)]


TYPES = ["hnsw", "flat"]


def apply(state, number):
    """What operation `number` does to a dict of documents."""
    method, argument = operation(number)
    if method == "add":
        state.update({document.id: document for document in argument})
    elif method == "delete" and isinstance(argument, dict):
        for id in [id for id, document in state.items() if document.metadata["op"] == argument["filter"]["op"]]:
            del state[id]
    elif method == "delete":
        for id in argument:
            state.pop(id, None)
    elif method == "set_metadata":
        for id, old in state.items():
            if old.metadata["op"] < argument["filter"]["op"]["$lt"]:
                state[id] = Document(old.text, id, {**old.metadata, **argument["values"]})


def main():
    with GlotIndex.open(Path(sys.argv[1]), HashEncoder(), lock_timeout=10) as index:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in count(int(sys.argv[2])):
            method, argument = operation(number)
            if method == "checkpoint" and sys.argv[3:] == ["reindex"]:
                method, argument = "reindex", TYPES[number // 7 % 2]
            positional, named = ([], argument) if isinstance(argument, dict) else ([argument], {})
            getattr(index, method)(*(positional if argument is not None else []), **named)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
