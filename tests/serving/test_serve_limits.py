"""What is refused, who may call, and how requests share the model."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from glot_rag.encoder.base import GlotEncoder
from glot_rag.errors import InputError
from glot_rag.serving import Limits, create_app
from glot_rag.serving.batching import Batcher
from glot_rag.serving.keys import Keys
from glot_rag.serving.replies import ApiError
from glot_rag.serving.server import is_loopback

READ, WRITE = "read-key-" + "0" * 32, "write-key-" + "0" * 32


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Slow:
    """An embedder that stops before each batch until it is let go on; it writes down its batches."""

    dimension = 1
    fingerprint = "slow"

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Any:
        self.batches.append(list(texts))
        assert self.go.acquire(timeout=20)
        if "bad" in texts:
            raise ValueError("cannot be read")
        return np.array([[float(text)] if text.isdigit() else [0.0] for text in texts], np.float32)

    encode_queries = encode_documents


def with_batcher(body: Callable[[Slow, Batcher], Any], batch_tokens: int = 4, waiting_tokens: int = 100) -> Slow:
    slow = Slow()

    async def run() -> None:
        batcher = Batcher(slow, batch_tokens, waiting_tokens, lambda inputs, tokens: None)
        batcher.start()
        await body(slow, batcher)
        assert batcher.waiting == 0
        slow.go.release(100)
        await batcher.stop()

    asyncio.run(run())
    return slow


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


def test_requests_share_batches_and_take_turns() -> None:
    async def body(slow: Slow, batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.encode(["0"], [1], "document"))
        await until(lambda: len(slow.batches) == 1)  # the others come while this one is read
        long = asyncio.create_task(batcher.encode([str(n) for n in range(1, 9)], [1] * 8, "document"))
        await asyncio.sleep(0)
        short = asyncio.create_task(batcher.encode(["9"], [1], "document"))
        query = asyncio.create_task(batcher.encode(["10"], [1], "query"))
        await asyncio.sleep(0)
        slow.go.release(100)
        found = await asyncio.gather(first, long, short, query)
        assert [each[:, 0].tolist() for each in found] == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9], [10]]

    slow = with_batcher(body)
    # The short one is in the first batch after it came, and the long one goes on afterwards.
    assert slow.batches == [["0"], ["1", "2", "9"], ["10"], ["3", "4", "5", "6"], ["7", "8"]]


def test_a_client_that_goes_away_frees_its_work() -> None:
    async def body(slow: Slow, batcher: Batcher) -> None:
        long = asyncio.create_task(batcher.encode([str(n) for n in range(12)], [1] * 12, "document"))
        await until(lambda: len(slow.batches) == 1)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        assert batcher.waiting == 0
        slow.go.release(100)
        assert (await batcher.encode(["7"], [1], "document")).tolist() == [[7]]

    assert with_batcher(body).batches == [["0", "1", "2", "3"], ["7"]]


def test_too_much_waiting_is_refused_and_an_error_is_the_requests_own() -> None:
    async def body(slow: Slow, batcher: Batcher) -> None:
        running = asyncio.create_task(batcher.encode(["1"], [4], "document"))
        await until(lambda: len(slow.batches) == 1)
        bad = asyncio.create_task(batcher.encode(["bad"], [4], "document"))
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="4 tokens wait for the model") as refused:
            await batcher.encode(["2"], [4], "document")
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        slow.go.release(100)
        assert (await running).tolist() == [[1]]
        with pytest.raises(ValueError, match="cannot be read"):
            await bad
        assert await batcher.call(lambda: "called", 4) == "called"

    with_batcher(body, waiting_tokens=6)


def test_bodies_and_tokens_over_the_limit(served_encoder: GlotEncoder) -> None:
    with TestClient(create_app(served_encoder, limits=Limits(body_bytes=400, tokens=20))) as client:
        too_long = client.post("/v1/embeddings", json={"model": "minilm", "input": "x" * 500})
        assert (too_long.status_code, too_long.json()["error"]["code"]) == (413, "body_too_large")
        chunked = client.post("/v1/embeddings", content=iter([b"x" * 300, b"x" * 300]))
        assert chunked.status_code == 413
        too_many = client.post("/v1/embeddings", json={"model": "minilm", "input": "tea " * 40})
        assert too_many.status_code == 422
        assert "42 tokens; a request may have 20" in too_many.json()["error"]["message"]
        assert 'glot_rag_refused_total{status="413"} 2.0' in client.get("/metrics").text
    with pytest.raises(InputError, match="inputs must be at least 1; got 0"):
        Limits(inputs=0)


def test_more_requests_than_may_run_are_told_to_come_again(served_encoder: GlotEncoder) -> None:
    app = create_app(served_encoder, limits=Limits(requests=1))
    with TestClient(app) as client:
        begun, go = threading.Event(), threading.Event()

        def slow(text: str, query: str | None = None) -> Any:
            begun.set()
            assert go.wait(20)
            raise InputError("enough")

        app.state.service.encoder = _Wrapped(served_encoder, slow)
        first = threading.Thread(target=client.post, args=("/explain",), kwargs={"json": {"text": "a"}})
        first.start()
        assert begun.wait(20)
        refused = client.post("/v1/embeddings", json={"model": "minilm", "input": "a"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert client.get("/health").status_code == 200
        go.set()
        first.join()
        assert client.post("/v1/denoise", json={"input": "a"}).status_code == 200


def test_a_request_that_takes_too_long(served_encoder: GlotEncoder) -> None:
    app = create_app(served_encoder, limits=Limits(seconds=1))
    go = threading.Event()
    app.state.service.encoder = _Wrapped(served_encoder, lambda text, query=None: go.wait(20))
    with TestClient(app) as client:
        reply = client.post("/explain", json={"text": "a"})
        go.set()
    assert reply.status_code == 429
    assert "not done within 1 s" in reply.json()["error"]["message"]


class _Wrapped:
    """An encoder with another `explain`."""

    def __init__(self, encoder: GlotEncoder, explain: Callable[..., Any]) -> None:
        self._encoder, self.explain = encoder, explain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def test_keys_read_and_write_apart(client: TestClient) -> None:
    client.app.state.service.keys = Keys([digest(READ)], [digest(WRITE)])  # type: ignore[attr-defined]
    ask, add = {"model": "minilm", "input": "a"}, {"documents": [{"text": "a"}]}

    def status(method: str, path: str, key: str | None, body: Any) -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return client.request(method, path, json=body, headers=headers).status_code

    assert [status("POST", "/v1/embeddings", key, ask) for key in (None, "other", READ, WRITE)] == [401, 401, 200, 200]
    assert [status("POST", "/documents", key, add) for key in (None, "other", READ, WRITE)] == [401, 401, 403, 200]
    assert [status("DELETE", "/documents", key, {"ids": []}) for key in (READ, WRITE)] == [403, 200]
    assert [status("POST", "/files?name=a.txt", key, None) for key in (None, READ)] == [401, 403]
    assert [status("GET", "/metrics", key, None) for key in (None, READ)] == [401, 200]
    assert [client.get(path).status_code for path in ("/health", "/ready")] == [200, 200]
    refused = client.post("/v1/embeddings", json=ask)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["type"] == "authentication_error"


def test_every_route_but_the_open_ones_asks_for_a_key(client: TestClient) -> None:
    client.app.state.service.keys = Keys([digest(READ)])  # type: ignore[attr-defined]
    paths = client.get("/openapi.json").json()["paths"]
    open_to_all = {
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if client.request(method.upper(), path.replace("{name}", "a")).status_code != 401
    }
    assert open_to_all == {("get", "/health"), ("get", "/ready")}


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\nread {digest(READ)}  # a reader\nwrite sha256:{digest(WRITE).upper()}\n")
    keys = Keys.load(path)
    keys.check(READ, write=False)
    keys.check(WRITE, write=True)
    with pytest.raises(ApiError, match="may read only"):
        keys.check(READ, write=True)
    path.write_text(f"read {READ}\n")
    with pytest.raises(InputError, match="line 1: expected `read` or `write` and the key's SHA-256"):
        Keys.load(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no key"):
        Keys.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.load(tmp_path / "none")


def test_pages_of_other_sites_cannot_call(served_encoder: GlotEncoder) -> None:
    with TestClient(create_app(served_encoder, loopback=True), base_url="http://localhost") as client:
        ask = {"model": "minilm", "input": "a"}
        assert client.post("/v1/embeddings", json=ask).status_code == 200
        assert client.post("/v1/embeddings", json=ask, headers={"Origin": "http://localhost"}).status_code == 200
        other = client.post("/v1/embeddings", json=ask, headers={"Origin": "http://example.org"})
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)
        rebound = client.get("/v1/models", headers={"Host": "example.org"})
        assert "this server is for its own machine" in rebound.json()["error"]["message"]


def test_what_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.8.0.1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org")] == [False] * 4
