"""Runs on Ray in which something dies, and what their shards hold beside those of one process."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from fake_engine import MEMORY, FakeEngine, patiently, small_ray

from glot_rag.shards import embed_corpus
from glot_rag.shards.attempts import Attempts
from glot_rag.shards.format import CHUNKS, manifests, read_columns

DRIVER = [sys.executable, str(Path(__file__).with_name("driver.py"))]


class Outcome(NamedTuple):
    """What the shards of a run hold.

    Attributes:
        rows: chunks in all shards.
        ids: different ones.
        missing: ids that one process made and these shards do not have, and the other way round.
        other: rows whose text or metadata differ.
        difference: of a number in a vector, the largest.
    """

    rows: int
    ids: int
    missing: int
    other: int
    difference: float


def outcome(out, here):
    """What the shards in `out` hold, beside those of one process in `here`."""
    rows, expected = list(rows_of(out)), {id: rest for id, *rest in rows_of(here)}
    found = {id: rest for id, *rest in rows}
    both = found.keys() & expected.keys()
    return Outcome(
        len(rows),
        len(found),
        len(found.keys() ^ expected.keys()),
        sum(found[id][:2] != expected[id][:2] for id in both),
        max((float(np.abs(found[id][2] - expected[id][2]).max()) for id in both), default=0.0),
    )


def rows_of(out):
    """(id, text, metadata, vector) of every chunk."""
    for record in manifests(Path(out), CHUNKS):
        for columns in read_columns(Path(out), record):
            yield from zip(*(columns[name] for name in ("id", "text", "metadata", "vector")), strict=True)


@contextmanager
def cluster():
    """Ray on two nodes of one CPU each: the cluster, and its second node."""
    import ray
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=settings))
    other = patiently(lambda: made.add_node(num_cpus=1, object_store_memory=MEMORY))
    small_ray(address=made.address)
    try:
        yield made, other
    finally:
        ray.shutdown()
        made.shutdown()


def embedded_while(corpus, out, encoder, *ends):
    """The report of a run during which these are called, once it is under way."""
    failed = []

    def end():
        try:
            for each in ends:
                wait_for_rows(out)
                each()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    report = embed_corpus([corpus], out, encoder, denoise=False, dtype="float32", engine=FakeEngine(workers=2))
    thread.join()
    if failed:
        raise failed[0]
    return report


def kill_a_worker():
    workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
    workers[0].kill()


def kill_the_driver(corpus, out, *encoder):
    """Start a run in a process, kill it, and start it again: the shards that were whole, and the rows made again."""
    command = [*DRIVER, str(corpus), str(out), *encoder]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_rows(out)
    driver.kill()
    driver.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / CHUNKS).glob("*.json")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return before, int(done.stdout.split()[-1])


def wait_for_rows(out):
    """Wait until shards are whole, and every worker has made a part of another one."""
    until = time.monotonic() + 300
    while len(list((out / CHUNKS).glob("*.json"))) < 2 or not all(under_way(out)):
        if time.monotonic() > until:
            raise TimeoutError("the run is not under way after five minutes")
        time.sleep(0.01)


def under_way(out):
    """The rows of the shards that workers are at."""
    attempts = [Attempts(path) for path in (out / CHUNKS).glob(".*.attempt")]
    return [attempt.lost for attempt in attempts] or [0]
