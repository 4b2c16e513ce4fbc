"""The index beside raw FAISS, and beside other vector stores, in one run.

    python benchmarks/index.py --rows 1000000 --json index.json

The vectors come from a seeded mixture of Gaussians; nothing is encoded. Raw FAISS gets the same vectors, the same
factory string and the same settings of a search, but fetches no documents: what is left is what durability, filters and
payloads cost. Timings of a pair alternate within one process. Peak memory is that of processes of their own, which open
the finished file and search, less what they had before. Other stores (LangChain's InMemoryVectorStore, Chroma,
LanceDB) run on `--compare-rows`; one that is not installed is skipped and named. Needs about 10 GB of disk at a million
rows.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from other_stores import Chroma, Glot, InMemory, LanceDb, LanceDbLists, VectorStore, batches
from rich.console import Console
from rich.table import Table

from glot_rag.index import Document, GlotIndex, index_types
from glot_rag.index.lazy_faiss import load_faiss

Vectors = NDArray[np.float32]
Figures = dict[str, Any]
faiss = load_faiss()
K = 10
CLUSTERS = 1_000
SPREAD = 0.8  # length of the noise around a centre, which has length 1
SHARES = {"50%": 5_000, "1%": 100, "0.01%": 1}  # of 10,000
FILLER = "what a passage of some two hundred characters says about its subject, its cause and its use; " * 2


class Given:
    """Stands for an encoder where all vectors are given."""

    fingerprint = "benchmark"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Not called."""
        raise NotImplementedError

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Not called."""
        raise NotImplementedError


def mixture(rows: int, dimension: int, seed: int, centres_seed: int = 0) -> Vectors:
    """(rows, D) unit vectors around centres that all seeds share."""
    centres = np.random.default_rng(centres_seed).standard_normal((CLUSTERS, dimension), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    generator = np.random.default_rng(seed)
    made = np.empty((rows, dimension), np.float32)
    for start in range(0, rows, 50_000):
        part = made[start : start + 50_000]
        part[:] = generator.standard_normal(part.shape, dtype=np.float32) * np.float32(SPREAD / dimension**0.5)
        part += centres[generator.integers(0, CLUSTERS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def document(number: int) -> Document:
    """Payload number so and so. Its share is spread over 0 … 9,999."""
    return Document(f"passage {number}: {FILLER}", f"d{number}", {"share": number * 7919 % 10_000, "lang": "en"})


def truth(vectors: Vectors, queries: Vectors, keep: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """(Q, K) row numbers of the nearest, exactly; -1 where fewer are kept."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    rows = np.arange(len(vectors)) if keep is None else np.flatnonzero(keep)
    flat.add(vectors[rows])
    found = flat.search(queries, K)[1]
    return np.where(found < 0, -1, rows[found])


def recall(found: list[set[int]], expected: NDArray[np.int64]) -> float:
    """Mean share of the nearest that were found."""
    return float(
        np.mean(
            [
                len(some & set(row.tolist())) / len(set(row.tolist()) - {-1})
                for some, row in zip(found, expected, strict=True)
            ]
        )
    )


def percentiles(seconds: list[float]) -> Figures:
    """Of single calls, in milliseconds."""
    return {"p50_ms": 1000 * float(np.median(seconds)), "p99_ms": 1000 * float(np.quantile(seconds, 0.99))}


def clocked(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternated(calls: dict[str, Callable[[int], object]], numbers: range) -> dict[str, list[float]]:
    """Seconds of each call with each number, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in numbers:
        for name, call in calls.items():
            seconds[name].append(clocked(lambda call=call, number=number: call(number)))  # type: ignore[misc]
    return seconds


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Run in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mib() -> float | None:
    """Most memory that this process has had, where the system says."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


# -- against raw FAISS, one type at a time


def build_raw(folder: Path, factory: str) -> float:
    """Seconds of training, adding and writing with FAISS alone."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")

    def build() -> None:
        index = index_types.make(factory, vectors.shape[1])
        if not index.is_trained:
            size = min(len(vectors), index_types.rows_to_sample(factory, index))
            sample = np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))
            index.train(np.ascontiguousarray(vectors[sample]))
        for start in range(0, len(vectors), 10_000):
            index.add(np.ascontiguousarray(vectors[start : start + 10_000]))
        faiss.write_index(index, str(folder / "raw.faiss"))

    return clocked(build)


def build_glot(folder: Path, index_type: str) -> float:
    """Seconds from an empty directory to a closed index."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")

    def build() -> None:
        with GlotIndex.create(folder / "glot", Given(vectors.shape[1]), index_type) as index:
            for start in range(0, len(vectors), 10_000):
                part = np.ascontiguousarray(vectors[start : start + 10_000])
                index.add_vectors([document(start + i) for i in range(len(part))], part)

    return clocked(build)


