"""A cluster of two nodes loses one, an actor is killed, the driver is killed: the shards are those of one process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fake_encoder import FakeEncoder, all_rows, write_corpus
from fake_engine import MEMORY, FakeEngine, patiently, small_ray

from glot_rag.shards import embed_corpus, parts
from glot_rag.shards.format import CHUNKS

SLOW = 0.02  # seconds a text: the run is under way when something dies


@pytest.fixture
def expected(tmp_path, encoder, monkeypatch):
    """A corpus of some 40 shards, and its rows by one process."""
    monkeypatch.setattr(parts, "_EVERY", 8)  # files a part
    corpus = write_corpus(tmp_path / "corpus", 300)
    embed_corpus([corpus], tmp_path / "here", FakeEncoder(), denoise=False)
    return corpus, all_rows(tmp_path / "here")


def started(out):
    """Wait until some shards are written."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if len(list((out / CHUNKS).glob("*.json"))) >= 2:
            return
        time.sleep(0.05)
    pytest.fail("no shard was written in five minutes")


@pytest.fixture
def cluster():
    """Two nodes of one CPU each; gone before another test starts Ray."""
    import ray
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=settings))
    other = patiently(lambda: made.add_node(num_cpus=1, object_store_memory=MEMORY))
    small_ray(address=made.address)
    yield made, other
    ray.shutdown()
    made.shutdown()


def test_a_worker_and_then_a_node_are_lost(expected, tmp_path, cluster, figures):
    corpus, rows = expected
    made, other = cluster
    killed = []

    def kill():
        started(tmp_path / "there")
        workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
        workers[0].kill()
        killed.append("actor")
        time.sleep(0.5)
        made.remove_node(other, allow_graceful=False)
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
