"""`glot-rag train` and `glot-rag calibrate`: a head from texts, and what lets it be adapted to collections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import Backbone, Device, Dtype, Seed
from glot_rag.errors import InputError
from glot_rag.head.config import CONVOLUTIONS, FORMS, JUMPING, NORMS, READOUTS, TRAINED_POOLINGS, HeadConfig


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (train, calibrate):
        app.command()(command)


def train(
    text: Annotated[list[Path], typer.Option(help='.jsonl or .jsonl.gz with "text" and perhaps "title" or "query".')],
    out: Annotated[Path, typer.Option(help="Directory for the head; a run that was stopped goes on there.")],
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    without: Annotated[str, typer.Option(help="Comma-separated families of noise to leave out.")] = "",
    backbone: Backbone = "minilm",
    pooling: Annotated[str, typer.Option(help=", ".join(TRAINED_POOLINGS))] = "glot",
    convolution: Annotated[str, typer.Option(help=", ".join(CONVOLUTIONS))] = "transformer",
    num_layers: Annotated[int, typer.Option(min=1, help="K, graph layers.")] = 3,
    hidden_size: Annotated[int, typer.Option(min=1)] = 128,
    threshold: Annotated[float, typer.Option(help="tau: tokens with a higher cosine are joined.")] = 0.3,
    jumping: Annotated[str, typer.Option(help=", ".join(JUMPING))] = "cat",
    form: Annotated[str, typer.Option(help=", ".join(FORMS))] = "drop",
    norm: Annotated[str, typer.Option(help=", ".join(NORMS))] = "layer",
    min_keep_ratio: Annotated[float, typer.Option(help="Least share of a text that stays.")] = 0.1,
    mix_weight: Annotated[
        float | None,
        typer.Option(help="Part of the kept tokens in the drop form's vector, 0.2; the rest is mean pooling."),
    ] = None,
    readout: Annotated[str, typer.Option(help=", ".join(READOUTS))] = "sigmoid",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Backbone layers that the head reads, like 2,-1; the last one is pooled, or dropped after in the "
            "drop form. If not given: a third of the way up, and in the other forms the last one, too.",
            show_default=False,
        ),
    ] = None,
    output_size: Annotated[
        int | None, typer.Option(min=1, help="Of the paper form's vectors; the backbone's if not given.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest noisy text, in tokens; the backbone's limit if not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=4, help="Texts to train on, drawn at random.")] = None,
    views: Annotated[int, typer.Option(min=1, help="Noisy views of each text.")] = 1,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without progress before it stops.")] = 3,
    batch_texts: Annotated[int, typer.Option(min=2)] = 64,
    learning_rate: Annotated[float, typer.Option()] = 1e-3,
    denoising: Annotated[
        float | None, typer.Option(help="Weight of the denoising objective: 0 in the drop form, else 1.")
    ] = None,
    contrastive: Annotated[
        float | None, typer.Option(help="Weight of the contrastive objective: 0 in the drop form, else 0.1.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=0, help="Hard negatives a text for the contrastive objective.")] = 0,
    tokens: Annotated[
        float | None, typer.Option(help="Weight of the token-noise objective: 1 in the drop form, else 0.3.")
    ] = None,
    rarity: Annotated[float, typer.Option(help="How much more a rare token costs to lose; 0: as much as any.")] = 0.5,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Another backbone whose mean-pooled vectors the head learns to give (paper form): minilm, say.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Directory of the hidden states; OUT/cache if not given.")] = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Train a head on clean texts, which it learns to recognise among noise.

    What is not given is as it was for the head that ships.
    """
    from glot_rag.models.backbone import Backbone as FrozenBackbone
    from glot_rag.training.config import TrainingConfig
    from glot_rag.training.loop import train
    from glot_rag.training.texts import read_lines, read_texts, sample

    if mix_weight is None:
        mix_weight = 0.2 if form == "drop" else 1.0
    # The drop form's choice of tokens has no gradient: it is trained on token labels alone.
    weights = (0.0, 0.0, 1.0) if form == "drop" else (1.0, 0.1, 0.3)
    config = TrainingConfig(
        seed=seed,
        views=views,
        epochs=epochs,
        patience=patience,
        batch_texts=batch_texts,
        learning_rate=learning_rate,
        denoising=weights[0] if denoising is None else denoising,
        contrastive=weights[1] if contrastive is None else contrastive,
        negatives=negatives,
        tokens=weights[2] if tokens is None else tokens,
        rarity=rarity,
        without=tuple(filter(None, without.split(","))),
    )
    try:
        read = None if layers is None else tuple(int(layer) for layer in layers.split(","))
    except ValueError:
        raise InputError(f"--layers must be numbers with commas between them, like 2,-1; got {layers!r}") from None
    texts = read_texts(text)
    if limit is not None:
        texts = sample(texts, limit, seed)
    frozen = FrozenBackbone.load(backbone, device=device, dtype=dtype, max_tokens=max_tokens)
    taught_by = None if teacher is None else FrozenBackbone.load(teacher, device=device, dtype=dtype)
    if read is None:
        early = max(1, frozen.num_layers // 3)
        read = (early,) if form == "drop" else (early, -1)
    head_config = HeadConfig(
        state_size=frozen.state_size,
        layers=read,
        pooling=pooling,
        convolution=convolution,
        num_layers=num_layers,
        hidden_size=hidden_size,
        threshold=threshold,
        jumping=jumping,
        form=form,
        norm=norm,
        min_keep_ratio=min_keep_ratio,
        mix_weight=mix_weight,
        readout=readout,
        # The denoising target is a vector of the backbone's size, or the teacher's.
        output_size=output_size or ((taught_by or frozen).state_size if form == "paper" else None),
    )
    history = train(
        texts,
        frozen,
        head_config,
        config,
        out,
        teacher=taught_by,
        cache=cache,
        lines=read_lines(lines or []),
        details={"files": [path.name for path in [*text, *(lines or [])]]},
        show_progress=True,
    )
    best = min(history, key=lambda epoch: epoch.validation)
    parts = ", ".join(f"{name} {value:.4f}" for name, value in best.parts.items())
    typer.echo(
        f"{out}: best of {len(history)} epochs is {best.number}, validation loss {best.validation:.4f} ({parts})"
    )
    typer.echo(f"Use it with GlotEncoder.from_pretrained({backbone!r}, pooling={pooling!r}, head={str(out)!r})")


def calibrate(
    head: Annotated[Path, typer.Argument(help="Directory of a trained head; gets noise_classifier.safetensors.")],
    text: Annotated[list[Path], typer.Option(help='.jsonl or .jsonl.gz with "text" and perhaps "source".')],
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    backbone: Backbone = "minilm",
    collections: Annotated[int, typer.Option(min=10, help="How many to simulate.")] = 300,
    mix_weight: Annotated[float, typer.Option(help="Part of the kept tokens in an adapted head's vector.")] = 1.0,
    min_drop_ratio: Annotated[
        float, typer.Option(help="Leave a text whole that would lose less than this share.")
    ] = 0.15,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Teach a trained head to weigh what a collection repeats, which `adapt` needs."""
    from glot_rag.head import load_head
    from glot_rag.head.registry import freeze
    from glot_rag.models.backbone import Backbone as FrozenBackbone
    from glot_rag.training.calibration import calibrate
    from glot_rag.training.texts import read_lines, read_texts

    loaded, _ = load_head(head)
    frozen = FrozenBackbone.load(backbone, device=device, dtype=dtype)
    loaded = freeze(loaded, frozen)
    calibration, report = calibrate(
        loaded,
        frozen,
        read_texts(text),
        collections=collections,
        seed=seed,
        mix_weight=mix_weight,
        min_drop_ratio=min_drop_ratio,
        lines=read_lines(lines or []),
        show_progress=True,
    )
    calibration.save(head)
    typer.echo(
        f"{head}: token loss on simulated collections held out {report.calibrated:.4f}, "
        f"of the head alone {report.head:.4f}"
    )
