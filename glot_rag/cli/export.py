"""`glot-rag export`: backbone and head as one ONNX graph."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import Backbone
from glot_rag.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    out: Annotated[Path | None, typer.Option(help="Directory for the bundle; replaces an older one.")] = None,
    check: Annotated[Path | None, typer.Option(help="Measure this bundle again, and export nothing.")] = None,
    backbone: Backbone = "minilm",
    precision: Annotated[str, typer.Option(help="float32, float16, bfloat16 (half the file) or int8.")] = "float32",
) -> None:
    """Write an encoder as one ONNX graph, which `GlotEncoder.from_pretrained(DIR)` runs without torch.

    For another head, pooling or limit, save the encoder from Python and give its directory as --backbone. A bundle that
    loses more than is tolerated is not written; glot_onnx.export_encoder(..., accept_loss=True) writes it.
    """
    if (out is None) == (check is None):
        raise InputError("give --out DIR to export, or --check DIR to measure a bundle again")
    # What exports is built on this library, so it is looked up only here.
    exporter = importlib.import_module("glot_onnx")
    if check is not None:
        path, report = check, exporter.check_bundle(check)
    else:
        from glot_rag.encoder.base import GlotEncoder

        assert out is not None
        encoder = GlotEncoder.from_pretrained(backbone, dtype="float32", device="cpu")
        path, report = out, exporter.export_encoder(encoder, out, precision=precision)
    typer.echo(
        f"{path}: {report.texts} texts, torch float32 against ONNX Runtime {report.precision}: largest difference "
        f"{report.max_difference:.1e}, least cosine {report.min_cosine:.7f}, "
        f"edges flipped {report.edges_flipped} of {report.edges:,}, top-10 overlap {report.top10_overlap:.1%}, "
        f"nDCG@10 lost {report.ndcg_lost:.4f}, alone against in a batch {report.batch_difference:.1e}"
    )
