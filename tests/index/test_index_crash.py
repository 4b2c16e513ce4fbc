"""Processes are killed for real (kill -9). This does not test power loss: the kernel keeps what was written."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from crash_child import TYPES, apply
from hash_encoder import HashEncoder, assert_same_hits, brute_force

from glot_rag.index import GlotIndex

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
CHILD = Path(__file__).with_name("crash_child.py")
ENDLESS = 10**6


def start(path, first, last=ENDLESS, place="-", *more):
    root = str(CHILD.parents[2])
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(first), str(last), place, *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


def killed_on_the_way(child, generator, most):
    """The operations that a child acknowledged before it was killed: after some of them, and then at any moment.

    The wait is for acknowledgements first, so that a slow machine does not make it a test of the start alone.
    """
    assert child.stdout.readline() == "ready\n"
    lines = [child.stdout.readline() for _ in range(generator.randrange(most))]
    time.sleep(generator.uniform(0, 0.02))
    os.kill(child.pid, signal.SIGKILL)
    # A last line without its end was cut off by the kill; the operation before it was acknowledged all the same.
    lines += child.communicate()[0].splitlines(keepends=True)
    return [int(line) for line in lines if line.endswith("\n")]


def state_after(path, expected, next_operation):
    """Check that the index holds what was acknowledged, or that and the whole of the operation that was under way.

    Returns the operation to go on with.
    """
    one_more = dict(expected)
    apply(one_more, next_operation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no kill point may leave a FAISS file that has to be rebuilt
        index = GlotIndex.open(path, HashEncoder(), lock_timeout=10)
    with index:
        stored = {document.id: document for document in index}
        assert stored in (expected, one_more), "acknowledged writes lost, or half an operation stored"
        assert index.verify().problems == ()
        assert not (path / "index.faiss.tmp").exists()
        query = f"op {next_operation} text 1"
        assert_same_hits(index.search(query, 5), brute_force(index.encoder, list(stored.values()), query, 5))
    if stored == expected:
        return next_operation
    expected.clear()
    expected.update(one_more)
    return next_operation + 1


@pytest.mark.parametrize(("rounds", "mode"), [(20, []), (8, ["reindex"])])
def test_kill_at_random_moments_loses_nothing_acknowledged(path, rounds, mode, figures):
    GlotIndex.create(path, HashEncoder()).close()
    expected, number, acknowledged = {}, 0, 0
    generator = random.Random(len(mode))
    for _ in range(rounds):
        done = killed_on_the_way(start(path, number, ENDLESS, "-", *mode), generator, 8)
        assert done == list(range(number, number + len(done)))
        for operation in done:
            apply(expected, operation)
        acknowledged += len(done)
        number = state_after(path, expected, number + len(done))
    assert acknowledged > rounds
    figures(f"{rounds} kills at random moments {mode}: {acknowledged} acknowledged operations, 0 lost")


# Operations 0 to 4 add and delete, 5 writes a first FAISS file; 6 to 11 change; 12 writes the second file.
STAGES = [
    f"{call}:{moment}"
    for call in (
        "insert:20",  # within a batch
        "finish:6",
        "finish:14",  # record of the second file
        "finish:15",  # removal of the first one's
        "os.fsync:3",  # the second file
        "os.replace:2",
        "os.fsync:4",  # its directory
    )
    for moment in ("before", "after")
]


@pytest.mark.parametrize("place", STAGES)
def test_kill_at_each_stage(path, place):
    GlotIndex.create(path, HashEncoder()).close()
    child = start(path, 0, 13, place)
    done = [int(line) for line in child.communicate()[0].splitlines()[1:]]
    assert child.returncode == -signal.SIGKILL, "the stage was not reached"
    expected = {}
    for number in done:
        apply(expected, number)
    state_after(path, expected, len(done))


# Operation 5 makes a graph of the flat index, 12 another graph; here it is killed in the second.
REINDEXING = [
    f"{call}:{moment}"
    for call in (
        "os.fsync:3",  # the new file
        "set_manifest:2",
        "add_checkpoint:2",
        "finish:14",  # the commit of both
        "os.replace:2",
        "os.fsync:4",  # the directory
        "keep_only_checkpoint:2",
        "finish:15",
    )
    for moment in ("before", "after")
]


@pytest.mark.parametrize("place", REINDEXING)
def test_kill_while_reindexing(path, place):
    GlotIndex.create(path, HashEncoder()).close()
    child = start(path, 0, 13, place, "reindex")
    done = [int(line) for line in child.communicate()[0].splitlines()[1:]]
    assert child.returncode == -signal.SIGKILL, "the stage was not reached"
    assert len(done) == 12
    expected = {}
    for number in done:
        apply(expected, number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with GlotIndex.open(path, HashEncoder(), read_only=True) as reader:  # before a writer has cleared up
            seen = reader.stats()
            assert reader.verify().problems == ()
            assert {document.id: document for document in reader} == expected
    new = place.startswith(("os.replace", "os.fsync:4", "keep_only", "finish:15"))  # after the commit
    assert seen.index_type == TYPES[new]
    assert seen.serving.startswith(f"HNSWFlat ({16 if new else 32} neighbours")
    state_after(path, expected, 12)
