"""How fast texts become vectors: sentence-transformers and FastEmbed against glot-rag's backends, side by side.

    python benchmarks/encode.py [--text texts.jsonl.gz] --json encode.json

The texts are `--text` ("text" of each line), or else documentation of the standard library, and beside them long ones
of 2,000 words made of these. Every system (`encode_systems`) embeds the same texts with the same number of threads, in
rounds one after the other; the median round counts. The fraction of the peak is of what `matmul_peak` measures just
before. Cosines are to sentence-transformers for mean pooling and to the torch encoder in float32 for GLOT; over long
texts pruning reads all of the text, the others its first 256 tokens. Needs sentence-transformers.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from encode_systems import QUERY, System, Vectors, Worker, export_bundles, systems
from matmul_peak import encoder_operations, matmul_peak
from rich.console import Console
from rich.table import Table

LONG_WORDS = 2_000


def read(paths: list[Path] | None, count: int, long: int) -> tuple[list[str], list[str]]:
    """The texts, and long ones made of them by putting one after the other."""
    from glot_rag.evaluation import load_stdlib
    from glot_rag.training.texts import read_texts

    found = [each.text for each in read_texts(paths)] if paths else list(load_stdlib(None).documents.values())
    texts = found[:count]
    words = " ".join(found).split()
    starts = [(number * LONG_WORDS) % max(1, len(words) - LONG_WORDS) for number in range(long)]
    return texts, [" ".join(words[start : start + LONG_WORDS]) for start in starts]


def operations(texts: list[str]) -> tuple[int, float]:
    """Tokens of the texts, cut to what the backbone reads, and what its matrix products cost."""
    from glot_rag.backbone import Backbone

    backbone = Backbone.load("minilm", device="cpu", dtype="float32")
    lengths = list(map(len, backbone.tokenizer(texts)))
    config = backbone.model.config
    return sum(lengths), encoder_operations(
        lengths, config.num_hidden_layers, config.hidden_size, config.intermediate_size
    )


def measure(workers: dict[System, Worker], texts: list[str], long: list[str], rounds: int, queries: int) -> Any:
    """Seconds a round over both kinds of texts, milliseconds a query, and the texts' vectors, by system."""
    vectors: dict[str, Vectors] = {}
    for system, worker in workers.items():  # warms up, too
        vectors[system.name] = worker.encode(texts)[1]
    seconds: dict[System, tuple[list[float], list[float]]] = {system: ([], []) for system in workers}
    for _ in range(rounds):
        for system, worker in workers.items():
            for kind, some in zip(seconds[system], (texts, long), strict=True):
                kind.append(worker.encode(some)[0] if some else 0.0)
    latency: dict[System, list[float]] = {system: [] for system in workers}
    for _ in range(queries):
        for system, worker in workers.items():
            latency[system].append(1000 * worker.encode([QUERY], queries=True)[0])
    return seconds, latency, vectors


def show(results: list[dict[str, Any]], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    columns = ("", "texts/s", "tokens/s", "x stock", "of peak", "long/s", "query p50", "p99 ms", "start s", "MiB")
    for column in (*columns, "least cosine"):
        table.add_column(column, justify="left" if not column else "right")
    for row in results:
        table.add_row(
            row["system"],
            f"{row['documents_a_second']:.0f}",
            f"{row['tokens_a_second']:,.0f}",
            f"{row['times_stock']:.2f}",
            "" if row["of_peak"] is None else f"{row['of_peak']:.0%}",
            "" if row["long_documents_a_second"] is None else f"{row['long_documents_a_second']:.1f}",
            f"{row['query_p50_ms']:.1f}",
            f"{row['query_p99_ms']:.1f}",
            f"{row['startup_seconds']:.1f}",
            f"{row['peak_memory'] / 2**20:,.0f}",
            f"{row['min_cosine']:.5f}",
        )
    Console(width=max(140, Console().width)).print(table)


def main(
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Texts, the first ones.")] = 2000,
    long: Annotated[int, typer.Option(min=0, help=f"Texts of {LONG_WORDS} words.")] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    queries: Annotated[int, typer.Option(min=1, help="Single queries.")] = 200,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    only: Annotated[str, typer.Option(help="Systems whose name contains this; the stock model always.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    texts, long_texts = read(text, count, long)
    stock, *others = systems()
    chosen = [stock, *(each for each in others if only in each.name)]
    chosen += [each for each in others if each.name in {c.reference for c in chosen} and each not in chosen]
    tokens, cost = operations(texts)
    peaks = {kind: matmul_peak(kind, threads) for kind in sorted({each.computes_in for each in chosen})}
    with tempfile.TemporaryDirectory() as folder:
        export_bundles(Path(folder), chosen, texts=min(50, count))
        workers = {system: Worker(system, Path(folder), threads) for system in chosen}
        seconds, latency, vectors = measure(workers, texts, long_texts, rounds, queries)
        memory = {system: worker.end() for system, worker in workers.items()}
    results: list[dict[str, Any]] = []
    for system, worker in workers.items():
        median, long_median = (statistics.median(each) for each in seconds[system])
        pruned = system.pooling == "glot+prune"  # which runs the backbone over other tokens than those counted
        results.append(
            {
                "system": system.name,
                "documents_a_second": len(texts) / median,
                "tokens_a_second": tokens / median,
                "times_stock": statistics.median(seconds[stock][0]) / median,
                "of_peak": None if pruned else cost / median / peaks[system.computes_in],
                "long_documents_a_second": len(long_texts) / long_median if long_texts else None,
                "query_p50_ms": statistics.median(latency[system]),
                "query_p50_of_stock": statistics.median(latency[system]) / statistics.median(latency[stock]),
                "query_p99_ms": float(np.quantile(latency[system], 0.99)),
                "startup_seconds": worker.startup,
                "peak_memory": memory[system],
                "compared_with": system.reference,
                "min_cosine": float((vectors[system.name] * vectors[system.reference]).sum(axis=1).min()),
            }
        )
    show(results, f"{len(texts)} texts, {tokens:,} tokens, {threads} threads, {rounds} rounds")
    if json_file:
        settings = {
            "texts": [path.name for path in text] if text else "python-stdlib",
            "count": len(texts),
            "tokens": tokens,
            "long": len(long_texts),
            "threads": threads,
            "rounds": rounds,
            "matmul_peak": peaks,
            "machine": platform.machine(),
            "load_average": os.getloadavg()[0],
            "versions": {name: version(name) for name in ("torch", "onnxruntime", "sentence-transformers")},
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"settings": settings, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
