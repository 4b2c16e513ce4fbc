"""One model for all tests of the server, an index made by it, and a server on loopback for clients that need one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

import uvicorn
from fastapi.testclient import TestClient

from glot_rag import Denoiser, Document, GlotIndex, TorchEncoder
from glot_rag.encoder.base import GlotEncoder
from glot_rag.models.backbone import Backbone
from glot_rag.serving import create_app

TEXTS = {
    "wal": "Home | Log in | Pricing\nWrite-ahead logging\nReaders do not block writers and a writer does not block "
    "readers.\nShare this page",
    "fts": "Full-text search\nA query finds the documents that hold its words, ranked by BM25.",
    "bread": "A sourdough loaf needs flour, water, salt and time.\nLeave it to rise overnight.",
}


@pytest.fixture(scope="session")
def served_encoder(minilm: Backbone) -> GlotEncoder:
    """MiniLM with its shipped head, which drops blocks of noise."""
    denoiser = Denoiser.from_pretrained("minilm", device="cpu", dtype="float32")
    encoder = TorchEncoder.from_pretrained("minilm", device="cpu", dtype="float32", denoise=denoiser)
    assert isinstance(encoder, TorchEncoder)
    return encoder


@pytest.fixture
def index(served_encoder: GlotEncoder, tmp_path: Any) -> GlotIndex:
    """Three documents; the application closes it."""
    made = GlotIndex.create(tmp_path / "index", served_encoder)
    made.add([Document(text, id, {"kind": "food" if id == "bread" else "database"}) for id, text in TEXTS.items()])
    return made


@pytest.fixture
def client(served_encoder: GlotEncoder, index: GlotIndex) -> Iterator[TestClient]:
    """Of an application with the index, without keys."""
    with TestClient(create_app(served_encoder, index=index)) as client:
        yield client


Serve = Callable[..., contextlib.AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Runs an application on a free port of loopback; gives its address."""

    @contextlib.contextmanager
    def running(app: Any) -> Iterator[str]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.01)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.should_exit = True
                thread.join(30)

    return running