def raw_parameters(index: Any, selector: Any = None) -> Any:
    """The settings that a search of `GlotIndex` has by default."""
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, max(8, index.nlist // 32)))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=128)
    return faiss.SearchParameters(sel=selector)


def serve(folder: Path, rounds: int) -> Figures:
    """Open and search both, in turns."""
    queries = np.load(folder / "queries.npy")
    expected = np.load(folder / "truth.npy")
    opening = alternated(
        {
            "raw": lambda _: faiss.read_index(str(folder / "raw.faiss")),
            "checked": lambda _: GlotIndex.open(folder / "glot", read_only=True).close(),
            "unchecked": lambda _: first_search(folder, queries),
        },
        range(rounds),
    )
    raw = faiss.read_index(str(folder / "raw.faiss"))
    parameters = raw_parameters(raw)
    with GlotIndex.open(folder / "glot", read_only=True) as index:
        single = alternated(
            {
                "raw": lambda i: raw.search(queries[i : i + 1], K, params=parameters),
                "glot": lambda i: index.search_vectors(queries[i : i + 1], K),
            },
            range(min(len(queries), 300)),
        )
        batch = alternated(
            {
                "raw": lambda _: raw.search(queries, K, params=parameters),
                "glot": lambda _: index.search_vectors(queries, K),
            },
            range(rounds),
        )
        found = [{int(hit.id[1:]) for hit in hits} for hits in index.search_vectors(queries, K)]
        found_raw = [set(row.tolist()) for row in raw.search(queries, K, params=parameters)[1]]
        filtered = {name: with_filter(folder, name, raw, index, queries) for name in SHARES}
    raw_single, glot_single = percentiles(single["raw"]), percentiles(single["glot"])
    return {
        "open_s": {name: float(np.median(values)) for name, values in opening.items()},
        "single": {"raw": raw_single, "glot": glot_single},
        "single_overhead_p50_ms": glot_single["p50_ms"] - raw_single["p50_ms"],
        "batch_queries_a_second": {name: len(queries) / float(np.median(values)) for name, values in batch.items()},
        "batch_of_raw": float(np.median(batch["raw"]) / np.median(batch["glot"])),
        "recall_at_10": {"raw": recall(found_raw, expected), "glot": recall(found, expected)},
        "filtered": filtered,
    }


def first_search(folder: Path, queries: Vectors) -> None:
    """Open without walking the checksums, and search once."""
    with GlotIndex.open(folder / "glot", read_only=True, check=False) as index:
        index.search_vectors(queries[:1], K)


def with_filter(folder: Path, name: str, raw: Any, index: GlotIndex, queries: Vectors) -> Figures:
    """Latency and recall with a filter; raw FAISS gets its row numbers for nothing."""
    expected = np.load(folder / f"truth-{SHARES[name]}.npy")
    rows = np.arange(raw.ntotal) * 7919 % 10_000 < SHARES[name]
    bits = np.packbits(rows, bitorder="little")
    parameters = raw_parameters(raw, faiss.IDSelectorBitmap(bits))
    filter = {"share": {"$lt": SHARES[name]}}
    number = range(min(len(queries), 50))
    seconds = alternated(
        {
            "raw": lambda i: raw.search(queries[i : i + 1], K, params=parameters),
            "glot": lambda i: index.search_vectors(queries[i : i + 1], K, filter),
        },
        number,
    )
    found = [{int(hit.id[1:]) for hit in hits} for hits in index.search_vectors(queries[: len(number)], K, filter)]
    found_raw = [set(row.tolist()) - {-1} for row in raw.search(queries[: len(number)], K, params=parameters)[1]]
    return {
        "documents": int(rows.sum()),
        **{name: percentiles(values) for name, values in seconds.items()},
        "recall_at_10": {"raw": recall(found_raw, expected), "glot": recall(found, expected)},
    }


def memory(folder: Path, which: str) -> float | None:
    """MiB that opening and searching take at most."""
    before = peak_mib()
    queries = np.load(folder / "queries.npy")
    if which == "raw":
        raw = faiss.read_index(str(folder / "raw.faiss"))
        for query in queries[:50]:
            raw.search(query[None], K)
    else:
        with GlotIndex.open(folder / "glot", read_only=True) as index:
            for query in queries[:50]:
                index.search_vectors(query[None], K)
    after = peak_mib()
    return None if before is None or after is None else after - before


def against_raw(folder: Path, index_type: str, rows: int, dimension: int, rounds: int) -> Figures:
    """All figures of one type."""
    factory = index_types.plan(index_type, dimension, rows).factory
    build = {"raw": alone(build_raw, folder, factory), "glot": alone(build_glot, folder, index_type)}
    figures = {"factory": factory, "build_s": build, "build_of_raw": build["glot"] / build["raw"]}
    figures |= alone(serve, folder, rounds)
    peaks = {which: alone(memory, folder, which) for which in ("raw", "glot")}
    figures["peak_mib"] = peaks
    if all(peaks.values()):
        figures["peak_of_raw"] = peaks["glot"] / peaks["raw"]
    size = sum(file.stat().st_size for file in (folder / "glot").iterdir())
    figures["disk_mib"] = {"raw": (folder / "raw.faiss").stat().st_size / 2**20, "glot": size / 2**20}
    return figures


# -- against other stores


def others(dimension: int, rows: int) -> Iterator[tuple[str, str | None, Callable[[Path], VectorStore]]]:
    """Name, the package it needs beyond this library's own, and how it is made."""
    lists = int(index_types.plan("ivf", dimension, rows).factory[3:].split(",")[0]) if rows >= 1_000 else 1
    for index_type in ("flat", "hnsw", "ivf"):
        yield f"glot-rag {index_type}", None, lambda path, made=index_type: Glot(path, Given(dimension), made)  # type: ignore[misc]
    yield "InMemoryVectorStore", None, lambda path: InMemory(path, dimension)
    yield "Chroma hnsw", "chromadb", lambda path: Chroma(path, dimension)
    yield "LanceDB exact", "lancedb", lambda path: LanceDb(path, dimension)
    yield "LanceDB ivf", "lancedb", lambda path: LanceDbLists(path, dimension, lists)


def measure_other(folder: Path, rows: int, name: str) -> Figures:
    """Build, latency with payloads and recall of one store."""
    before = peak_mib()
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[:rows]
    queries, expected = np.load(folder / "queries.npy"), np.load(folder / "truth-compared.npy")
    make = next(make for known, _, make in others(vectors.shape[1], rows) if known == name)
    documents = [document(number) for number in range(rows)]
    path = folder / name.replace(" ", "-")
    store = make(path)

    def build() -> None:
        for part in batches(documents, vectors):
            store.add(*part)
        store.finish()

    seconds = clocked(build)
    number = 20 if name == "InMemoryVectorStore" else 200  # it turns its lists into an array in each search
    asked = queries[: min(number, len(queries))]
    store.search(asked[0], K)
    found: list[list[str]] = []
    single = [clocked(lambda query=query: found.append(store.search(query, K))) for query in asked]  # type: ignore[misc]
    numbers = [{int(text.split(":")[0].removeprefix("passage ")) for text in texts} for texts in found]
    after = peak_mib()
    return {
        "build_s": seconds,
        **percentiles(single),
        "recall_at_10": recall(numbers, expected[: len(asked)]),
        "peak_mib": None if before is None or after is None else after - before,
    }


def compared(folder: Path, dimension: int, rows: int, console: Console) -> Figures:
    """All stores that are there."""
    figures: Figures = {}
    for name, package, _ in others(dimension, rows):
        if package is not None and importlib.util.find_spec(package) is None:
            console.print(f"skipped {name}: {package} is not installed", style="yellow")
            figures[name] = {"skipped": f"{package} is not installed"}
            continue
        console.print(f"{name}, {rows:,} rows", style="dim")
        figures[name] = alone(measure_other, folder, rows, name)
    return figures


def main(
    rows: Annotated[int, typer.Option(min=1_000, help="Vectors against raw FAISS.")] = 1_000_000,
    compare_rows: Annotated[int, typer.Option(min=1_000, help="Vectors against other stores.")] = 100_000,
    dimension: Annotated[int, typer.Option(min=2)] = 384,
    queries: Annotated[int, typer.Option(min=20, help="Of one batch.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Of batches and openings; the median counts.")] = 3,
    types: Annotated[str, typer.Option(help="Comma-separated index types.")] = "flat,hnsw,ivf",
    scratch: Annotated[Path | None, typer.Option(help="Directory for the data; temporary if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    console, compare_rows = Console(), min(rows, compare_rows)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        data = Path(name) / "data"
        data.mkdir()
        vectors, asked = mixture(rows, dimension, seed=1), mixture(queries, dimension, seed=2)
        np.save(data / "vectors.npy", vectors)
        np.save(data / "queries.npy", asked)
        np.save(data / "truth.npy", truth(vectors, asked))
        np.save(data / "truth-compared.npy", truth(vectors[:compare_rows], asked))
        for share in SHARES.values():
            kept = np.arange(rows) * 7919 % 10_000 < share
            np.save(data / f"truth-{share}.npy", truth(vectors, asked[:50], kept))
        del vectors
        results: Figures = {}
        for index_type in types.split(","):
            folder = Path(name) / index_type.replace(",", "-")
            folder.mkdir()
            for file in data.iterdir():
                os.link(file, folder / file.name)
            console.print(f"{index_type}, {rows:,} rows", style="dim")
            results[index_type] = against_raw(folder, index_type, rows, dimension, rounds)
        others_found = compared(data, dimension, compare_rows, console)
    show(console, results, others_found, compare_rows)
    if json_file:
        settings = {
            "rows": rows,
            "compare_rows": compare_rows,
            "dimension": dimension,
            "queries": queries,
            "rounds": rounds,
            "threads": faiss.omp_get_max_threads(),
            "machine": platform.machine(),
            "faiss": faiss.__version__,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        report = {"settings": settings, "against_raw_faiss": results, "against_other_stores": others_found}
        json_file.write_text(json.dumps(report, indent=2) + "\n")


def show(console: Console, results: Figures, others_found: Figures, compare_rows: int) -> None:
    """Two tables."""
    table = Table(title="GlotIndex beside raw FAISS, which fetches no documents")
    for column in ("", *results):
        table.add_column(column, justify="right" if column else "left")
    lines: dict[str, Callable[[Figures], str]] = {
        "build, times raw": lambda r: f"{r['build_of_raw']:.2f}",
        "query p50, raw ms": lambda r: f"{r['single']['raw']['p50_ms']:.2f}",
        "query p50, glot ms": lambda r: f"{r['single']['glot']['p50_ms']:.2f}",
        "query p99, glot ms": lambda r: f"{r['single']['glot']['p99_ms']:.2f}",
        "overhead p50 ms": lambda r: f"{r['single_overhead_p50_ms']:.2f}",
        "batch, share of raw": lambda r: f"{r['batch_of_raw']:.2f}",
        "recall@10": lambda r: f"{r['recall_at_10']['glot']:.3f}",
        "open, checksums walked, s": lambda r: f"{r['open_s']['checked']:.2f}",
        "open to first hit, s": lambda r: f"{r['open_s']['unchecked']:.2f}",
        "peak memory, of raw": lambda r: f"{r['peak_of_raw']:.2f}" if "peak_of_raw" in r else "?",
        **{
            f"filter {name}: p50 ms, recall": lambda r, name=name: (  # type: ignore[misc]
                f"{r['filtered'][name]['glot']['p50_ms']:.2f}, {r['filtered'][name]['recall_at_10']['glot']:.3f}"
            )
            for name in SHARES
        },
    }
    for label, cell in lines.items():
        table.add_row(label, *(cell(result) for result in results.values()))
    console.print(table)
    table = Table(title=f"Other stores, {compare_rows:,} rows, a query with {K} payloads")
    for column in ("", "build s", "p50 ms", "p99 ms", "recall@10", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in others_found.items():
        if "skipped" in found:
            table.add_row(name, found["skipped"])
            continue
        peak = "?" if found["peak_mib"] is None else f"{found['peak_mib']:,.0f}"
        cells = [f"{found[key]:.2f}" for key in ("build_s", "p50_ms", "p99_ms")]
        table.add_row(name, *cells, f"{found['recall_at_10']:.3f}", peak)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
