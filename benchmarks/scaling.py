"""What embedding costs as texts get longer and batches larger, and what part of it is the head's.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json --picture benchmarks/results/scaling.svg

Three curves, all with the shipped encoder in float32:
- one text of 16 to 8,192 tokens, embedded whole (`encode_chunks` with one chunk: windows of at most 256 tokens, each
  with a quarter of the one before). Beyond one window the cost should be linear in their number;
- batches of 1 to 256 texts of 128 tokens, torch and ONNX Runtime: what a text costs;
- the head beside the backbone, on batches of like size and texts of 16 to 256 tokens.
The median of the rounds counts; within a round all points are measured once.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from encode_systems import System, export_bundles
from rich.console import Console
from rich.table import Table

from glot_rag import OnnxEncoder, TorchEncoder
from glot_rag.encoder.encoding import join_layers
from glot_rag.evaluation import load_stdlib
from glot_rag.models.tokenizer import TokenBatch
from glot_rag.progress import bar

BATCH_LENGTH = 128  # tokens of the texts whose number varies
SHARE_TOKENS = 2_048  # tokens of the batches that the head's share is measured on


def long_text(encoder: TorchEncoder, tokens: int) -> str:
    """Real text of so many tokens, special ones not counted: one document after the other."""
    words = " ".join(load_stdlib(None).documents.values()).split()
    tokenizer = encoder.backbone.tokenizer
    spans = [span for window in tokenizer.windows(" ".join(words[:tokens])) for span in window.spans if span[1]]
    ends = sorted({end for _, end in spans})
    return " ".join(words[:tokens])[: ends[min(tokens, len(ends)) - 1]]


def batch_of(encoder: TorchEncoder, count: int, length: int) -> TokenBatch:
    """Texts of exactly so many tokens, special ones included: each a stretch of one long text."""
    text = long_text(encoder, length * min(count, 16))
    ids = [id for window in encoder.backbone.tokenizer.windows(text) for id in window.ids[1:-1]]
    rows = [[ids[(row * length + place) % len(ids)] for place in range(length)] for row in range(count)]
    return TokenBatch(np.arange(count), np.array(rows), np.ones((count, length), np.bool_))


def median_seconds(points: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Median seconds of each, all of them in turn in every round, after one round that does not count."""
    seconds: dict[Any, list[float]] = {point: [] for point in points}
    for turn in range(rounds + 1):
        for point, run in points.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[point].append(time.perf_counter() - start)
    return {point: statistics.median(each) for point, each in seconds.items()}


def by_length(encoder: TorchEncoder, longest: int, rounds: int) -> list[dict[str, Any]]:
    """One text of more and more tokens."""
    lengths = [2**power for power in range(4, longest.bit_length())]
    texts = {length: long_text(encoder, length) for length in lengths}

    def run(text: str) -> Callable[[], object]:
        return lambda: encoder.encode_chunks(text, [(0, len(text))])

    seconds = median_seconds({length: run(text) for length, text in texts.items()}, rounds)
    windows = {length: len(encoder.backbone.tokenizer.windows(text)) for length, text in texts.items()}
    return [
        {
            "tokens": length,
            "windows": windows[length],
            "seconds": seconds[length],
            "seconds_a_window": seconds[length] / windows[length],
        }
        for length in lengths
    ]


def by_batch(encoder: TorchEncoder, exported: OnnxEncoder, largest: int, rounds: int) -> list[dict[str, Any]]:
    """More and more texts of one length."""
    sizes = [2**power for power in range(largest.bit_length())]
    text = long_text(encoder, BATCH_LENGTH - 2)

    def run(embed: Callable[[list[str]], object], size: int) -> Callable[[], object]:
        return lambda: embed([text] * size)

    points: dict[tuple[str, int], Callable[[], object]] = {}
    for size in sizes:
        points["torch", size] = run(encoder.encode_documents, size)
        points["onnx", size] = run(exported.encode_documents, size)
    seconds = median_seconds(points, rounds)
    return [{"texts": size, **{kind: seconds[kind, size] / size for kind in ("torch", "onnx")}} for size in sizes]


