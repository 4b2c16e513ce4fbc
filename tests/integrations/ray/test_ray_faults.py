"""A cluster of two nodes loses one, a worker is killed, the driver is killed: the shards are those of one process."""

import pytest
from fake_encoder import FakeEncoder, write_corpus
from faults import Outcome, cluster, embedded_while, kill_a_worker, kill_the_driver, outcome

from glot_rag.shards import embed_corpus, parts

SLOW = 0.02  # seconds a text: the run is under way when something dies


@pytest.fixture
def expected(tmp_path, encoder, monkeypatch):
    """A corpus of some 50 shards, those of one process, and what others must hold."""
    monkeypatch.setattr(parts, "_EVERY", 4)  # files a part
    corpus = write_corpus(tmp_path / "corpus", 200)
    rows = embed_corpus([corpus], tmp_path / "here", FakeEncoder(), denoise=False, dtype="float32").chunks
    return corpus, tmp_path / "here", Outcome(rows, rows, 0, 0, 0.0)


def test_a_worker_and_then_a_node_are_lost(expected, tmp_path, figures):
    corpus, here, whole = expected
    with cluster() as (made, other):
        ends = kill_a_worker, lambda: made.remove_node(other, allow_graceful=False)
        report = embedded_while(corpus, tmp_path / "there", FakeEncoder(seconds=SLOW), *ends)
    assert outcome(tmp_path / "there", here) == whole
    assert report.chunks == report.embedded == whole.rows
    assert report.recomputed < whole.rows  # none, if what died was between two groups of documents
    figures(f"ray: lost a worker and a node of two; {whole.rows} rows once each, {report.recomputed} made again")


@pytest.mark.long  # starts Ray twice; that a run which ended goes on is also shown without Ray, by test_shards_run.py
def test_the_driver_is_killed_and_started_again(expected, tmp_path, figures):
    corpus, here, whole = expected
    out = tmp_path / "there"
    before, again = kill_the_driver(corpus, out)
    assert 2 <= len(before) < len(list((out / "documents").glob("*.parquet")))
    assert outcome(out, here) == whole
    for path, modified in before.items():
        assert path.stat().st_mtime_ns == modified  # what was whole is not made again
    assert again < whole.rows  # workers may live to end their shard
    figures(f"ray: driver killed; {len(before)} shards stayed, {again} of {whole.rows} rows made again")
