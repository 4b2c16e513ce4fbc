"""A hub that is a server on this machine: one that does not answer, and one that has a model."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="asks the hub for a model's files")

_PATIENCE = 300  # seconds


@contextmanager
def serve(server: socketserver.TCPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(code: str, endpoint: str, cache: Path) -> str:
    """In a process of its own: huggingface_hub reads its settings once."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    # On a busy machine this process may be slow to answer: to give up after 10 seconds would count as no answer.
    settings |= {"HF_HUB_ETAG_TIMEOUT": str(_PATIENCE), "HF_HUB_DOWNLOAD_TIMEOUT": str(_PATIENCE)}
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | settings
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=3 * _PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_hub_that_does_not_answer_is_not_asked_for_long(tmp_path: Path) -> None:
    calls: list[bytes] = []

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if request := self.request.recv(4096):  # nothing comes of a connection that was opened and closed
                calls.append(request.splitlines()[0])

    code = (
        "from glot_rag.models.backbone import Backbone\n"
        "from glot_rag.errors import ModelNotFoundError\n"
        "try:\n    Backbone.load('someone/tiny', device='cpu')\n"
        "except ModelNotFoundError as error:\n    print(error)\n"
    )
    with serve(socketserver.TCPServer(("127.0.0.1", 0), HangUp)) as endpoint:
        message = run(code, endpoint, tmp_path).splitlines()
    assert message[2] == "  - the hub and its cache, as someone/tiny"
    # Not again and again for each file. huggingface_hub also has questions of its own, about other things.
    assert [call for call in calls if b"tiny" in call] == [b"HEAD /someone/tiny/resolve/main/config.json HTTP/1.1"] * 2


def test_a_model_that_the_hub_has_is_the_same_as_its_files(minilm_folder: Path, tmp_path: Path) -> None:
    """Vector, longest input and fingerprint, from the hub, from its cache without a network, and from the directory."""
    from transformers import AutoConfig, AutoModel

    from glot_rag import GlotEncoder

    model = tmp_path / "model"
    model.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (model / name).write_bytes((minilm_folder / name).read_bytes())
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    config = AutoConfig.from_pretrained(minilm_folder)
    config.update({"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2})
    AutoModel.from_config(config).save_pretrained(model)

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = model / self.path.split("?")[0].rsplit("/", 1)[-1]
            found = "/resolve/" in self.path and path.is_file()
            body = path.read_bytes() if found else json.dumps({"error": "not here"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    code = (
        "from glot_rag import GlotEncoder\n"
        "encoder = GlotEncoder.from_pretrained('someone/tiny', pooling='mean', device='cpu', dtype='float32')\n"
        "print(encoder.encode_documents(['a kettle']).shape, encoder.max_tokens, encoder.fingerprint)\n"
    )
    local = GlotEncoder.from_pretrained(model, pooling="mean", device="cpu", dtype="float32")
    expected = f"(1, 32) 9 {local.fingerprint}\n"
    with serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as endpoint:
        assert run(code, endpoint, tmp_path / "cache") == expected
    assert run(code, "http://127.0.0.1:9", tmp_path / "cache") == expected
