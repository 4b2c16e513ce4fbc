"""The command line: `glot-rag index | search | export`; the other commands are in the modules beside it.

Results go to stdout, progress to stderr. Exit code 0 on success, 2 on bad arguments or bad input with one message.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.cli import evaluate as evaluation_commands
from glot_rag.cli import maintenance as index_commands
from glot_rag.cli import paper as trial_commands
from glot_rag.cli import train as training_commands
from glot_rag.cli.options import ENCODER_HELP, Backbone, Device, Head, console
from glot_rag.errors import GlotError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import Hit

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
def index(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.")],
    out: Annotated[Path, typer.Option(help="Directory of the index; made if missing, added to if it is one.")],
    backbone: Annotated[str | None, typer.Option(help=f"{ENCODER_HELP} minilm if not given.")] = None,
    pooling: Annotated[str | None, typer.Option(help="glot, adapool, mean, max, cls or last.")] = None,
    head: Head = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files and lines out.")] = False,
    fit: Annotated[
        bool, typer.Option(help="Take what recurs in these documents for noise; in a new index of 50 or more.")
    ] = True,
    device: Device = None,
) -> None:
    """Index documents; those already there with the same id and text are not embedded again."""
    from glot_rag.documents import read_documents
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.errors import FingerprintMismatchError, IndexNotFoundError
    from glot_rag.index import GlotIndex

    documents = read_documents(paths, strict=not skip_bad)
    asked = {"pooling": pooling, "head": head, "device": device}
    another = any(each is not None for each in (backbone, pooling, head))
    try:
        GlotIndex.open(out, read_only=True, check=False).close()  # the checks come with the real opening
    except IndexNotFoundError:
        encoder = GlotEncoder.from_pretrained(backbone or "minilm", **asked)  # type: ignore[arg-type]
        if fit and "fit" in encoder.capabilities:
            again = read_documents(paths, strict=not skip_bad)
            encoder = _fitted(encoder, (each.text for each in again))
        opened = GlotIndex.create(out, encoder=encoder, save_encoder=True)
    else:
        own = _index_encoder(out, device)
        encoder = GlotEncoder.from_pretrained(backbone or "minilm", **asked) if another else own  # type: ignore[arg-type]
        try:
            opened = GlotIndex.open(out, encoder=encoder)
        except FingerprintMismatchError as mismatch:
            if not another:
                raise
            raise InputError(
                f"{out} was made by another encoder than --backbone, --pooling and --head name: leave them out to add "
                "to it with its own encoder"
            ) from mismatch
    with opened:
        ids = opened.add(documents, show_progress=True)
        for line in documents.report.lines():
            typer.echo(line, err=True)
        typer.echo(f"{len(ids):,} documents from {len(documents.files):,} files; {len(opened):,} in {out}")


def _fitted(encoder: GlotEncoder, texts: Iterable[str]) -> GlotEncoder:
    """The encoder fitted to documents of any number; unchanged where there are too few."""
    from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS

    kept = sampled(texts)
    if len(kept) < FEWEST_DOCUMENTS:
        typer.echo(f"Not fitted: {len(kept)} documents are too few to tell what recurs in them.", err=True)
        return encoder
    return encoder.fit(kept, show_progress=True)


def sampled(texts: Iterable[str]) -> list[str]:
    """As many as `GlotEncoder.fit` counts; memory does not grow with the corpus (Vitter 1985, algorithm R)."""
    from glot_rag.denoise.fitting import MOST_COUNTED

    kept: list[str] = []
    draw = random.Random(0)
    for number, text in enumerate(texts):
        if number < MOST_COUNTED:
            kept.append(text)
        elif (place := draw.randrange(number + 1)) < MOST_COUNTED:
            kept[place] = text
    return kept


def _index_encoder(directory: Path, device: str | None) -> GlotEncoder:
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.encoder.loading import is_bundle

    saved = directory / "encoder"
    if is_bundle(saved):
        return GlotEncoder.from_pretrained(saved)
    if not (saved / "encoder.json").is_file():
        raise InputError(
            f"{directory} does not say which encoder made it (no encoder/encoder.json, which `glot-rag index` writes): "
            f"open it from Python with GlotIndex.open(path, encoder=...)"
        )
    return GlotEncoder.from_pretrained(saved, device=device)


@app.command()
def search(
    directory: Annotated[Path, typer.Argument(help="Directory of the index.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as a JSON list.")] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="Embed with this saved or exported encoder; the index's own if not given.")
    ] = None,
    device: Device = None,
) -> None:
    """Search an index that `glot-rag index` made."""
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex

    GlotIndex.open(directory, read_only=True, check=False).close()  # a wrong path is told before a model is loaded
    chosen = GlotEncoder.from_pretrained(encoder, device=device) if encoder else _index_encoder(directory, device)
    with GlotIndex.open(directory, encoder=chosen, read_only=True) as opened:
        hits = opened.search(query, k=k)
    if as_json:
        records = [{"id": h.id, "score": h.score, "text": h.text, "metadata": dict(h.metadata)} for h in hits]
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    else:
        _print_hits(hits)


def _print_hits(hits: list[Hit]) -> None:
    from rich.text import Text

    screen = console()
    if not hits:
        screen.print("Nothing found: the index is empty.")
    for rank, hit in enumerate(hits, start=1):
        screen.print(Text.assemble((f"{rank}. {hit.id}", "bold"), (f"  {hit.score:.3f}", "dim")))
        passage = Text(" ".join(hit.text.split())[:400], no_wrap=False)
        screen.print(passage, style="default")
        screen.print()


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


for commands in (evaluation_commands, training_commands, trial_commands, index_commands):
    commands.register(app)
