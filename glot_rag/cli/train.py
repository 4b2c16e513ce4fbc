"""`glot-rag train`: the heads for a backbone, and whether they help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import Backbone, Seed
from glot_rag.head.config import TRAINED_POOLINGS


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    out: Annotated[Path, typer.Option(help="Directory for the heads; a run that was stopped goes on there.")],
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help='Files or folders of yours, or .jsonl with "text". Left out: what this Python\'s packages say of '
            "themselves."
        ),
    ] = None,
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    backbone: Backbone = "minilm",
    pooling: Annotated[str, typer.Option(help=", ".join(TRAINED_POOLINGS))] = "glot",
    limit: Annotated[int, typer.Option(min=4, help="Texts that the word head learns from, drawn at random.")] = 10_000,
    seed: Seed = 0,
) -> None:
    """Train heads for a backbone: one that drops noisy lines, one that drops noisy words. No labels are needed.

    Web pages make the better head for lines: what is noise there, their markup says. At the end you are told whether
    the heads help, on texts that were held out. All other settings are those of the shipped heads; from Python each can
    be changed: see docs/train.md.
    """
    from glot_rag.models.backbone import Backbone as FrozenBackbone
    from glot_rag.training.documents import installed_texts, read_training_data
    from glot_rag.training.heads import train_heads
    from glot_rag.training.texts import read_noise_lines

    data = read_training_data(text) if text else installed_texts()
    noise = read_noise_lines(lines or [])
    report = train_heads(
        data,
        FrozenBackbone.load(backbone),
        out,
        pooling=pooling,
        limit=limit,
        seed=seed,
        lines=noise,
        details={"files": [path.name for path in [*(text or []), *(lines or [])]]},
        show_progress=True,
    )
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"Use them with GlotEncoder.from_pretrained({backbone!r}, pooling={pooling!r}, head={str(out)!r})")
