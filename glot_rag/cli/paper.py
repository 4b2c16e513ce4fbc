"""`glot-rag stress` and `glot-rag glue`: poolings against each other as classifiers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from glot_rag.cli.options import Device, Dtype
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from glot_rag.evaluation.paper.experiment import TrialSettings
    from glot_rag.evaluation.paper.results import TrialReport

Number = TypeVar("Number", int, float)

Poolings = Annotated[str, typer.Option("--pooling", help="Comma-separated: mean,max,cls,last,adapool,glot.")]
BackboneName = Annotated[
    str, typer.Option("--backbone", help="minilm, smollm2, a hub id, a directory or a .gguf file.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Repetitions, each with a seed of its own.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=0, help="The first seed.")]
Epochs = Annotated[int, typer.Option(min=1, help="At most so many; the best is chosen.")]
BatchSize = Annotated[int, typer.Option(min=1)]
LearningRate = Annotated[
    str,
    typer.Option(
        help="Several with commas between them: each pooling gets the one that is best on validation examples."
    ),
]
Layers = Annotated[str, typer.Option(help="Backbone layers that are read, like 2,-1.")]
Convolution = Annotated[str, typer.Option(help="GLOT's graph layer: gat, gcn, gin, gine, transformer.")]
NumLayers = Annotated[int, typer.Option(min=1, help="K, graph layers.")]
HiddenSize = Annotated[int, typer.Option(min=1)]
Threshold = Annotated[float, typer.Option(help="tau: tokens with a higher cosine are joined.")]
Norm = Annotated[
    str,
    typer.Option(help="none as in the paper, or layer: LayerNorm after each graph layer; a decoder's states want it."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results here.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(stress)
    app.command()(glue)


def stress(
    backbone: BackboneName = "minilm",
    distractors: Annotated[str, typer.Option(help="Comma-separated shares of noise words.")] = "0.2,0.5,0.8,0.9",
    protocol: Annotated[str, typer.Option(help="strict, or paper: as the authors draw the texts, leaks included.")] = (
        "strict"
    ),
    task: Annotated[
        str, typer.Option(help="negation: is there a modifier? binding: which noun does it stand before?")
    ] = "negation",
    pooling: Poolings = "mean,adapool,glot",
    seeds: Seeds = 3,
    seed: FirstSeed = 0,
    train: Annotated[int, typer.Option(min=2, help="Texts to train on.")] = 2_000,
    validation: Annotated[int, typer.Option(min=2, help="Texts to choose the epoch on.")] = 500,
    test: Annotated[int, typer.Option(min=2, help="Texts to measure on.")] = 1_000,
    epochs: Epochs = 8,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = "1e-3,1e-2",
    layers: Layers = "-1",
    convolution: Convolution = "gat",
    num_layers: NumLayers = 2,
    hidden_size: HiddenSize = 128,
    threshold: Threshold = 0.3,
    norm: Norm = "none",
    json_file: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="Draw accuracy against distractors (.png or .svg).")] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Find a negation among random words: the paper's stress test, and a strict form of it."""
    ratios = _numbers("--distractors", distractors, float, "0.8,0.9")
    from glot_rag.evaluation.paper.stress import StressConfig, check_picture, run_stress, save_stress_picture
    from glot_rag.models.backbone import Backbone

    if picture:
        check_picture(picture)
    head = _head(convolution, num_layers, hidden_size, threshold, norm)
    config = StressConfig(
        ratios,
        protocol,
        task,
        train,
        validation,
        test,
        _settings(pooling, seeds, seed, epochs, batch_size, learning_rate, layers, head),
    )
    report = run_stress(Backbone.load(backbone, device=device, dtype=dtype), config, progress=_tell)
    _show(report, json_file)
    if picture:
        save_stress_picture([report], picture)


def glue(
    task: Annotated[str, typer.Option(help="Comma-separated: cola,sst2,stsb,mrpc,rte.")],
    data: Annotated[Path, typer.Option(help="Directory with TASK/train.tsv.gz and TASK/validation.tsv.gz.")],
    backbone: BackboneName = "minilm",
    pooling: Poolings = "mean,adapool,glot",
    seeds: Seeds = 3,
    seed: FirstSeed = 0,
    limit: Annotated[int | None, typer.Option(min=10, help="Training examples of a task, drawn at random.")] = None,
    held_out: Annotated[float, typer.Option(help="Share of them that the epoch is chosen on.")] = 0.1,
    epochs: Epochs = 10,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = "1e-3,1e-2",
    layers: Layers = "-1",
    convolution: Convolution = "gat",
    num_layers: NumLayers = 2,
    hidden_size: HiddenSize = 128,
    threshold: Threshold = 0.3,
    norm: Norm = "none",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest text, in tokens.")] = 128,
    cache: Annotated[Path | None, typer.Option(help="Keep the hidden states here, for further runs.")] = None,
    json_file: JsonFile = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Train classifiers on GLUE tasks over frozen states, one a pooling."""
    from glot_rag.evaluation.paper.glue import GlueConfig, read_glue, run_glue
    from glot_rag.models.backbone import Backbone

    head = _head(convolution, num_layers, hidden_size, threshold, norm)
    settings = _settings(pooling, seeds, seed, epochs, batch_size, learning_rate, layers, head)
    config = GlueConfig(tuple(name.strip() for name in task.split(",")), limit, held_out, settings)
    for name in config.tasks:  # a wrong path is told before a model is loaded
        read_glue(data, name, "validation")
    frozen = Backbone.load(backbone, device=device, dtype=dtype, max_tokens=max_tokens)
    _show(run_glue(frozen, data, config, cache=cache, progress=_tell, show_progress=True), json_file)


def _head(convolution: str, num_layers: int, hidden_size: int, threshold: float, norm: str) -> dict[str, object]:
    """GLOT's own settings, by their names in `HeadConfig`."""
    return {
        "convolution": convolution,
        "num_layers": num_layers,
        "hidden_size": hidden_size,
        "threshold": threshold,
        "norm": norm,
    }


def _settings(
    pooling: str,
    seeds: int,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: str,
    layers: str,
    head: dict[str, object],
) -> TrialSettings:
    from glot_rag.classification.fit import FitConfig
    from glot_rag.evaluation.paper.experiment import TrialSettings
    from glot_rag.head.config import HeadConfig

    read = _numbers("--layers", layers, int, "2,-1")
    rates = _numbers("--learning-rate", learning_rate, float, "3e-4,1e-3")
    HeadConfig.from_dict({"state_size": 1, "form": "paper", **head})  # checks them before a model is loaded
    poolings = tuple(name.strip() for name in pooling.split(",") if name.strip())
    fit = FitConfig(epochs=epochs, patience=epochs, batch_size=batch_size)
    return TrialSettings(poolings, seeds, seed, fit, rates, read, head)


def _numbers(option: str, text: str, kind: Callable[[str], Number], example: str) -> tuple[Number, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} must be numbers with commas between them, like {example}; got {text!r}") from None


def _tell(message: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(message, style="dim", highlight=False, markup=False)


def _show(report: TrialReport, json_file: Path | None) -> None:
    from rich.console import Console

    from glot_rag.evaluation.paper.results import print_trials

    print_trials(report, Console())
    if json_file:
        report.save(json_file)
