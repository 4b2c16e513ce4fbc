"""The dense GLOT head against PyTorch Geometric's sparse forward and against a loop over documents.

    python benchmarks/head.py --json head.json

"sparse" is `GlotHead(path="sparse")`: the graph built by one matmul, PyG's message passing over all texts at once.
"loop" is the method written down as the formula has it: for each document the cosine of (n, 1, D) with (n, D), the
threshold, an edge list and PyG's layers. All three hold the same parameters and give the same vectors, to rounding; a
pair whose cosine is the threshold to seven digits may be an edge in one and not in another, which shows as 1e-4.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from glot_rag.head import GlotHead
from glot_rag.head.config import HeadConfig
from glot_rag.head.graph import token_graph

SHAPES = ((32, 128, 384), (32, 256, 384), (8, 512, 768))
VARIANTS = ("dense", "sparse", "loop")
THRESHOLD = 0.3
Run = Callable[[Tensor, Tensor], Tensor]


def make_head(size: int) -> GlotHead:
    """The paper's form, its parameters random and none of them zero."""
    head = GlotHead(HeadConfig(state_size=size, form="paper", threshold=THRESHOLD)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter.shape[-1]))
    return head


def make_states(batch: int, length: int, size: int) -> tuple[Tensor, Tensor]:
    """States with a part that all tokens share, as a transformer's have, so that about 3 in 10 pairs are joined.

    Texts have from half of the length to all of it, the rest is padding on the right.
    """
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1, 1, size, generator=generator)
    topic = torch.randn(batch, 4, size, generator=generator)
    which = torch.randint(0, 4, (batch, length), generator=generator)
    own = torch.randn(batch, length, size, generator=generator)
    states = 0.6 * shared + 0.6 * topic.gather(1, which[..., None].expand(-1, -1, size)) + own
    lengths = torch.linspace(length / 2, length, batch).round().long()
    return states, torch.arange(length)[None] < lengths[:, None]


def loop(head: GlotHead, states: Tensor, mask: Tensor) -> Tensor:
    """One document at a time, the similarity by broadcasting."""
    vectors = []
    for x, real in zip(states, mask, strict=True):
        x = x[real]
        similarity = functional.cosine_similarity(x.unsqueeze(1), x.unsqueeze(0), dim=-1)
        target, source = (similarity > head.config.threshold).nonzero(as_tuple=True)
        edges = torch.stack([source, target])
        attributes = x.new_ones(edges.shape[1], 1)
        hidden = [x]
        for conv in head.convs:
            hidden.append(torch.relu(conv(hidden[-1], edges, edge_attr=attributes)))
        joint = torch.cat(hidden, dim=-1)
        weights = torch.softmax(head.score_layer(joint), dim=0)
        vectors.append((weights * joint).sum(dim=0))
    return torch.stack(vectors)


def make_run(variant: str, head: GlotHead) -> Run:
    def run(states: Tensor, mask: Tensor) -> Tensor:
        with torch.inference_mode():
            if variant == "loop":
                return loop(head, states, mask)
            head.path = variant
            return head(states, mask).vector  # type: ignore[no-any-return]

    return run


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def measure_memory(variant: str, shape: tuple[int, int, int], threads: int) -> int:
    """Bytes by which one call raises this process's peak above what it held before. For a fresh process."""
    torch.set_num_threads(threads)
    run = make_run(variant, make_head(shape[2]))
    states, mask = make_states(*shape)
    small = states[:1, :8], torch.ones(1, 8, dtype=torch.bool)
    run(*small)  # loads the libraries
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    run(states, mask)
    return max(0, _status("VmHWM") - before)


def peak_memory(variant: str, shape: tuple[int, int, int], threads: int) -> int:
    """`measure_memory` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_memory, (variant, shape, threads))


def time_paired(shape: tuple[int, int, int], repeats: int, budget: float) -> dict[str, Any]:
    """Time the variants by turns, so that whatever else the machine does falls on all of them."""
    head = make_head(shape[2])
    states, mask = make_states(*shape)
    runs = {variant: make_run(variant, head) for variant in VARIANTS}
    vectors = {variant: run(states, mask) for variant, run in runs.items()}  # also the warm-up
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    start = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - start > budget:
            break
        for variant in (VARIANTS, VARIANTS[::-1])[turn % 2]:
            began = time.perf_counter()
            runs[variant](states, mask)
            seconds[variant].append(time.perf_counter() - began)
    edges = token_graph(states, mask, THRESHOLD).sum()
    pairs = mask.sum(dim=1).pow(2).sum()
    return {
        "density": (edges / pairs).item(),
        "repeats": len(seconds["dense"]),
        "seconds": {variant: statistics.median(values) for variant, values in seconds.items()},
        "ratio_to_dense": {
            variant: statistics.median(a / b for a, b in zip(values, seconds["dense"], strict=True))
            for variant, values in seconds.items()
        },
        "largest_value": vectors["dense"].abs().max().item(),
        "max_difference_to_dense": {v: (vectors[v] - vectors["dense"]).abs().max().item() for v in VARIANTS},
    }


def show(results: list[dict[str, Any]]) -> None:
    table = Table(title="GLOT head: time (median) and peak memory of one call")
    for heading in ("B, L, D", "edges", "variant", "time", "÷ dense", "memory", "÷ dense", "differs by"):
        table.add_column(heading, justify="left" if heading in ("B, L, D", "variant") else "right", no_wrap=True)
    for result in results:
        for variant in VARIANTS:
            memory = result["peak_memory"]
            table.add_row(
                ", ".join(map(str, result["shape"])) if variant == "dense" else "",
                f"{result['density']:.0%}" if variant == "dense" else "",
                variant,
                f"{result['seconds'][variant]:.3f} s",
                f"{result['ratio_to_dense'][variant]:.1f}",
                f"{memory[variant] / 2**20:,.0f} MiB",
                f"{memory[variant] / max(1, memory['dense']):.1f}",
                f"{result['max_difference_to_dense'][variant]:.1e}",
                end_section=variant == VARIANTS[-1],
            )
    Console(width=max(100, Console().width)).print(table)


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns a shape, at most.")] = 9,
    budget: Annotated[float, typer.Option(help="Seconds a shape after which no further turn is begun.")] = 20.0,
    threads: Annotated[int, typer.Option(help="torch threads; 0 leaves torch's own choice.")] = 0,
) -> None:
    """Compare time, peak memory and vectors of the dense head, PyG's sparse forward and a loop over documents."""
    if threads:
        torch.set_num_threads(threads)
    threads = torch.get_num_threads()
    results = []
    for shape in SHAPES:
        memory = {variant: peak_memory(variant, shape, threads) for variant in VARIANTS}
        results.append({"shape": list(shape), **time_paired(shape, repeats, budget), "peak_memory": memory})
    show(results)
    if json_path is not None:
        import torch_geometric

        machine = {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_average": os.getloadavg()[0],
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
        }
        json_path.write_text(json.dumps({"machine": machine, "threshold": THRESHOLD, "results": results}, indent=2))


if __name__ == "__main__":
    typer.run(main)
