"""`glot-rag train`: a head, and the noise classifier that fits it to a corpus."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import Backbone, Seed
from glot_rag.head.config import TRAINED_POOLINGS

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    text: Annotated[list[Path], typer.Option(help='.jsonl or .jsonl.gz with "text" and perhaps "title" or "query".')],
    out: Annotated[Path, typer.Option(help="Directory for the head; a run that was stopped goes on there.")],
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    backbone: Backbone = "minilm",
    pooling: Annotated[str, typer.Option(help=", ".join(TRAINED_POOLINGS))] = "glot",
    limit: Annotated[int | None, typer.Option(min=4, help="Texts to train on, drawn at random.")] = None,
    seed: Seed = 0,
) -> None:
    """Train a head, and the noise classifier for fitting it to a corpus. Clean texts are enough: no labels.

    All other settings are those of the shipped heads. From Python each can be changed: see docs/train.md.
    """
    from glot_rag.denoise.classifier import CLASSIFIER_FILE
    from glot_rag.head import load_head
    from glot_rag.head.fit import best_epoch
    from glot_rag.head.registry import freeze
    from glot_rag.models.backbone import Backbone as FrozenBackbone
    from glot_rag.training.classifier import FEWEST_TEXTS, train_classifier
    from glot_rag.training.config import TrainingConfig, default_head
    from glot_rag.training.loop import train
    from glot_rag.training.texts import read_noise_lines, read_texts, sample

    everything = read_texts(text)
    texts = everything if limit is None else sample(everything, limit, seed)
    noise = read_noise_lines(lines or [])
    frozen = FrozenBackbone.load(backbone)
    history = train(
        texts,
        frozen,
        default_head(frozen, pooling),
        TrainingConfig(seed=seed),
        out,
        lines=noise,
        details={"files": [path.name for path in [*text, *(lines or [])]]},
        show_progress=True,
    )
    best = best_epoch(history)
    typer.echo(f"{out}: best of {len(history)} epochs is {best.number}, validation loss {best.validation:.4f}")
    if len(everything) < FEWEST_TEXTS:
        typer.echo(
            f"{out}: no noise classifier, so the head cannot be fitted to a corpus: that takes {FEWEST_TEXTS} texts, "
            f"and there are {len(everything)}"
        )
    elif (out / CLASSIFIER_FILE).is_file():
        _log.info("%s has its noise classifier from an earlier run", out)
    else:
        head = freeze(load_head(out)[0], frozen)
        classifier, report = train_classifier(head, frozen, everything, seed=seed, lines=noise, show_progress=True)
        classifier.save(out)
        typer.echo(
            f"{out}: token loss on simulated corpora held out {report.classifier:.4f}, of the head alone "
            f"{report.head:.4f}"
        )
    typer.echo(f"Use it with GlotEncoder.from_pretrained({backbone!r}, pooling={pooling!r}, head={str(out)!r})")
