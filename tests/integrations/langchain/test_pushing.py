"""Shards into stores of others: Qdrant in its local mode and LanceDB, pushed twice, hold each chunk once."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "shards"))
import fake_encoder
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_glot import pushing
from langchain_glot.pushing import push_shards, store_id

from glot_rag.errors import InputError
from glot_rag.shards import embed_corpus, embedding, run


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "load_encoder", fake_encoder.load)
    monkeypatch.setattr(run, "load_encoder", fake_encoder.load)
    monkeypatch.setattr(pushing, "BATCH", 10)
    corpus = fake_encoder.write_corpus(tmp_path / "corpus", 20)
    embed_corpus([corpus], tmp_path / "run", fake_encoder.FakeEncoder(), denoise=False)
    return tmp_path / "run"


def as_stored(rows):
    return {store_id(id): (id, text, np.frombuffer(vector, np.float32)) for id, (text, _, vector) in rows.items()}


def test_qdrant(shards):
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client.models import Distance, VectorParams

    def make(embeddings):
        if not client.collection_exists("pages"):
            client.create_collection("pages", VectorParams(size=embeddings.dimension, distance=Distance.COSINE))
        return QdrantVectorStore(client, "pages", embeddings)

    rows = fake_encoder.all_rows(shards)
    for _ in range(2):
        assert push_shards(shards, make) == len(rows) > 30
        found, _ = client.scroll("pages", limit=1000, with_vectors=True)
        stored = as_stored(rows)
        assert len(found) == len(stored)
        for point in found:
            id, text, vector = stored.pop(point.id)
            assert (point.payload["metadata"]["id"], point.payload["page_content"]) == (id, text)
            np.testing.assert_allclose(point.vector, vector, atol=1e-6)
        assert not stored
    id, (_, _, vector) = next(iter(rows.items()))
    (hit,) = make(pushing.StoredEmbeddings(shards / "encoder", 8)).similarity_search_by_vector(
        np.frombuffer(vector, np.float32).tolist(), k=1
    )
    assert hit.metadata["id"] == id


def test_lancedb(shards, tmp_path):
    lancedb = pytest.importorskip("lancedb")
    from langchain_community.vectorstores import LanceDB

    database = lancedb.connect(str(tmp_path / "lance"))
    rows = fake_encoder.all_rows(shards)
    for _ in range(2):
        count = push_shards(
            shards,
            lambda embeddings: LanceDB(database, embeddings, table_name="pages", mode="append"),
            metadata=lambda metadata: {"source": metadata["source"]},
        )
        assert count == len(rows)
        found = database.open_table("pages").to_arrow().to_pylist()
        stored = as_stored(rows)
        assert len(found) == len(stored)
        for row in found:
            id, text, vector = stored.pop(row["id"])
            assert (row["metadata"]["id"], row["text"]) == (id, text)
            np.testing.assert_allclose(row["vector"], vector, atol=1e-6)
        assert not stored
    with pytest.raises(InputError, match="does not find the first chunk that it was sent"):
        push_shards(
            shards,
            lambda embeddings: LanceDB(database, embeddings, table_name="others"),
            metadata=lambda metadata: {"source": metadata["source"]},
        )


def test_a_store_that_fails_later_is_not_passed_over(shards):
    class Failing(InMemoryVectorStore):
        calls = 0

        def delete(self, ids=None, **_):
            Failing.calls += 1
            if Failing.calls == 2:
                raise RuntimeError("the connection is lost")

    with pytest.raises(RuntimeError, match="the connection is lost"):
        push_shards(shards, Failing)
    with pytest.raises(InputError, match="expected a LangChain VectorStore, got int"):
        push_shards(shards, lambda _: 3)
