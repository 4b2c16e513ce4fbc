"""The index beside raw FAISS, in one run. `other_stores.py` has it beside other stores.

    python benchmarks/index.py --json benchmarks/results/index-100k.json
    python benchmarks/index.py --rows 1000000 --types flat,ivf --json benchmarks/results/index-1m.json

The vectors come from a seeded mixture of Gaussians; nothing is encoded. Raw FAISS gets the same vectors, the same
factory string and the same settings of a search, but fetches no documents: what is left is what durability, filters and
payloads cost. Timings of a pair alternate within one process. Peak memory is that of processes of their own, less what
they had with FAISS loaded; the keyword file, which is mapped, is in it.

Each figure is printed, and written to `--json`, as soon as it is measured. A million rows need about 10 GB of disk and
4 GB of memory.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from against_raw import against_raw
from index_data import SHARES, Figures, blocks, mixture, save, truth
from rich.console import Console
from rich.table import Table

from glot_rag.index.vectors.faiss_index import load_faiss


def prepare(data: Path, rows: int, dimension: int, queries: int) -> None:
    """Write the vectors, the queries, and the exact answers with and without filters."""
    save(data / "vectors", mixture(rows, dimension, seed=1))
    asked = np.concatenate(list(mixture(queries, dimension, seed=2)))
    np.save(data / "queries.npy", asked)
    np.save(data / "truth.npy", truth(blocks(data / "vectors", dimension, rows), asked))
    for share in SHARES.values():
        np.save(data / f"truth-{share}.npy", truth(blocks(data / "vectors", dimension, rows), asked[:50], share))


def rounded(figures: object) -> object:
    """To three places, for a line."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    return round(figures, 3) if isinstance(figures, float) else figures


def main(
    rows: Annotated[int, typer.Option(min=1_000, help="Vectors against raw FAISS.")] = 100_000,
    dimension: Annotated[int, typer.Option(min=2)] = 384,
    queries: Annotated[int, typer.Option(min=50, help="Of one batch.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Of batches and openings; the median counts.")] = 3,
    types: Annotated[str, typer.Option(help="Comma-separated index types; empty: none.")] = "flat,hnsw,ivf",
    scratch: Annotated[Path | None, typer.Option(help="Directory for the data; temporary if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    console, faiss = Console(soft_wrap=True), load_faiss()
    raw: dict[str, Figures] = {}
    settings = {
        "rows": rows,
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
            report = {"settings": settings, "against_raw_faiss": raw}
            json_file.write_text(json.dumps(report, indent=2) + "\n")

    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        data = Path(name) / "data"
        data.mkdir()
        console.print(f"{rows:,} vectors of {dimension}, and the exact answers", style="dim")
        prepare(data, rows, dimension, queries)
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
    if raw:
        console.print(table_of_types(raw))


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


if __name__ == "__main__":
    typer.run(main)
