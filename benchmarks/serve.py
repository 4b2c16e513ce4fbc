"""Load on `glot-rag serve`, on loopback: throughput beside in-process encoding, waiting times, overload.

    OMP_NUM_THREADS=1 python benchmarks/serve.py --json benchmarks/results/serve.json

About two minutes. The server runs in a process of its own, with one thread; in-process and served rounds take turns,
and the figure is the median of their ratios, so that other load on the machine falls on both.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from glot_rag import GlotEncoder
from glot_rag.evaluation import load_stdlib

ROUNDS, TEXTS, PER_REQUEST, CLIENTS = 5, 64, 8, 4  # rounds, texts, texts a request, clients
WORDS = 80  # of a text
SERVER = """
import socket, sys
import uvicorn
from glot_rag.serving import Limits
from glot_rag.serving.server import load_app
app = load_app(None, "minilm", limits=Limits(requests=16, waiting_tokens=40_000))
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen(1024)
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""


@contextmanager
def server() -> Iterator[tuple[int, int]]:
    """(port, process id)."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            while ask(connection(port), "GET", "/ready")[0] != 200:
                time.sleep(0.1)
            yield port, child.pid
        finally:
            child.terminate()


def connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def ask(to: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    to.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    reply = to.getresponse()
    return reply.status, reply.read()


def embed(to: http.client.HTTPConnection, texts: list[str], kind: str = "document") -> tuple[int, bytes]:
    body = {"model": "minilm", "input": texts, "encoding_format": "base64", "input_type": kind}
    return ask(to, "POST", "/v1/embeddings", body)


def by_clients(port: int, count: int, work: Callable[[http.client.HTTPConnection, int], None]) -> None:
    """Run `work` in so many threads, each with a connection of its own."""
    threads = [threading.Thread(target=lambda n=n: work(connection(port), n)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def throughput(port: int, encoder: GlotEncoder, texts: list[str]) -> dict[str, Any]:
    served, inside = [], []
    vectors = np.zeros((TEXTS, encoder.dimension), np.float32)

    def client(to: http.client.HTTPConnection, number: int) -> None:
        for start in range(number * PER_REQUEST, TEXTS, CLIENTS * PER_REQUEST):
            status, body = embed(to, texts[start : start + PER_REQUEST])
            assert status == 200, body
            for each in json.loads(body)["data"]:
                vectors[start + each["index"]] = np.frombuffer(base64.b64decode(each["embedding"]), "<f4")

    expected = encoder.encode_documents(texts)  # also a first round, which is not measured
    by_clients(port, CLIENTS, client)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        encoder.encode_documents(texts)
        middle = time.perf_counter()
        by_clients(port, CLIENTS, client)
        inside.append(TEXTS / (middle - start))
        served.append(TEXTS / (time.perf_counter() - middle))
    ratios = [one / other for one, other in zip(served, inside, strict=True)]
    return {
        "texts_a_second_in_process": statistics.median(inside),
        "texts_a_second_served": statistics.median(served),
        "of_in_process": statistics.median(ratios),
        "ratios": ratios,
        "largest_difference": float(np.abs(vectors - expected).max()),
    }


def waiting(port: int, texts: list[str]) -> list[dict[str, float]]:
    found = []
    for clients in (1, 4, 16):
        times: list[float] = []

        def client(to: http.client.HTTPConnection, number: int, times: list[float] = times) -> None:
            for each in texts[number % 8 * 8 : number % 8 * 8 + 8]:
                start = time.perf_counter()
                assert embed(to, [each[:60]], "query")[0] == 200
                times.append(1000 * (time.perf_counter() - start))

        by_clients(port, clients, client)
        p50, p99 = np.percentile(times, [50, 99])
        found.append({"clients": clients, "requests": len(times), "p50_ms": float(p50), "p99_ms": float(p99)})
    return found


def overload(port: int, pid: int, texts: list[str], seconds: float = 10) -> dict[str, Any]:
    statuses: Counter[int] = Counter()
    memory = [resident(pid)]
    end = time.perf_counter() + seconds

    def client(to: http.client.HTTPConnection, number: int) -> None:
        while time.perf_counter() < end:
            status, _ = embed(to, texts)
            statuses[status] += 1
            time.sleep(0 if status == 200 else 0.05)

    def look() -> None:
        while time.perf_counter() < end:
            time.sleep(0.5)
            memory.append(resident(pid))

    watch = threading.Thread(target=look)
    watch.start()
    by_clients(port, 48, client)
    watch.join()
    third = len(memory) // 3
    return {
        "clients": 48,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "mb_before": memory[0],
        "mb_first_third": max(memory[1 : third + 1]),
        "mb_last_third": max(memory[-third:]),
    }


def gone(port: int, texts: list[str]) -> dict[str, float]:
    """A client asks for much and goes away: how long its texts wait on."""
    body = json.dumps({"model": "minilm", "input": 8 * texts}).encode()
    with socket.create_connection(("127.0.0.1", port)) as raw:
        head = "POST /v1/embeddings HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"
        raw.sendall("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        most = 0.0
        deadline = time.perf_counter() + 20
        while most == 0 and time.perf_counter() < deadline:
            most = waiting_tokens(port)
    start = time.perf_counter()
    while waiting_tokens(port) and time.perf_counter() < start + 60:
        time.sleep(0.01)
    return {"tokens_that_waited": most, "seconds_until_none_waits": time.perf_counter() - start}


def waiting_tokens(port: int) -> float:
    _, text = ask(connection(port), "GET", "/metrics")
    lines = text.decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("glot_rag_waiting_tokens ")))


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = [" ".join(text.split()[:WORDS]) for text in load_stdlib(TEXTS).documents.values()]
    encoder = GlotEncoder.from_pretrained("minilm")
    with server() as (port, pid):
        found = {
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "throughput": throughput(port, encoder, texts),
            "waiting": waiting(port, texts),
            "client_gone": gone(port, texts),
            "overload": overload(port, pid, texts),
        }
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
