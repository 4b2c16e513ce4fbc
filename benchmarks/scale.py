"""A corpus larger than one machine: what is measured on this one. `scale_model.py` says what follows for larger ones.

    python benchmarks/scale.py --documents 400 --workers 0 --json runs/scale-embedding.json    # needs minilm
    python benchmarks/scale.py --documents 400 --small-shards --json runs/scale-workers.json
    python benchmarks/scale.py --vectors 1000000 --json runs/scale-lists-1m.json               # lists on disk

Ten million vectors take 35 GB of disk. Documents are docstrings of the standard library, with a menu before and after.
Vectors are drawn around centres, one for each hundred vectors, so that the ten nearest have cosines of about 0.6, as
chunks of text have. Recall is against an exact search over all vectors, for queries that are drawn near to some of
them. Core seconds are the processor's, whatever else it does meanwhile; OMP_NUM_THREADS=1 makes them those of a core.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from index_data import Figures, Vectors, alone, clocked, peak_mib, percentiles, recall
from numpy.typing import NDArray

from glot_rag.index.vectors.faiss_index import load_faiss
from glot_rag.shards import (
    EmbedReport,
    LocalEngine,
    chunk_shards,
    embed_corpus,
    import_shards,
    index_of_shards,
    parts,
)
from glot_rag.shards.engine import Item, MakeWorker
from glot_rag.shards.format import CHUNKS, ShardRecord, ShardWriter, chunk_schema, read_columns, write_manifest
from glot_rag.shards.lists import TRAINED, ListIndex, build_lists

DIMENSION, SHARD, QUERIES, SEED = 384, 50_000, 200, 0
MODULES = ("argparse", "csv", "decimal", "difflib", "email.message", "heapq", "json", "logging", "random", "zipfile")
MENU = "Home | Products | Pricing\nLog in or register here\nSearch this site\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, help="embed so many, by each number of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0 is this process without Ray")
    parser.add_argument("--small-shards", action="store_true", help="so that workers share few documents evenly")
    parser.add_argument("--vectors", type=int, help="make lists of so many, and search them")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.small_shards:
        parts._EVERY = 8  # files a part
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.documents:
            found["embedding"] = list(throughput(Path(folder), arguments.documents, arguments.workers))
        if arguments.vectors:
            found["lists"] = lists(Path(folder), arguments.vectors)
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def throughput(folder: Path, documents: int, workers: list[int]) -> Iterator[dict[str, Any]]:
    """Chunks a second, denoised and embedded, and of a core in this process.

    Both have the start of processes and the loading of models in them, so give enough documents.
    """
    corpus = folder / "corpus"
    corpus.mkdir()
    texts = docstrings()
    for number in range(documents):
        text = texts[number % len(texts)]
        (corpus / f"{number}.txt").write_text(f"{MENU}{text}\nImprint\nContact us\n# {number}\n", encoding="utf-8")
    for count in workers:
        out, computed = folder / f"run{count}", time.process_time()
        report = run(corpus, out, count)
        core_seconds = time.process_time() - computed
        index_path = folder / f"index{count}"
        with index_of_shards(out, index_path) as index:
            started = time.perf_counter()
            import_shards(out, index)
            imported = time.perf_counter() - started
        yield {
            "workers": count,
            "documents": documents,
            "chunks": report.chunks,
            "chunks_per_second": round(report.embedded / report.seconds, 2),
            "chunks_per_core_second": None if count else round(report.embedded / core_seconds, 2),
            "import_chunks_per_second": round(report.chunks / imported, 1),
            "shard_bytes_per_chunk": round(size(out / "chunks") / report.chunks),
            "document_bytes_per_chunk": round(size(out / "documents") / report.chunks),
            "index_bytes_per_chunk": round(sum(size(index_path, name) for name in ("store", "index")) / report.chunks),
        }


def run(corpus: Path, out: Path, workers: int) -> EmbedReport:
    engine = importlib.import_module("ray_glot").RayEngine(workers) if workers else None
    return embed_corpus([corpus], out, "minilm", dtype="float32", engine=engine)


def docstrings() -> list[str]:
    found = []
    for name in MODULES:
        for value in vars(importlib.import_module(name)).values():
            text = inspect.getdoc(value) if callable(value) else None
            if text and len(text.split()) > 40:
                found.append(text)
    return found


def lists(folder: Path, count: int) -> Figures:
    """Lists on disk: time to build, size, recall and speed of searches. Each part has a process of its own."""
    source, out = folder / "vectors", folder / "lists"
    (source / CHUNKS).mkdir(parents=True)
    places = np.sort(np.random.default_rng(SEED).choice(count, QUERIES, replace=False))
    np.save(folder / "queries.npy", np.concatenate(list(write_vectors(source, count, places))))
    np.save(folder / "exact.npy", alone(exact_ten, source, folder / "queries.npy"))
    found = {
        "vectors": count,
        "threads": load_faiss().omp_get_max_threads(),
        **alone(build, source, out),
        "list_bytes_per_chunk": round(size(out, "merged") / count, 1),
        "vector_bytes_per_chunk": round(size(out, "vectors") / count, 1),
    }
    return {**found, **alone(searching, out, folder)}


def build(source: Path, out: Path) -> Figures:
    """Seconds of each step, and memory."""
    steps = Steps()
    rows = build_lists(source, out, steps)
    ended = time.process_time()
    index = load_faiss().read_index(str(out / TRAINED))
    return {
        "lists": index.nlist,
        "train_core_seconds": round(steps.train_ended - steps.started, 1),
        "add_core_microseconds_per_chunk": round(1e6 * (steps.add_ended - steps.train_ended) / rows, 1),
        "merge_core_seconds": round(ended - steps.add_ended, 1),
        "build_core_seconds": round(ended - steps.started, 1),
        "build_memory_mib": round(peak_mib() or 0),
    }


class Steps(LocalEngine):
    """One process, with a clock."""

    def __init__(self) -> None:
        self.started = time.process_time()

    def map(self, make: MakeWorker, settings: Mapping[str, Any], items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """See `Engine.map`."""
        self.train_ended = time.process_time()
        yield from super().map(make, settings, items)
        self.add_ended = time.process_time()


def searching(out: Path, folder: Path) -> Figures:
    """Searches one by one: the first ones with nothing of the files in memory, then by number of lists looked into."""
    queries, exact = np.load(folder / "queries.npy"), np.load(folder / "exact.npy")
    for path in out.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    load_faiss()
    before = memory_mib()
    started = time.perf_counter()
    index = ListIndex(out)
    opened = time.perf_counter() - started
    cold = [clocked(lambda query=query: index.find(query[None], 10)) for query in queries]  # type: ignore[misc]
    rows = []
    for nprobe in (8, 32, 128, 512):
        seconds, numbers, computed = [], [], time.process_time()
        for query in queries:
            started = time.perf_counter()
            numbers.append(index.find(query[None], 10, nprobe=nprobe)[1][0])
            seconds.append(time.perf_counter() - started)
        core_ms = 1000 * (time.process_time() - computed) / len(queries)
        hits = [set(one.tolist()) for one in numbers]
        found = {"nprobe": nprobe, "recall_at_10": round(recall(hits, exact), 4)}
        rows.append({**found, **percentiles(seconds), "core_ms": core_ms})
    return {
        "open_seconds": round(opened, 3),
        "search_memory_mib": round(memory_mib() - before),
        "cold": percentiles(cold),
        "search": rows,
    }


def memory_mib() -> float:
    """Memory of this process without the pages of mapped files, which the system takes back when it needs them."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def write_vectors(source: Path, count: int, places: NDArray[np.int64]) -> Iterator[Vectors]:
    """Shards of vectors; yields those at some places, moved a little: the queries."""
    draw = np.random.default_rng(SEED + 1)
    schema = chunk_schema(DIMENSION, "drawn")
    for start in range(0, count, SHARD):
        rows = min(SHARD, count - start)
        centres = unit(draw.standard_normal((max(rows // 100, 1), DIMENSION), np.float32))
        noise = draw.standard_normal((rows, DIMENSION), np.float32) / np.float32(DIMENSION**0.5)
        vectors = unit(centres[draw.integers(len(centres), size=rows)] + np.float32(0.8) * noise)
        name = f"{start // SHARD:06d}"
        with ShardWriter(source / CHUNKS / f"{name}.parquet", schema) as writer:
            ids = [f"{name}#{row}" for row in range(rows)]
            numbers = list(range(rows))
            writer.write(
                {"id": ids, "document": ids, "hash": ids, "text": ids, "metadata": ["{}"] * rows}
                | {"start": numbers, "end": numbers, "vector": vectors}
            )
            made_from = {"encoder": "drawn", "dimension": DIMENSION, "settings": "", "documents": ""}
            write_manifest(source, ShardRecord(name, CHUNKS, rows, writer.finish(), made_from))
        here = places[(places >= start) & (places < start + rows)] - start
        moved = draw.standard_normal((len(here), DIMENSION), np.float32) / np.float32(DIMENSION**0.5)
        yield unit(vectors[here] + np.float32(0.5) * moved)


def exact_ten(source: Path, file: Path) -> NDArray[np.int64]:
    """The ten nearest of all vectors to the queries in a file, a part of a shard at a time."""
    queries = np.load(file)
    scores, numbers, start = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), 0
    for record in chunk_shards(source):
        for columns in read_columns(source, record, ["vector"]):
            part = queries @ columns["vector"].T
            scores = np.concatenate([scores, part], axis=1)
            new = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
            numbers = np.concatenate([numbers, new], axis=1)
            order = np.argpartition(-scores, min(10, scores.shape[1] - 1), axis=1)[:, :10]
            scores, numbers = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
            start += part.shape[1]
    return numbers


def unit(vectors: Any) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def size(folder: Path, prefix: str = "") -> int:
    return sum(path.stat().st_size for path in folder.rglob(f"{prefix}*") if path.is_file())


if __name__ == "__main__":
    main()
