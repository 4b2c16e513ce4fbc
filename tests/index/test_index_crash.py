"""Processes are killed for real (kill -9). This does not test power loss: the kernel keeps what was written."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import steps_child
from crash_child import apply
from hash_encoder import HashEncoder, SavingEncoder, assert_all_searches, assert_saved

from glot_rag.errors import IndexNotFoundError
from glot_rag.index import Document, GlotIndex

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
CHILD = Path(__file__).with_name("crash_child.py")


def start(path, first, *more):
    root = str(CHILD.parents[2])
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(first), *more],
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
        assert not list(path.glob("*.tmp"))
        query = f"op {next_operation} text 1"
        assert_all_searches(index, stored.values(), query, 5)
    if stored == expected:
        return next_operation
    expected.clear()
    expected.update(one_more)
    return next_operation + 1


@pytest.mark.parametrize(("rounds", "mode"), [(6, []), (3, ["reindex"]), pytest.param(200, [], marks=pytest.mark.long)])
def test_kill_at_random_moments_loses_nothing_acknowledged(path, rounds, mode, figures):
    GlotIndex.create(path, HashEncoder()).close()
    expected, number, acknowledged = {}, 0, 0
    generator = random.Random(len(mode))
    for _ in range(rounds):
        done = killed_on_the_way(start(path, number, *mode), generator, 8)
        assert done == list(range(number, number + len(done)))
        for operation in done:
            apply(expected, operation)
        acknowledged += len(done)
        number = state_after(path, expected, number + len(done))
    assert acknowledged > rounds
    figures(f"{rounds} kills at random moments {mode}: {acknowledged} acknowledged operations, 0 lost")


# -- at each step of one operation


def is_old(document):
    return steps_child.OLD["n"]["$gte"] <= document.metadata["n"]


OPERATIONS = {
    "add": lambda state: state | {d.id: d for d in steps_child.ADDED},
    "delete": lambda state: {id: d for id, d in state.items() if id not in steps_child.DELETED},
    "delete_by_filter": lambda state: {id: d for id, d in state.items() if not is_old(d)},
    "update_metadata": lambda state: state | {id: Document(f"text {id[1:]}", id, m) for id, m in steps_child.UPDATED},
    "set_metadata": lambda state: {
        id: Document(d.text, id, {**d.metadata, "old": True}) if is_old(d) else d for id, d in state.items()
    },
    "checkpoint": lambda state: state,
    "reindex": lambda state: state,
    "compact": lambda state: state,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Operation -> its steps, each with the directory that a process left which was killed there."""
    folder = tmp_path_factory.mktemp("steps")
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    command = [sys.executable, str(CHILD.with_name("steps_child.py")), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    return {name: [step for step in found if step["operation"] == name] for name in [steps_child.CREATE, *OPERATIONS]}


def test_kill_before_and_after_each_step_of_a_creation(killed, figures):
    """There is an index with its encoder, or none and one can be made: nothing in between."""
    outcomes = {"made": 0, "none": 0}
    for step in killed[steps_child.CREATE]:
        path, where = Path(step["path"]), f"{step['moment']} {step['step']}"
        try:
            with GlotIndex.open(path, SavingEncoder(), read_only=True) as index:
                assert len(index) == 0
            assert step["committed"] == 1, where
            outcomes["made"] += 1
        except IndexNotFoundError:
            assert step["committed"] == 0, where
            outcomes["none"] += 1
            GlotIndex.create(path, SavingEncoder(), save_encoder=True).close()
        assert_saved(path / "encoder")
        with GlotIndex.open(path, SavingEncoder()) as index:
            index.add([Document("first", "first")])
            assert index.verify().problems == ()
    assert outcomes["made"] > 1
    assert outcomes["none"] > 10
    figures(f"kill -9 in a creation with its encoder: {len(killed[steps_child.CREATE])} kills, {outcomes}, 0 unusable")


@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_before_and_after_each_step(killed, name, figures):
    """What is acknowledged is there, what is not is there as a whole or not at all, and nothing has to be rebuilt."""
    before = {d.id: d for d in steps_child.BASE}
    after = OPERATIONS[name](before)
    outcomes = {"old": 0, "new": 0}
    for step in killed[name]:
        path, where = Path(step["path"]), f"{name}, {step['moment']} {step['step']}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for read_only in (True, False):  # the reader comes before a writer has cleared up
                with GlotIndex.open(path, HashEncoder(), read_only=read_only) as index:
                    assert index.verify().problems == (), where
                    stored = {document.id: document for document in index}
                    stats = index.stats()
                    new = stored == after if after != before else step["committed"] > 0
                    assert stored == (after if new else before), f"half an operation is stored: {where}"
                    assert new == (step["committed"] > 0), f"a commit is lost, or one is invented: {where}"
                    if name == "reindex":
                        assert stats.index_type == ("hnsw" if new else "flat"), where
                        assert stats.serving.startswith("HNSW" if new else "Flat"), where
                    assert_all_searches(index, stored.values(), "text 8", 5)
                    if not read_only:
                        index.add([Document("later", "later")])
        assert not list(path.glob("*.tmp"))
        outcomes["new" if new else "old"] += 1
    assert outcomes["old"] > 1
    assert outcomes["new"] > 1
    kinds = len({(step["step"], step["nth"]) for step in killed[name]})
    kills = len(killed[name])
    figures(f"kill -9 in {name}: {kinds} steps, {kills} of {kills} kills survived, 0 lost, 0 halved, {outcomes}")
