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
from crash_child import apply
from hash_encoder import HashEncoder, assert_same_hits, brute_force

from glot_rag.index import GlotIndex

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
CHILD = Path(__file__).with_name("crash_child.py")
ENDLESS = 10**6


def start(path, first, last=ENDLESS, place="-"):
    root = str(CHILD.parents[2])
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(first), str(last), place],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


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


def test_kill_at_random_moments_loses_nothing_acknowledged(path):
    GlotIndex.create(path, HashEncoder()).close()
    expected, number, acknowledged = {}, 0, 0
    generator = random.Random(0)
    for _ in range(20):
        child = start(path, number)
        assert child.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0, 0.12))
        os.kill(child.pid, signal.SIGKILL)
        # A last line without its end was cut off by the kill; the operation before it was acknowledged all the same.
        lines = [line for line in child.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        for line in lines:
            assert int(line) == number
            apply(expected, number)
            number += 1
        acknowledged += len(lines)
        number = state_after(path, expected, number)
    assert acknowledged > 20


# Operations 0 to 4 add and delete, 5 writes a first FAISS file; 6 to 11 change; 12 writes the second file.
STAGES = [
    f"{call}:{moment}"
    for call in (
        "insert:20",  # within a batch
        "finish:6",
        "finish:11",  # record of the second file
        "finish:12",  # removal of the first one's
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
