"""GLUE over the states of several layers, each pooling reading the layer that suits it.

    python benchmarks/glue_layers.py --data GLUE --backbone smollm2 --layers 6,18,-1 --jobs 2 --work runs/glue \
        --json glue.json

`glot-rag glue` reads one layer. Which one is best differs from task to task, and may differ from pooling to pooling, so
each pooling is trained over each of the layers, and its layer, like its epoch and its learning rate, is the one that is
best on the part of the training examples that is held out; the validation files, which are measured on, decide nothing.
The file holds all that was tried, too. Jobs are processes, a task and layer each; what is in the work directory is
not computed again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from glot_rag.evaluation.paper.experiment import ExperimentSettings
from glot_rag.evaluation.paper.glue import GLUE_TASKS, GlueSettings, read_glue, run_glue
from glot_rag.evaluation.paper.results import ExperimentReport, ExperimentResult, print_experiment
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone

_backbone: Backbone | None = None


def loaded(backbone: str, device: str | None, max_tokens: int) -> None:
    """A worker's own backbone."""
    global _backbone
    torch.set_num_threads(1)
    _backbone = Backbone.load(backbone, device=device, max_tokens=max_tokens)


def run_one(data: Path, config: GlueSettings, out: Path) -> ExperimentReport:
    """One task and layer."""
    assert _backbone is not None
    report = run_glue(_backbone, data, config)
    report.save(out)
    return report


def placed(result: ExperimentResult, layer: int, report: ExperimentReport) -> ExperimentResult:
    """The result with the layer, and the dtype of its states, in its place."""
    return dataclasses.replace(result, place={**result.place, "layer": layer, "dtype": report.settings["dtype"]})


def main(
    data: Annotated[Path, typer.Option(help="Directory with TASK/train.tsv.gz and TASK/validation.tsv.gz.")],
    work: Annotated[Path, typer.Option(help="Directory for what is done; of one run's settings.")],
    json_file: Annotated[Path, typer.Option("--json", help="Write the figures here.")],
    backbone: Annotated[str, typer.Option(help="minilm, smollm2, a hub id or a path.")] = "smollm2",
    task: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(GLUE_TASKS),
    layers: Annotated[str, typer.Option(help="Comma-separated; each pooling reads one of them.")] = "6,18,-1",
    pooling: Annotated[str, typer.Option(help="Comma-separated.")] = "mean,max,last,adapool,glot",
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    limit: Annotated[int | None, typer.Option(min=10, help="Training examples of a task, drawn at random.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    learning_rate: Annotated[str, typer.Option(help="Comma-separated; each is tried.")] = "1e-3,1e-2",
    norm: Annotated[str, typer.Option(help="Of GLOT: none as in the paper, or layer.")] = "none",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest text, in tokens.")] = 128,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
) -> None:
    """Train, choose and print."""
    tasks = task.split(",")
    for name in tasks:
        read_glue(data, name, "validation")
    console = Console(stderr=True)
    rates = tuple(map(float, learning_rate.split(",")))
    read = list(map(int, layers.split(",")))
    configs = {}
    for key in itertools.product(tasks, read):
        fit = FitConfig(epochs=epochs, patience=epochs)
        settings = ExperimentSettings(tuple(pooling.split(",")), seeds, 0, fit, rates, key[1:], {"norm": norm})
        configs[key] = GlueSettings(key[:1], limit, experiment=settings)
    work.mkdir(parents=True, exist_ok=True)
    files = {key: work / f"{key[0]}-{key[1]}.json" for key in configs}
    found = {key: ExperimentReport.load(file) for key, file in files.items() if file.exists()}
    spawned = multiprocessing.get_context("spawn")  # an accelerator cannot be used in a forked process
    with ProcessPoolExecutor(jobs, spawned, loaded, (backbone, device, max_tokens)) as pool:
        left = {key: config for key, config in configs.items() if key not in found}
        futures = {pool.submit(run_one, data, config, files[key]): key for key, config in left.items()}
        for future in as_completed(futures):
            key = futures[future]
            found[key] = future.result()
            shown = ", ".join(f"{each.pooling} {each.shown}" for each in found[key].results)
            console.print(f"{key[0]}, layer {key[1]}: {shown}", style="dim", highlight=False)
    tried: list[ExperimentResult] = []
    chosen: list[ExperimentResult] = []
    for name, each in itertools.product(tasks, pooling.split(",")):
        by_layer = [placed(found[name, layer].result(each, name), layer, found[name, layer]) for layer in read]
        tried += by_layer
        chosen.append(max(by_layer, key=lambda result: statistics.fmean(result.validation)))
    first = found[tasks[0], read[0]]
    title = first.title.replace("epoch chosen", "layer, rate and epoch chosen")
    report = ExperimentReport(title, "task", {**first.settings, "layers": read}, chosen)
    print_experiment(report, Console())
    json_file.parent.mkdir(parents=True, exist_ok=True)
    whole = {**json.loads(report.to_json()), "tried": [each.to_dict() for each in tried]}
    json_file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
