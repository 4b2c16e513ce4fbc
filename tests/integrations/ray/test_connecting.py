"""An address without a cluster is refused within seconds, with what was found there and the way out."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import ray
from ray_glot import RayEngine, connecting

from glot_rag.errors import InputError

HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@contextmanager
def server(answer=b""):
    """Listens, and answers so, or never."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)
                connection.recv(1000)
                if not answer:
                    closed.wait(60)

        closed = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        closed.set()
        thread.join()


@pytest.fixture
def alone(monkeypatch):
    """Not connected; `ray.init`, which would wait for minutes, must not be reached."""
    ray.shutdown()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **settings: pytest.fail(f"ray.init({settings})"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_nothing_listens(alone):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=rf"no Ray cluster at {address} \(Connection refused\): start one with `ray"):
        RayEngine(address=address)


def test_what_listens_never_answers(alone, monkeypatch):
    monkeypatch.setattr(connecting, "_PATIENCE", 0.2)
    with server() as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=rf"{address}, which RAY_ADDRESS names \(no answer in 0\.2 seconds\)"):
            RayEngine()


def test_another_server_answers(alone):
    with server(HTTP) as address, pytest.raises(InputError, match=r"\(what answers is something else\)"):
        RayEngine(address=address)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:ray", "head:123456"])
def test_no_address(alone, address):
    with pytest.raises(InputError, match=rf"a cluster's address is host:port or auto, got {re.escape(address)}$"):
        RayEngine(address=address)


def test_the_client_of_ray(alone):
    with pytest.raises(InputError, match="does not run through Ray's client, got ray://head:10001: run this on a mach"):
        RayEngine(address="ray://head:10001")


def test_a_server_that_is_no_cluster(alone, monkeypatch):
    """It speaks gRPC, so Ray has to find out."""

    def init(**_):
        raise ConnectionError("Traceback:\n  some\nFailed to connect")

    monkeypatch.setattr(ray, "init", init)
    with server(b"\0\0\x18\x04\0\0\0\0\0") as address:
        expected = rf"{address}, answers, but not as a cluster of Ray {ray.__version__} does \(Failed to connect\)"
        with pytest.raises(InputError, match=expected):
            RayEngine(address=address)


def test_on_the_command_line(tmp_path):
    (tmp_path / "a.txt").write_text("a text")
    command = ["-c", "from glot_rag.cli.app import main; main()", "embed", str(tmp_path / "a.txt"), "--engine", "ray"]
    address = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path / "run")],
        env=os.environ | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: no Ray cluster at {address}, which RAY_ADDRESS names (Connection refused)")
    assert not (tmp_path / "run").exists()
