"""How fast texts become vectors: sentence-transformers and FastEmbed against glot-rag's backends, side by side.

    python benchmarks/encode.py --json benchmarks/results/encode.json
    python benchmarks/encode.py --text texts.jsonl.gz --count 2000 --long 200 --queries 200 --json encode.json
    python benchmarks/encode.py --only bfloat16 --rounds 1        a look: the stock model and what is called so
    python benchmarks/encode.py --defaults --rounds 1             a look: every tool as it comes

The texts are `--text` ("text" of each line), or else documentation of the standard library, and beside them long ones
of 2,000 words made of these, and the same texts with as many words of noise in them. Every system (`encode_systems`)
embeds the same texts with the same number of threads, in rounds one after the other. A line comes as soon as a system
has had its turn; what counts is the median over the rounds of its ratio to the stock model in the same round. The
fraction of the peak is of what `matmul_peak` measures just before, and counts one run of the backbone over the whole
texts, which is less than the drop form does. Cosines are to sentence-transformers for mean pooling and to the torch
encoder in float32 for GLOT; over long texts pruning reads all of the text, the others its first 256 tokens. torch and
OpenVINO choose between float32 and bfloat16 by measuring; both are compared, and the one that is taken here is marked.
Needs sentence-transformers.

The exported bundles, which take longer than the measuring, are kept in `--bundles` for the next time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from encode_systems import CHOOSING, QUERY, STOCK, System, Vectors, Worker, choices, export_bundles, systems
from matmul_peak import encoder_operations, matmul_peak
from rich.console import Console
from rich.table import Table

from glot_rag.progress import bar

LONG_WORDS = 2_000
NOISE = "words:0.5"


@dataclass
class Measured:
    """What the rounds gave for one system.

    Attributes:
        worker: the process that it runs in.
        seconds: over the texts, a round each.
        noisy: over the texts with noise.
        long: over the long texts.
        queries: milliseconds of each single query, a list a round.
        vectors: of the texts.
    """

    worker: Worker
    seconds: list[float] = field(default_factory=list)
    noisy: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)
    queries: list[list[float]] = field(default_factory=list)
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def turn(self, texts: list[str], noisy: list[str], long: list[str], queries: int) -> None:
        """Measure once more."""
        seconds, self.vectors = self.worker.encode(texts)
        self.seconds.append(seconds)
        self.noisy.append(self.worker.encode(noisy)[0])
        self.long.append(self.worker.encode(long)[0] if long else 0.0)
        self.queries.append([1000 * self.worker.encode([QUERY], queries=True)[0] for _ in range(queries)])


def read(paths: list[Path] | None, count: int, long: int) -> tuple[list[str], list[str]]:
    """The texts, and long ones made of them by putting one after the other."""
    from glot_rag.evaluation import load_stdlib
    from glot_rag.training.texts import read_texts

    found = [each.text for each in read_texts(paths)] if paths else list(load_stdlib(None).documents.values())
    texts = found[:: max(1, len(found) // count)][:count]  # from all over: neighbours are alike
    words = " ".join(found).split()
    starts = [(number * LONG_WORDS) % max(1, len(words) - LONG_WORDS) for number in range(long)]
    return texts, [" ".join(words[start : start + LONG_WORDS]) for start in starts]


def operations(texts: list[str]) -> tuple[int, float]:
    """Tokens of the texts, cut to what the backbone reads, and what its matrix products cost."""
    from glot_rag.models.backbone import Backbone

    backbone = Backbone.load("minilm", device="cpu", dtype="float32")
    lengths = list(map(len, backbone.tokenizer(texts)))
    config = backbone.model.config
    return sum(lengths), encoder_operations(
        lengths, config.num_hidden_layers, config.hidden_size, config.intermediate_size
    )


def ratio(one: list[float], other: list[float]) -> float:
    """The median over the rounds of one by the other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def row(
    system: System,
    all_measured: dict[str, Measured],
    texts: int,
    tokens: int,
    long: int,
    of_peak: float,
    chosen: str | None,
) -> dict[str, Any]:
    """A system's figures after some rounds.

    Args:
        system: whose.
        all_measured: by name; the stock model's and the reference's are there.
        texts: how many.
        tokens: in them.
        long: how many long ones.
        of_peak: seconds that the backbone's matrix products would take at the machine's peak.
        chosen: the precision that its tool takes by itself here; None for one that does not choose.
    """
    ours, stock = all_measured[system.name], all_measured[f"{STOCK} float32, mean"]
    seconds, memory = statistics.median(ours.seconds), ours.worker.peak_memory()
    p50 = [statistics.median(each) for each in ours.queries]
    vectors, reference = ours.vectors, all_measured[system.reference].vectors
    means = [each for each in all_measured.values() if each.worker.system.is_mean_of(system)]
    mean = max(means, key=lambda each: each.worker.system.precision == system.precision, default=None)
    return {
        "system": system.name,
        "by_default": None if chosen is None else chosen == system.precision,
        "documents_a_second": texts / seconds,
        "tokens_a_second": tokens / seconds,
        "times_stock": ratio(stock.seconds, ours.seconds),
        "seconds_of_mean": None if mean is None else ratio(ours.seconds, mean.seconds),
        "noisy_seconds_of_mean": None if mean is None else ratio(ours.noisy, mean.noisy),
        # Pruning runs the backbone over other tokens than those counted.
        "of_peak": None if system.pooling == "glot+denoise" else of_peak / seconds,
        "long_documents_a_second": long / statistics.median(ours.long) if long else None,
        "query_p50_ms": statistics.median(p50),
        "query_p50_of_stock": ratio(p50, [statistics.median(each) for each in stock.queries]),
        "query_p99_ms": float(np.quantile(np.concatenate(ours.queries), 0.99)),
        "startup_seconds": ours.worker.startup,
        "peak_memory": memory,
        "peak_memory_of_stock": memory / stock.worker.peak_memory(),
        "compared_with": system.reference,
        "min_cosine": float((vectors * reference).sum(axis=1).min()),
    }


