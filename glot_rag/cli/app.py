"""The command line: `glot-rag index | search | export`; the other commands are in the modules beside it.

Results go to stdout, progress to stderr. Exit code 0 on success, 2 on bad arguments or bad input with one message.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli import denoise as denoise_command
from glot_rag.cli import evaluate as evaluation_commands
from glot_rag.cli import index as index_command
from glot_rag.cli import maintenance as index_commands
from glot_rag.cli import paper as trial_commands
from glot_rag.cli import search as search_command
from glot_rag.cli import train as training_commands
from glot_rag.cli.options import Backbone, Head
from glot_rag.errors import GlotError, InputError

app = typer.Typer(
    name="glot-rag",
    help="Embeddings that survive noisy documents: token-graph pooling over a frozen transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and exit code 2."""
    try:
        app()
    except GlotError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Directory for the bundle; replaces an older one.")] = None,
    check: Annotated[Path | None, typer.Option(help="Measure this bundle again, and export nothing.")] = None,
    backbone: Backbone = "minilm",
    pooling: Annotated[str | None, typer.Option(help="As for index; a saved encoder's own if not given.")] = None,
    head: Head = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest input; the model's own if not given.")] = None,
    precision: Annotated[str, typer.Option(help="float32, float16, bfloat16 (half the file) or int8.")] = "float32",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Write it even if more is lost than is tolerated.")
    ] = False,
    texts: Annotated[int | None, typer.Option(min=1, help="Documents to measure over; 200 or 1,000.")] = None,
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts of your own to measure over, too.")] = None,
) -> None:
    """Write backbone and head as one ONNX graph, which `GlotEncoder.from_pretrained(DIR)` runs without torch."""
    if (out is None) == (check is None):
        raise InputError("give --out DIR to export, or --check DIR to measure a bundle again")
    # What exports is built on this library, so it is looked up only here.
    exporter = importlib.import_module("glot_onnx")
    own = []
    if text:
        from glot_rag.training.texts import read_texts

        own = [each.text for each in read_texts(text)]
    if check is not None:
        path, report = check, exporter.check_bundle(check, texts, own)
    else:
        from glot_rag.encoder.base import GlotEncoder

        assert out is not None
        encoder = GlotEncoder.from_pretrained(
            backbone, pooling=pooling, head=head, max_tokens=max_tokens, dtype="float32", device="cpu", denoise=False
        )
        path = out
        report = exporter.export_encoder(
            encoder, out, precision=precision, accept_loss=accept_loss, texts=texts, documents=own
        )
    typer.echo(
        f"{path}: {report.texts} texts, torch float32 against ONNX Runtime {report.precision}: largest difference "
        f"{report.max_difference:.1e}, least cosine {report.min_cosine:.7f}, "
        f"edges flipped {report.edges_flipped} of {report.edges:,}, top-10 overlap {report.top10_overlap:.1%}, "
        f"nDCG@10 lost {report.ndcg_lost:.4f}, alone against in a batch {report.batch_difference:.1e}"
    )


for commands in (
    index_command,
    search_command,
    denoise_command,
    evaluation_commands,
    training_commands,
    trial_commands,
    index_commands,
):
    commands.register(app)
