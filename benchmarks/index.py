"""The index beside raw FAISS, and beside other vector stores, in one run.

    python benchmarks/index.py --json benchmarks/results/index.json
    python benchmarks/index.py --rows 1000000 --compare-rows 100000  # the full sizes

The vectors come from a seeded mixture of Gaussians; nothing is encoded. Raw FAISS gets the same vectors, the same
factory string and the same settings of a search, but fetches no documents: what is left is what durability, filters and
payloads cost. Timings of a pair alternate within one process. Peak memory is that of processes of their own, less what
they had with FAISS loaded. Other stores (LangChain's InMemoryVectorStore, Chroma, LanceDB) run on `--compare-rows`; one
that is not installed is skipped and named: pip install chromadb lancedb.

Each figure is printed, and written to `--json`, as soon as it is measured. A million rows need about 10 GB of disk and
4 GB of memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from against_raw import against_raw
from index_data import (
    SHARES,
    Figures,
    Given,
    K,
    alone,
    blocks,
    clocked,
    document,
    mixture,
    peak_mib,
    percentiles,
    recall,
    save,
    truth,
)
from other_stores import Chroma, Glot, InMemory, LanceDb, LanceDbLists, VectorStore, batches
from rich.console import Console
from rich.table import Table

from glot_rag.index import index_types
from glot_rag.index.vectors.faiss_index import load_faiss

SLOW = 10  # queries asked of a store that turns its lists into an array in each search
ASKED = 200


def others(dimension: int, rows: int) -> Iterator[tuple[str, str | None, Callable[[Path], VectorStore]]]:
    """Name, the package it needs beyond this library's own, and how it is made."""
    lists = int(index_types.plan("ivf", dimension, rows).factory[3:].split(",")[0])
    for index_type in ("flat", "hnsw", "ivf"):
        yield f"glot-rag {index_type}", None, lambda path, made=index_type: Glot(path, Given(dimension), made)  # type: ignore[misc]
    yield "InMemoryVectorStore", None, lambda path: InMemory(path, dimension)
    yield "Chroma hnsw", "chromadb", lambda path: Chroma(path, dimension)
    yield "LanceDB exact", "lancedb", lambda path: LanceDb(path, dimension)
    yield "LanceDB ivf", "lancedb", lambda path: LanceDbLists(path, dimension, lists)


def measure_other(folder: Path, rows: int, dimension: int, name: str) -> Figures:
    """Build, latency with payloads and recall of one store."""
    queries, expected = np.load(folder / "queries.npy"), np.load(folder / "truth-compared.npy")
    store = next(make for known, _, make in others(dimension, rows) if known == name)(folder / name.replace(" ", "-"))
    before = peak_mib()

    def build() -> None:
        for start, part in blocks(folder / "vectors", dimension, rows):
            documents = [document(start + number) for number in range(len(part))]
            for some in batches(documents, part):
                store.add(*some)
        store.finish()

    seconds = clocked(build)
    asked = queries[: SLOW if name == "InMemoryVectorStore" else ASKED]
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


def prepare(data: Path, rows: int, compare_rows: int, dimension: int, queries: int) -> None:
    """Write the vectors, the queries, and the exact answers with and without filters."""
    save(data / "vectors", mixture(rows, dimension, seed=1))
    asked = np.concatenate(list(mixture(queries, dimension, seed=2)))
    np.save(data / "queries.npy", asked)
    np.save(data / "truth.npy", truth(blocks(data / "vectors", dimension, rows), asked))
    np.save(data / "truth-compared.npy", truth(blocks(data / "vectors", dimension, compare_rows), asked[:ASKED]))
    for share in SHARES.values():
        np.save(data / f"truth-{share}.npy", truth(blocks(data / "vectors", dimension, rows), asked[:50], share))


