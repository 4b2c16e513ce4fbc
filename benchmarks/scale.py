"""A corpus larger than one machine: what is measured on this one, and what follows for a hundred million chunks.

    python benchmarks/scale.py --documents 400 --workers 1 2 --json runs/throughput.json    # embedding; needs minilm
    python benchmarks/scale.py --vectors 1000000 --json runs/lists-1m.json                  # lists on disk
    python benchmarks/scale.py --model runs/throughput.json runs/lists-1m.json          # the tables of docs/scale.md

Documents are docstrings of the standard library, with a menu before and after. Vectors are drawn around centres, one
for each hundred vectors, so that the ten nearest have cosines of about 0.6, as chunks of text have. Recall is against
an exact search over all vectors, for queries that are drawn near to some of them.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.shards import EmbedReport, embed_corpus, import_shards, index_of_shards
from glot_rag.shards.format import CHUNKS, ShardRecord, ShardWriter, chunk_schema, write_manifest
from glot_rag.shards.lists import ListIndex, build_lists

DIMENSION, SHARD, QUERIES, SEED = 384, 50_000, 200, 0
MODULES = ("argparse", "csv", "decimal", "difflib", "email.message", "heapq", "json", "logging", "random", "zipfile")
MENU = "Home | Products | Pricing\nLog in or register here\nSearch this site\n"
Vectors = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, help="embed so many, by each number of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="0 is one process without Ray")
    parser.add_argument("--vectors", type=int, help="make lists of so many, and search them")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", help="print the tables from what --json wrote")
    arguments = parser.parse_args()
    if arguments.model:
        print(model({name: value for path in arguments.model for name, value in json.loads(path.read_text()).items()}))
        return
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
    """Chunks a second, denoised and embedded; the time to load the models is in it, so give enough documents."""
    corpus = folder / "corpus"
    corpus.mkdir()
    texts = docstrings()
    for number in range(documents):
        text = texts[number % len(texts)]
        (corpus / f"{number}.txt").write_text(f"{MENU}{text}\nImprint\nContact us\n# {number}\n", encoding="utf-8")
    for count in workers:
        started = time.perf_counter()
        out = folder / f"run{count}"
        report = run(corpus, out, count)
        seconds = time.perf_counter() - started
        with index_of_shards(out, folder / f"index{count}") as index:
            started = time.perf_counter()
            import_shards(out, index)
            imported = time.perf_counter() - started
        yield {
            "workers": count,
            "documents": documents,
            "chunks": report.chunks,
            "seconds": round(seconds, 2),
            "chunks_per_second": round(report.embedded / report.seconds, 2),
            "import_chunks_per_second": round(report.chunks / imported, 1),
            "shard_bytes_per_chunk": round(size(out / "chunks") / report.chunks),
            "document_bytes_per_chunk": round(size(out / "documents") / report.chunks),
            "index_bytes_per_chunk": round(size(folder / f"index{count}") / report.chunks),
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


def lists(folder: Path, count: int) -> dict[str, Any]:
    """Lists on disk: time to build, size, recall and speed of searches."""
    source, out = folder / "vectors", folder / "lists"
    (source / CHUNKS).mkdir(parents=True)
    draw = np.random.default_rng(SEED)
    places = np.sort(draw.choice(count, QUERIES, replace=False))
    queries = np.concatenate(list(write_vectors(source, count, places)))
    exact = exact_ten(source, queries)
    started = time.perf_counter()
    build_lists(source, out)
    built = time.perf_counter() - started
    index = ListIndex(out)
    rows = []
    for nprobe in (8, 32, 128):
        index.find(queries[:20], 10, nprobe=nprobe)
        seconds, hits = [], 0
        for number, query in enumerate(queries):
            started = time.perf_counter()
            _, found = index.find(query[None], 10, nprobe=nprobe)
            seconds.append(time.perf_counter() - started)
            hits += len(set(found[0].tolist()) & set(exact[number].tolist()))
        rows.append(
            {
                "nprobe": nprobe,
                "recall@10": round(hits / (10 * QUERIES), 4),
                "p50_ms": round(1000 * float(np.quantile(seconds, 0.5)), 2),
                "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 2),
            }
        )
    return {
        "vectors": count,
        "build_seconds": round(built, 1),
        "list_bytes_per_chunk": round(size(out, "merged") / count, 1),
        "vector_bytes_per_chunk": round(size(out, "vectors") / count, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "search": rows,
    }


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


def exact_ten(source: Path, queries: Vectors) -> NDArray[np.int64]:
    """The ten nearest of all vectors, a shard at a time."""
    from glot_rag.shards import chunk_shards
    from glot_rag.shards.format import read_columns

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


def model(measured: dict[str, Any]) -> str:
    """The table of docs/scale.md: hours of a core, storage and memory, from what was measured."""
    embedding, found = measured["embedding"][-1], measured["lists"]
    of_core = embedding["chunks_per_second"] / max(embedding["workers"], 1)
    on_disk = embedding["document_bytes_per_chunk"] + embedding["shard_bytes_per_chunk"]
    served = found["list_bytes_per_chunk"] + found["vector_bytes_per_chunk"]
    lines = [
        "| chunks | core hours of embedding | machines of 32 cores for a day | shards, TB | lists and vectors, TB "
        "| of them lists, GB |",
        "|---|---|---|---|---|---|",
    ]
    for chunks in (10**6, 10**8, 10**10):
        hours = chunks / of_core / 3600
        lines.append(
            f"| {chunks:,} | {hours:,.0f} | {hours / 32 / 24:,.2f} | {chunks * on_disk / 1e12:,.3f} | "
            f"{chunks * served / 1e12:,.3f} | {chunks * found['list_bytes_per_chunk'] / 1e9:,.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
