from functools import partial

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from fake_engine import fake_encoder, small_ray

from glot_rag.shards import embedding, run


@pytest.fixture(scope="module")
def ray_here():
    import ray

    small_ray()
    yield
    ray.shutdown()


@pytest.fixture
def figures(record_property):
    """Takes the counts that a test reports; they are printed at the end of the run."""
    return partial(record_property, "figure")


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setattr(embedding, "load_encoder", fake_encoder.load)
    monkeypatch.setattr(run, "load_encoder", fake_encoder.load)
    return fake_encoder.FakeEncoder()


@pytest.fixture
def corpus(tmp_path):
    return fake_encoder.write_corpus(tmp_path / "corpus", 80)