def show(results: list[dict[str, Any]], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    columns = (
        "",
        "texts/s",
        "tokens/s",
        "x stock",
        "of mean",
        "noisy",
        "of peak",
        "long/s",
        "query p50",
        "x stock",
        "p99 ms",
        "start s",
    )
    for column in (*columns, "MiB", "x stock", "least cosine"):
        table.add_column(column, justify="left" if not column else "right")
    for row in results:
        table.add_row(
            row["system"] + " *" * bool(row["by_default"]),
            f"{row['documents_a_second']:.0f}",
            f"{row['tokens_a_second']:,.0f}",
            f"{row['times_stock']:.2f}",
            *("" if row[key] is None else f"{row[key]:.2f}" for key in ("seconds_of_mean", "noisy_seconds_of_mean")),
            "" if row["of_peak"] is None else f"{row['of_peak']:.0%}",
            "" if row["long_documents_a_second"] is None else f"{row['long_documents_a_second']:.1f}",
            f"{row['query_p50_ms']:.1f}",
            f"{row['query_p50_of_stock']:.2f}",
            f"{row['query_p99_ms']:.1f}",
            f"{row['startup_seconds']:.1f}",
            f"{row['peak_memory'] / 2**20:,.0f}",
            f"{row['peak_memory_of_stock']:.2f}",
            f"{row['min_cosine']:.5f}",
        )
    Console(width=max(150, Console().width)).print(table)


def main(
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Texts, from all over the file.")] = 100,
    long: Annotated[int, typer.Option(min=0, help=f"Texts of {LONG_WORDS} words.")] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    queries: Annotated[int, typer.Option(min=1, help="Single queries a round.")] = 20,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    only: Annotated[str, typer.Option(help="Systems whose name contains this; the stock model always.")] = "",
    defaults: Annotated[bool, typer.Option("--defaults", help="Every tool only in its own precision.")] = False,
    bundles: Annotated[Path, typer.Option(help="Exported bundles: those there are used, others written.")] = Path(
        "runs/bundles"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, after every round.")] = None,
) -> None:
    """Measure and print."""
    from glot_rag.evaluation import NoiseSpec, corrupt

    stock, *others = systems()
    chosen = [stock, *(each for each in others if only in each.name)]
    if defaults:  # of those that choose, both until it is known what
        chosen = [each for each in chosen if each.precision == "float32" or each.tool in CHOOSING]
    with bar() as progress:
        setting_up = progress.add_task("bundles", total=None)
        export_bundles(bundles, chosen, lambda name: progress.update(setting_up, description=f"bundle {name}"))
        by_default = choices(bundles, chosen)
        if defaults:
            chosen = [each for each in chosen if each.precision == by_default.get(each.choice, "float32")]
        chosen += [each for each in others if each.name in {c.reference for c in chosen} and each not in chosen]
        progress.update(setting_up, description="texts and the machine's peak", total=len(chosen) + 1)
        texts, long_texts = read(text, count, long)
        noisy = [each.text for each in corrupt(texts, NoiseSpec.parse(NOISE), seed=0)]
        tokens, cost = operations(texts)
        peaks = {kind: matmul_peak(kind, threads, 0.5) for kind in sorted({each.computes_in for each in chosen})}
        settings = {
            "texts": [path.name for path in text] if text else "python-stdlib",
            "count": len(texts),
            "tokens": tokens,
            "noise": NOISE,
            "long": len(long_texts),
            "threads": threads,
            "rounds": rounds,
            "matmul_peak": peaks,
            "by_default": by_default,
            "machine": platform.machine(),
            "load_average": os.getloadavg()[0],
            "versions": {name: version(name) for name in ("torch", "onnxruntime", "sentence-transformers")},
        }
        measured: dict[str, Measured] = {}
        for system in chosen:
            progress.advance(setting_up)
            progress.update(setting_up, description=f"start {system.name}")
            measured[system.name] = Measured(Worker(system, bundles, threads))
        progress.remove_task(setting_up)
        measuring = progress.add_task("", total=rounds * len(chosen))
        for number in range(rounds):
            for system in chosen:
                progress.update(measuring, description=f"round {number + 1}: {system.name}")
                ours = measured[system.name]
                ours.turn(texts, noisy, long_texts, queries)
                progress.advance(measuring)
                print(
                    f"round {number + 1}/{rounds}  {system.name:36}{tokens / ours.seconds[-1]:8,.0f} tokens/s "
                    f"{measured[stock.name].seconds[-1] / ours.seconds[-1]:6.2f} x stock"
                    f"{statistics.median(ours.queries[-1]):8.1f} ms a query",
                    flush=True,
                )
            results = [
                row(
                    each,
                    measured,
                    len(texts),
                    tokens,
                    len(long_texts),
                    cost / peaks[each.computes_in],
                    by_default.get(each.choice),
                )
                for each in chosen
            ]
            if json_file:
                json_file.parent.mkdir(parents=True, exist_ok=True)
                written = {"settings": {**settings, "rounds": number + 1}, "results": results}
                json_file.write_text(json.dumps(written, indent=2) + "\n")
        for each in measured.values():
            each.worker.end()
    show(results, f"{len(texts)} texts, {tokens:,} tokens, {threads} threads, {rounds} rounds; * as it comes")


if __name__ == "__main__":
    typer.run(main)
