import fake_encoder
import pytest
from fake_encoder import FakeEncoder, write_corpus

from glot_rag.shards import embedding, parts, run


@pytest.fixture
def encoder(monkeypatch):
    """A fake encoder, found again by the path where a run saves it; and small shards."""
    monkeypatch.setattr(embedding, "load_encoder", fake_encoder.load)
    monkeypatch.setattr(run, "load_encoder", fake_encoder.load)
    monkeypatch.setattr(parts, "SHARD_DOCUMENTS", 7)
    return FakeEncoder()


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"
