"""`GlotEmbedding` inside the real llama-index-core, over the real backbone."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.glot import GlotEmbedding
from pydantic import ValidationError

from glot_rag import TorchEncoder
from glot_rag.errors import ModelNotFoundError

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."
BICYCLE = "Pump the tyres of the bicycle once a week and oil its chain before every winter ride in the rain."


@pytest.fixture(scope="module")
def embedding() -> GlotEmbedding:
    return GlotEmbedding(dtype="float32", device="cpu", query_prompt="query: ")


def test_vectors_are_the_encoders(embedding: GlotEmbedding) -> None:
    encoder = embedding.encoder
    assert np.allclose(
        embedding.get_text_embedding_batch([KETTLE, BICYCLE]), encoder.encode_documents([KETTLE, BICYCLE])
    )
    assert np.allclose(embedding.get_text_embedding(KETTLE), encoder.encode_documents([KETTLE])[0], atol=1e-6)
    assert np.allclose(embedding.get_query_embedding(KETTLE), encoder.encode_queries([KETTLE])[0])
    assert embedding.get_query_embedding(KETTLE) != embedding.get_text_embedding(KETTLE)
    assert all(type(value) is float for value in embedding.get_query_embedding("tea"))


async def test_async_gives_the_same_and_never_blocks_the_loop(
    embedding: GlotEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedding waits here until the loop has gone on: one that is blocked would never get there."""
    encode, gone_on = TorchEncoder.encode_documents, threading.Event()

    def wait_and_encode(self: TorchEncoder, *arguments: Any, **settings: Any) -> Any:
        assert gone_on.wait(60), "the event loop was blocked"
        return encode(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEncoder, "encode_documents", wait_and_encode)
        task = asyncio.create_task(embedding.aget_text_embedding_batch([KETTLE, BICYCLE]))
        while not task.done():
            await asyncio.sleep(0.01)
            gone_on.set()
    assert np.allclose(task.result(), embedding.encoder.encode_documents([KETTLE, BICYCLE]), atol=1e-6)
    assert np.allclose(await embedding.aget_query_embedding("tea"), embedding.get_query_embedding("tea"), atol=1e-6)
    assert np.allclose(await embedding.aget_text_embedding(KETTLE), embedding.get_text_embedding(KETTLE), atol=1e-6)


def test_settings_go_through_to_dict_and_between_processes(embedding: GlotEmbedding) -> None:
    record = embedding.to_dict()
    assert record["class_name"] == "GlotEmbedding"
    copied = GlotEmbedding.from_dict(record)
    state = pickle.dumps(embedding)
    assert len(state) < 20_000  # settings, not weights
    received = pickle.loads(state)  # noqa: S301 (our own bytes)
    assert embedding.encoder.fingerprint == copied.encoder.fingerprint == received.encoder.fingerprint
    assert received.query_prompt == "query: "


def test_a_vector_index_finds_and_answers_offline(embedding: GlotEmbedding) -> None:
    documents = [Document(text=KETTLE, id_="kettle"), Document(text=BICYCLE, id_="bicycle")]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    nodes = index.as_retriever(similarity_top_k=2).retrieve("how fast does it heat water")
    assert [node.node.ref_doc_id for node in nodes] == ["kettle", "bicycle"]
    response = index.as_query_engine(llm=MockLLM(), similarity_top_k=1).query("when do I oil the chain?")
    assert BICYCLE in str(response)
    assert Settings._embed_model is None  # nothing fell back to a default model


def test_an_ingestion_pipeline_embeds_only_what_changed(
    embedding: GlotEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []
    encode = embedding.encoder.encode_documents

    def counted(texts: list[str]) -> object:
        embedded.extend(texts)
        return encode(texts)

    monkeypatch.setattr(embedding.encoder, "encode_documents", counted)
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=128, chunk_overlap=0), embedding],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    pipeline.run(documents=[Document(text=KETTLE, id_="kettle"), Document(text=BICYCLE, id_="bicycle")])
    assert len(embedded) == 2
    nodes = pipeline.run(documents=[Document(text=KETTLE, id_="kettle"), Document(text="New tyres.", id_="bicycle")])
    assert len(embedded) == 3
    assert "New tyres." in embedded[-1]
    assert len(nodes) == 1
    assert nodes[0].embedding is not None
    assert len(nodes[0].embedding) == 384


def test_the_cache_that_mixes_queries_and_documents_is_refused() -> None:
    with pytest.raises(ValidationError, match="a query could get a document's vector"):
        GlotEmbedding(embeddings_cache=SimpleKVStore())
    with pytest.raises(ValidationError, match="a query could get a document's vector"):
        GlotEmbedding(pooling="mean", query_prompt="query: ", embeddings_cache=SimpleKVStore())
    same = GlotEmbedding(pooling="mean", dtype="float32", embeddings_cache=SimpleKVStore())
    assert np.allclose(same.get_text_embedding(KETTLE), same.get_query_embedding(KETTLE))
    if "embeddings_cache" in BaseEmbedding.model_fields:  # before that, LlamaIndex did not ask it
        assert len(same.embeddings_cache.get_all(collection="embeddings")) == 1


def test_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValidationError, match="poling"):
        GlotEmbedding(poling="mean")
    with pytest.raises(ValidationError, match="pooling must be one of"):
        GlotEmbedding(pooling="median")
    with pytest.raises(ModelNotFoundError):
        GlotEmbedding(model_name="./no-such-model")


def test_without_llama_index_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['llama_index.core'] = None\n"
        "try:\n    import llama_index.embeddings.glot\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "pip install 'glot-rag[llama-index]'" in done.stdout, done.stderr


def test_importing_it_loads_no_torch() -> None:
    code = "import sys; from llama_index.embeddings.glot import GlotEmbedding; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
