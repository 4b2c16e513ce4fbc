"""Kills writers before and after each step of each operation. Run by test_index_crash.py.

Argument: an empty directory. An index is made in it; then a process is forked for each step, which opens a copy, starts
one operation and kills itself at that step. Prints a line of JSON for each kill.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from pathlib import Path

from hash_encoder import HashEncoder, SavingEncoder

from glot_rag.index import Document, GlotIndex
from glot_rag.index.store import connection, store
from glot_rag.index.store.transaction import Transaction
from glot_rag.index.vectors.faiss_index import load_faiss

BASE = [Document(f"text {i}", f"d{i}", {"n": i}) for i in range(20) if i not in (3, 4)]
ADDED = [Document(f"new {i}", f"d{i}", {"n": i}) for i in (1, 2, 30, 31)]
DELETED = ["d1", "d9", "d17"]
UPDATED = [("d5", {"changed": True}), ("d6", {})]
OLD = {"n": {"$gte": 11}}  # nine documents: four that are in the files, and five that were added after these
CREATE = "create"  # the one operation that starts without an index
OPERATIONS = {
    "add": lambda index: index.add(ADDED),
    "delete": lambda index: index.delete(DELETED),
    "delete_by_filter": lambda index: index.delete(filter=OLD),
    "update_metadata": lambda index: index.update_metadata(dict(UPDATED)),
    "set_metadata": lambda index: index.set_metadata({"old": True}, filter=OLD),
    "checkpoint": lambda index: index.checkpoint(),
    "reindex": lambda index: index.reindex("hnsw"),
    "compact": lambda index: index.compact(),
}
STATEMENTS = ("BEGIN IMMEDIATE", "COMMIT", "VACUUM", "PRAGMA wal_checkpoint")
METHODS = ["insert", "remove", "update_metadata", "add_checkpoint", "keep_newest_checkpoints", "set_manifest", "finish"]


class Steps:
    """Counts the steps of an operation, and kills the process at one of them."""

    def __init__(self, deadly, moment):
        self.deadly, self.moment = deadly, moment
        self.armed = False
        self.reached = []
        self.committed = 0

    def run(self, name, call):
        if not self.armed:
            return call()
        number = len(self.reached)
        self.reached.append(name)
        if number == self.deadly and self.moment == "before":
            self.die()
        result = call()
        self.committed += name == "COMMIT"
        if number == self.deadly:
            self.die()
        return result

    def die(self):
        self.report()
        os.kill(os.getpid(), signal.SIGKILL)

    def report(self):
        sys.stdout.write(json.dumps({"reached": self.reached, "committed": self.committed}) + "\n")
        sys.stdout.flush()

    def instrument(self):
        steps = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *parameters):
                known = next((statement for statement in STATEMENTS if sql.startswith(statement)), None)
                call = lambda: sqlite3.Connection.execute(self, sql, *parameters)  # noqa: E731
                return call() if known is None else steps.run(known, call)

        connect = sqlite3.connect

        class Module:
            """`sqlite3` with another kind of connection."""

            def __getattr__(self, name):
                return getattr(sqlite3, name)

            def connect(self, *args, **kwargs):
                return connect(*args, factory=Connection, **kwargs)

        connection.sqlite3 = Module()
        for owner, names in ((Transaction, METHODS), (os, ["fsync", "replace"]), (store, ["write_last_commit"])):
            for name in names:
                self.wrap(owner, name)

    def wrap(self, owner, name):
        original, label = getattr(owner, name), f"{owner.__name__.rpartition('.')[2]}.{name}"
        setattr(owner, name, lambda *args, **kwargs: self.run(label, lambda: original(*args, **kwargs)))


def forked(path, operation, deadly, moment):
    """What a process reported that was killed at one step, or that ended if `deadly` is -1."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(send, sys.stdout.fileno())
        try:
            steps = Steps(deadly, moment)
            steps.instrument()
            if operation == CREATE:
                steps.armed = True
                index = GlotIndex.create(path, SavingEncoder(), save_encoder=True)
            else:
                index = GlotIndex.open(path, HashEncoder())
                steps.armed = True
                OPERATIONS[operation](index)
            steps.armed = False
            steps.report()
            index.close()
            os._exit(0 if deadly < 0 else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    os.close(send)
    with open(receive) as stream:
        report = json.loads(stream.readline())
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL if deadly >= 0 else status == 0, (operation, deadly, moment, status)
    return report


def main():
    folder = Path(sys.argv[1])
    load_faiss()  # once, for all that are forked
    base = folder / "base"
    if not (made := os.fork()):
        with GlotIndex.create(base, HashEncoder()) as index:
            index.add([Document(f"text {i}", f"d{i}", {"n": i}) for i in range(15)])
            index.checkpoint()
            index.add([Document(f"text {i}", f"d{i}", {"n": i}) for i in range(15, 20)])
            index.delete(["d3", "d4"])
            index._save_if_behind = lambda: None  # leave changes to replay
        os._exit(0)
    assert os.waitpid(made, 0)[1] == 0

    def start(name):
        return folder / name if name.startswith(CREATE) else shutil.copytree(base, folder / name)

    for operation in [CREATE, *OPERATIONS]:
        counted = forked(start(f"{operation}-counted"), operation, -1, "")["reached"]
        for deadly, step in enumerate(counted):
            for moment in ("before", "after"):
                path = start(f"{operation}-{deadly}-{moment}")
                report = forked(path, operation, deadly, moment)
                assert report["reached"] == counted[: deadly + 1]
                line = {"operation": operation, "step": step, "nth": deadly, "moment": moment, "path": str(path)}
                sys.stdout.write(json.dumps(line | {"committed": report["committed"]}) + "\n")
                sys.stdout.flush()  # before the next fork, which would write it too


if __name__ == "__main__":
    main()