def rounded(figures: object) -> object:
    """To three places, for a line."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    return round(figures, 3) if isinstance(figures, float) else figures


def main(
    rows: Annotated[int, typer.Option(min=1_000, help="Vectors against raw FAISS.")] = 100_000,
    compare_rows: Annotated[int, typer.Option(min=0, help="Vectors against other stores; 0: none.")] = 20_000,
    dimension: Annotated[int, typer.Option(min=2)] = 384,
    queries: Annotated[int, typer.Option(min=50, help="Of one batch.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Of batches and openings; the median counts.")] = 3,
    types: Annotated[str, typer.Option(help="Comma-separated index types; empty: none.")] = "flat,hnsw,ivf",
    scratch: Annotated[Path | None, typer.Option(help="Directory for the data; temporary if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    console, faiss = Console(soft_wrap=True), load_faiss()
    compare_rows = min(rows, max(compare_rows, 1_000) if compare_rows else 0)
    raw: dict[str, Figures] = {}
    stores: Figures = {}
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

    def note(name: str, what: str, figures: Figures) -> None:
        console.print(f"{name}, {what}: {json.dumps(rounded(figures))}", highlight=False)
        if json_file:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            report = {"settings": settings, "against_raw_faiss": raw, "against_other_stores": stores}
            json_file.write_text(json.dumps(report, indent=2) + "\n")

    with tempfile.TemporaryDirectory(dir=scratch) as name:
        data = Path(name) / "data"
        data.mkdir()
        console.print(f"{rows:,} vectors of {dimension}, and the exact answers", style="dim")
        prepare(data, rows, compare_rows, dimension, queries)
        for index_type in filter(None, types.split(",")):
            folder = Path(name) / index_type
            folder.mkdir()
            for file in data.iterdir():
                os.link(file, folder / file.name)
            raw[index_type] = {}
            for what, figures in against_raw(folder, index_type, rows, dimension, rounds):
                raw[index_type][what] = figures
                note(index_type, what, figures)
            for file in (folder / "raw.faiss", folder / "glot" / "store.sqlite"):
                file.unlink()  # the disk is for the next type
        for store, package, _ in others(dimension, compare_rows) if compare_rows else ():
            if package is not None and importlib.util.find_spec(package) is None:
                stores[store] = {"skipped": f"{package} is not installed"}
            else:
                stores[store] = alone(measure_other, data, compare_rows, dimension, store)
            note(store, f"{compare_rows:,} rows", stores[store])
    if raw:
        console.print(table_of_types(raw))
    if stores:
        console.print(table_of_stores(stores, compare_rows))


def table_of_types(raw: dict[str, Figures]) -> Table:
    """A column an index type."""
    table = Table(title="GlotIndex beside raw FAISS, which fetches no documents")
    for column in ("", *raw):
        table.add_column(column, justify="right" if column else "left")
    lines: dict[str, Callable[[Figures], str]] = {
        "build, times raw": lambda r: f"{r['build']['of_raw']:.2f}",
        "query p50, raw ms": lambda r: f"{r['search']['single']['raw']['p50_ms']:.2f}",
        "query p50, glot ms": lambda r: f"{r['search']['single']['glot']['p50_ms']:.2f}",
        "query p99, glot ms": lambda r: f"{r['search']['single']['glot']['p99_ms']:.2f}",
        "overhead p50 ms": lambda r: f"{r['search']['single_overhead_p50_ms']:.2f}",
        "batch, share of raw": lambda r: f"{r['search']['batch_of_raw']:.2f}",
        "recall@10": lambda r: f"{r['search']['recall_at_10']['glot']:.3f}",
        "keywords, p50 ms": lambda r: f"{r['words']['keyword']['p50_ms']:.2f}",
        "hybrid, p50 ms": lambda r: f"{r['words']['hybrid']['p50_ms']:.2f}",
        "open, raw s": lambda r: f"{r['open_s']['raw']:.2f}",
        "open, s": lambda r: f"{r['open_s']['glot']:.2f}",
        "open, mapped, s": lambda r: f"{r['open_s']['mapped']:.2f}",
        "open, every checksum, s": lambda r: f"{r['open_s']['checked']:.2f}",
        "peak memory, of raw": lambda r: f"{r['peak_mib']['of_raw']:.2f}" if "of_raw" in r["peak_mib"] else "?",
        **{
            f"filter {name}: p50 ms, recall": lambda r, name=name: (  # type: ignore[misc]
                f"{r['filtered'][name]['glot']['p50_ms']:.2f}, {r['filtered'][name]['recall_at_10']['glot']:.3f}"
            )
            for name in SHARES
        },
    }
    for label, cell in lines.items():
        table.add_row(label, *(cell(result) for result in raw.values()))
    return table


def table_of_stores(stores: Figures, rows: int) -> Table:
    """A row a store."""
    table = Table(title=f"Other stores, {rows:,} rows, a query with {K} payloads")
    for column in ("", "build s", "p50 ms", "p99 ms", "recall@10", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in stores.items():
        if "skipped" in found:
            table.add_row(name, found["skipped"])
            continue
        peak = "?" if found["peak_mib"] is None else f"{found['peak_mib']:,.0f}"
        cells = [f"{found[key]:.2f}" for key in ("build_s", "p50_ms", "p99_ms")]
        table.add_row(name, *cells, f"{found['recall_at_10']:.3f}", peak)
    return table


if __name__ == "__main__":
    typer.run(main)