def head_share(encoder: TorchEncoder, rounds: int) -> list[dict[str, Any]]:
    """The head's time beside the backbone's, over batches of about as many tokens."""
    rows: list[dict[str, Any]] = []
    layers = encoder.pooling.layers
    for length in (16, 32, 64, 128, 256):
        batch = batch_of(encoder, SHARE_TOKENS // length, length)
        states, mask = encoder.backbone.hidden_states(batch, layers)
        joined = join_layers(dict(zip(layers, states, strict=True)), layers)

        def pool(joined: torch.Tensor = joined, mask: torch.Tensor = mask) -> object:
            with torch.inference_mode():
                return encoder.pooling(joined, mask).vector

        def backbone(batch: TokenBatch = batch) -> object:
            return encoder.backbone.hidden_states(batch)  # all of it, whatever layers the head reads

        seconds = median_seconds({"backbone": backbone, "head": pool}, rounds)
        rows.append({"tokens": length, "texts": len(batch.ids), **seconds})
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print one curve."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.5f}" if isinstance(value, float) else f"{value:,}" for value in row.values()))
    Console().print(table)


def draw(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """The curves side by side, for a .svg or .png file. Needs matplotlib."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no global state, no window system
    length, batch, head = figure.subplots(1, 3)
    tokens = [row["tokens"] for row in curves["length"]]
    length.loglog(tokens, [row["seconds"] for row in curves["length"]], "o-", base=2, label="measured")
    last = curves["length"][-1]
    linear = [last["seconds_a_window"] * row["windows"] for row in curves["length"]]
    length.loglog(tokens, linear, "--", color="black", linewidth=1, base=2, label="linear in the windows")
    length.set(title="One text", xlabel="tokens", ylabel="seconds")
    for kind, marker in (("torch", "o"), ("onnx", "s")):
        sizes = [row["texts"] for row in curves["batch"]]
        batch.plot(sizes, [1000 * row[kind] for row in curves["batch"]], f"{marker}-", label=kind)
    batch.set_xscale("log", base=2)
    batch.set(title=f"Texts of {BATCH_LENGTH} tokens", xlabel="texts in a batch", ylabel="milliseconds a text")
    shares = [100 * row["head"] / row["backbone"] for row in curves["head"]]
    head.plot([row["tokens"] for row in curves["head"]], shares, "o-")
    head.set_xscale("log", base=2)
    head.set(title="The head", xlabel="tokens a text", ylabel="% of the backbone's time")
    for axes in (length, batch, head):
        axes.set_ylim(bottom=None if axes is length else 0)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (length, batch):
        axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "glot-rag"}):
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(
    longest: Annotated[int, typer.Option(min=16, help="Tokens of the longest text.")] = 8192,
    largest: Annotated[int, typer.Option(min=1, help="Texts of the largest batch.")] = 256,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    bundles: Annotated[Path, typer.Option(help="Exported bundles: those there are used, others written.")] = Path(
        "runs/bundles"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curves into this .svg or .png file.")] = None,
) -> None:
    """Measure and print."""
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise typer.BadParameter(f"a picture is saved as .svg or .png, got {picture}", param_hint="--picture")
    torch.set_num_threads(threads)
    encoder = TorchEncoder.from_pretrained("minilm", pooling="glot", dtype="float32", device="cpu")
    curves: dict[str, list[dict[str, Any]]] = {}
    with bar() as progress:
        task = progress.add_task("", total=4)

        def begin(name: str) -> None:
            progress.update(task, description=name)

        system = System("ONNX Runtime", "float32", "glot")
        export_bundles(bundles, [system], lambda name: begin(f"bundle {name}"))
        exported = OnnxEncoder(bundles / str(system.bundle), threads=threads)
        for name, measure in (
            ("length", partial(by_length, encoder, longest, rounds)),
            ("batch", partial(by_batch, encoder, exported, largest, rounds)),
            ("head", partial(head_share, encoder, rounds)),
        ):
            progress.advance(task)
            begin(name)
            curves[name] = measure()
    show("one text: seconds", curves["length"])
    show(f"texts of {BATCH_LENGTH} tokens: seconds a text", curves["batch"])
    show("head and backbone: seconds a batch", curves["head"])
    if json_file:
        settings = {
            "threads": threads,
            "rounds": rounds,
            "machine": platform.machine(),
            "load_average": os.getloadavg()[0],
            "torch": torch.__version__,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"settings": settings, "curves": curves}, indent=2) + "\n")
    if picture:
        draw(curves, picture)


if __name__ == "__main__":
    typer.run(main)
