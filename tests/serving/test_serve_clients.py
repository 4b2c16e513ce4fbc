"""The clients that people have, on loopback; the end of the server under load; fuzzing by its own OpenAPI file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag import Document, GlotIndex
from glot_rag.encoder.base import GlotEncoder
from glot_rag.serving import create_app
from glot_rag.serving.keys import Keys

KEY = "0123456789abcdef" * 2
TEXTS = ["Readers do not block writers.", "A loaf needs flour and time."]


@pytest.fixture(scope="module")
def address(served_encoder: GlotEncoder, serve: Any) -> Iterator[str]:
    """A server that asks for a key."""
    import hashlib

    with serve(create_app(served_encoder, keys=Keys([hashlib.sha256(KEY.encode()).hexdigest()]))) as address:
        yield f"{address}/v1"


def test_openais_client(address: str, served_encoder: GlotEncoder) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=address, api_key=KEY, max_retries=0)
    expected = served_encoder.encode_documents(TEXTS)
    for format in (openai.NOT_GIVEN, "float", "base64"):  # by itself it asks for base64 and decodes it
        reply = client.embeddings.create(model="minilm", input=TEXTS, encoding_format=format)
        rows = [each.embedding for each in reply.data]
        if format == "base64":
            continue
        np.testing.assert_allclose(np.array(rows, np.float32), expected, atol=1e-5)
        assert reply.usage.prompt_tokens == reply.usage.total_tokens > 10
    query = client.embeddings.create(model="minilm", input=TEXTS[0], extra_body={"input_type": "query"})
    np.testing.assert_allclose(query.data[0].embedding, served_encoder.encode_queries(TEXTS[:1])[0], atol=1e-5)
    assert [model.id for model in client.models.list()] == ["minilm"]
    with pytest.raises(openai.BadRequestError, match="cannot be shortened") as bad:
        client.embeddings.create(model="minilm", input="a", dimensions=64)
    assert bad.value.param == "dimensions"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'") as missing:
        client.embeddings.create(model="gpt", input="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError, match="the key is not known"):
        openai.OpenAI(base_url=address, api_key="other", max_retries=0).embeddings.create(model="minilm", input="a")


async def test_openais_asynchronous_client(address: str, served_encoder: GlotEncoder) -> None:
    import asyncio

    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(base_url=address, api_key=KEY) as client:
        texts = [f"{text} {n}" for n in range(6) for text in TEXTS]
        replies = await asyncio.gather(*(client.embeddings.create(model="minilm", input=text) for text in texts))
    found = np.array([reply.data[0].embedding for reply in replies], np.float32)
    np.testing.assert_allclose(found, served_encoder.encode_documents(texts), atol=1e-5)


def test_langchains_embeddings(address: str, served_encoder: GlotEncoder) -> None:
    langchain = pytest.importorskip("langchain_openai")
    embeddings = langchain.OpenAIEmbeddings(
        base_url=address, api_key=KEY, model="minilm", check_embedding_ctx_length=False
    )
    expected = served_encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(np.array(embeddings.embed_documents(TEXTS)), expected, atol=1e-5)
    np.testing.assert_allclose(np.array(embeddings.embed_query(TEXTS[1])), expected[1], atol=1e-5)


def test_llama_indexs_embedding(address: str, served_encoder: GlotEncoder) -> None:
    module = pytest.importorskip("llama_index.embeddings.openai_like")
    embedding = module.OpenAILikeEmbedding(model_name="minilm", api_base=address, api_key=KEY, embed_batch_size=2)
    expected = served_encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(np.array(embedding.get_text_embedding_batch(TEXTS)), expected, atol=1e-5)
    np.testing.assert_allclose(np.array(embedding.get_query_embedding(TEXTS[0])), expected[0], atol=1e-5)


CHILD = """
import sys
from glot_rag.serving import server
app = server.load_app(__import__("pathlib").Path(sys.argv[1]), None)
import uvicorn
config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=20)
ours = uvicorn.Server(config)
class Told(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
Told(config).run()
"""


def test_sigterm_loses_nothing_acknowledged(served_encoder: GlotEncoder, tmp_path: Path) -> None:
    GlotIndex.create(tmp_path / "index", served_encoder, save_encoder=True).close()
    acknowledged: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "index")], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        assert child.stdout is not None
        address = f"http://127.0.0.1:{int(child.stdout.readline())}"

        def add(worker: int) -> None:
            for number in range(200):
                body = json.dumps({"documents": [{"id": f"{worker}-{number}", "text": f"text {worker} {number}"}]})
                request = urllib.request.Request(
                    f"{address}/documents", body.encode(), {"Content-Type": "application/json"}
                )
                try:
                    with urllib.request.urlopen(request, timeout=20) as reply:
                        acknowledged.extend(json.load(reply)["ids"])
                except OSError:
                    return
                if len(acknowledged) == 8:
                    child.send_signal(signal.SIGTERM)

        workers = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert child.wait(30) in (0, -signal.SIGTERM)
    assert 8 <= len(acknowledged) < 600
    with GlotIndex.open(tmp_path / "index") as index:
        assert set(acknowledged) <= set(index.ids())
        assert index.verify().ok


def test_fuzzing_finds_no_crash(served_encoder: GlotEncoder, tmp_path: Path) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from schemathesis.specs.openapi import checks as openapi

    index = GlotIndex.create(tmp_path / "index", served_encoder)
    index.add([Document("A loaf needs flour.", "bread", {"kind": "food"})])
    app = create_app(served_encoder, index=index)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [
        schemathesis.checks.not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_schema_conformance,
    ]
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @seed(0)
        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def fuzz(case: Any) -> None:
            case.call_and_validate(checks=checks)

        fuzz()
        tried.add((operation.method, operation.path))
    assert len(tried) == 13
