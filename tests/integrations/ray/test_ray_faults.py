"""A cluster of two nodes loses one, an actor is killed, the driver is killed: the shards are those of one process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fake_encoder import FakeEncoder, all_rows, write_corpus
from fake_engine import MEMORY, FakeEngine

from glot_rag.shards import embed_corpus
from glot_rag.shards.format import CHUNKS

SLOW = 0.02  # seconds a text: the run is under way when something dies


@pytest.fixture
def expected(tmp_path, encoder, monkeypatch):
    """A corpus of some 25 shards, and its rows by one process."""
    corpus = write_corpus(tmp_path / "corpus", 300)
    embed_corpus([corpus], tmp_path / "here", FakeEncoder(), denoise=False)
    return corpus, all_rows(tmp_path / "here")


def started(out):
    """Wait until some shards are written."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if len(list((out / CHUNKS).glob("*.json"))) >= 2:
            return
        time.sleep(0.05)
    pytest.fail("no shard was written in two minutes")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, beside a head that runs no work."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    settings = {"object_store_memory": MEMORY}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **settings})
    nodes = [made.add_node(num_cpus=1, **settings) for _ in range(2)]
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def test_a_worker_and_then_a_node_are_lost(expected, tmp_path, cluster, figures):
    corpus, rows = expected
    made, nodes = cluster
    killed = []

    def kill():
        started(tmp_path / "there")
        workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
        workers[0].kill()
        killed.append("actor")
        time.sleep(1)
        made.remove_node(nodes.pop(), allow_graceful=False)
        killed.append("node")

    killer = threading.Thread(target=kill)
    killer.start()
    encoder = FakeEncoder(seconds=SLOW)
    report = embed_corpus([corpus], tmp_path / "there", encoder, denoise=False, engine=FakeEngine(workers=2))
    killer.join()
    assert killed == ["actor", "node"]
    assert all_rows(tmp_path / "there") == rows
    assert report.chunks == report.embedded == len(rows)
    figures(f"ray: lost an actor and a node of two; {len(rows)} rows once each, {report.recomputed} made again")


def test_the_driver_is_killed_and_started_again(expected, tmp_path, figures):
    corpus, rows = expected
    out = tmp_path / "there"
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), str(corpus), str(out)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started(out)
    driver.kill()
    driver.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / CHUNKS).glob("*.json")}
    assert 2 <= len(before) < len(list((out / "documents").glob("*.parquet")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all_rows(out) == rows
    for path, modified in before.items():
        assert path.stat().st_mtime_ns == modified  # what was whole is not made again
    again = int(done.stdout.split()[-1])
    assert again < len(rows)
    figures(f"ray: driver killed; {len(before)} shards stayed, {again} of {len(rows)} rows made again")
