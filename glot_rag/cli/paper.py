"""`glot-rag stress` and `glot-rag glue`: the paper's experiments.

Their rarely used settings are in Python: `glot_rag.evaluation.paper.stress.StressSettings` and
`glot_rag.evaluation.paper.glue.GlueSettings`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.cli.options import in_a_folder
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from glot_rag.evaluation.paper.experiment import ExperimentSettings
    from glot_rag.evaluation.paper.results import ExperimentReport

Poolings = Annotated[str, typer.Option("--pooling", help="Comma-separated: mean,max,cls,last,adapool,glot.")]
BackboneName = Annotated[
    str, typer.Option("--backbone", help="minilm, mpnet, e5, smollm2, a hub id, a directory or a .gguf file.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results here.", callback=in_a_folder)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(stress)
    app.command()(glue)


def stress(
    backbone: BackboneName = "minilm",
    pooling: Poolings = "mean,adapool,glot",
    distractors: Annotated[str, typer.Option(help="Comma-separated shares of noise words.")] = "0.2,0.5,0.8,0.9",
    json_file: JsonFile = None,
) -> None:
    """Find a negation among random words: the paper's stress test, with texts of equal length, over three seeds."""
    from glot_rag.evaluation.paper import stress as experiment
    from glot_rag.models.backbone import Backbone

    try:
        ratios = tuple(float(part) for part in distractors.split(","))
    except ValueError:
        raise InputError(
            f"--distractors must be numbers with commas between them, like 0.8,0.9; got {distractors!r}"
        ) from None
    settings = experiment.StressSettings(ratios)
    settings = replace(settings, experiment=_settings(settings.experiment, pooling))
    report = experiment.run_stress(Backbone.load(backbone), settings, progress=_tell)
    _show(report, json_file)


def glue(
    task: Annotated[str, typer.Option(help="Comma-separated: cola,sst2,stsb,mrpc,rte.")],
    data: Annotated[Path, typer.Option(help="Directory with TASK/train.tsv.gz and TASK/validation.tsv.gz.")],
    backbone: BackboneName = "minilm",
    pooling: Poolings = "mean,adapool,glot",
    json_file: JsonFile = None,
) -> None:
    """Train classifiers on GLUE tasks over frozen states, one for each pooling and each of three seeds."""
    from glot_rag.evaluation.paper import glue as experiment
    from glot_rag.models.backbone import Backbone

    settings = experiment.GlueSettings(tuple(name.strip() for name in task.split(",")))
    settings = replace(settings, experiment=_settings(settings.experiment, pooling))
    for name in settings.tasks:  # a wrong path is an error before a model is loaded
        experiment.read_glue(data, name, "validation")
    frozen = Backbone.load(backbone, max_tokens=experiment.MAX_TOKENS)
    _show(experiment.run_glue(frozen, data, settings, progress=_tell, show_progress=True), json_file)


def _settings(settings: ExperimentSettings, pooling: str) -> ExperimentSettings:
    return replace(settings, poolings=tuple(name.strip() for name in pooling.split(",") if name.strip()))


def _tell(message: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(message, style="dim", highlight=False, markup=False)


def _show(report: ExperimentReport, json_file: Path | None) -> None:
    from rich.console import Console

    from glot_rag.evaluation.paper.results import print_experiment

    print_experiment(report, Console())
    if json_file:
        report.save(json_file)
