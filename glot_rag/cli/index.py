"""`glot-rag index`: files into an index, chunk by chunk; a second run reads what changed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from glot_rag.cli.options import ENCODER_HELP, index_encoder
from glot_rag.errors import InputError
from glot_rag.files import read_json_record

if TYPE_CHECKING:
    from glot_rag.documents.loaders import HtmlText
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex

MAX_CHUNK_TOKENS = 256  # of a chunk, unless asked for otherwise; more of them dilute what a vector says
_SPECIAL_TOKENS = 8  # room in the encoder's limit for those around a chunk and for a prompt


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(index)


def index(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; .zip and .gz are looked into.")],
    out: Annotated[Path, typer.Option(help="Directory of the index; made if missing, added to if it is one.")],
    backbone: Annotated[str | None, typer.Option(help=f"{ENCODER_HELP} minilm if not given.")] = None,
    pooling: Annotated[str | None, typer.Option(help="glot, adapool, mean, max, cls or last.")] = None,
    fit: Annotated[
        bool, typer.Option(help="Take what recurs in these documents for noise; in a new index of 50 or more.")
    ] = True,
    chunk_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens a chunk; 248 if not given.")] = None,
    html: Annotated[str, typer.Option(help="Text of web pages: main (without navigation) or all.")] = "main",
    encoding: Annotated[
        str | None, typer.Option(help="Of files that are not UTF-8 and do not declare a charset, e.g. cp1252.")
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Remove files that are gone from the given folders.")] = False,
) -> None:
    """Index files of any format that is read, in chunks. Files that did not change are left as they are."""
    from glot_rag.documents import read_documents
    from glot_rag.index.corpus import ChunkOptions, index_corpus

    def reader() -> Iterable[str]:
        return (each.text for each in read_documents(paths, html=chosen, encoding=encoding))

    chosen = cast("HtmlText", html)
    documents = read_documents(paths, html=chosen, encoding=encoding)  # what is wrong with a path is told first
    opened, encoder = _open(out, backbone, pooling, reader() if fit else None)
    with opened:
        most = encoder.max_tokens - _SPECIAL_TOKENS
        tokens = min(most, MAX_CHUNK_TOKENS - _SPECIAL_TOKENS) if chunk_tokens is None else chunk_tokens
        if tokens > most:
            raise InputError(f"--chunk-tokens must be at most {most}, as the encoder reads {encoder.max_tokens} tokens")
        options = ChunkOptions(tokens, overlap=min(32, tokens // 8))
        folders = [path for path in paths if path.is_dir()] if sync else []
        report = index_corpus(opened, documents, encoder.token_spans, options, sync=folders, show_progress=True)
        total = len(opened)
    for line in report.read.lines():
        typer.echo(line, err=True)
    unchanged = f"; {report.unchanged:,} files unchanged" if report.unchanged else ""
    removed = f"; {report.removed:,} chunks removed" if report.removed else ""
    typer.echo(f"{report.chunks:,} chunks from {report.read.files:,} files{unchanged}{removed}; {total:,} in {out}")
    if not report.finished:
        typer.echo("Stopped: what was stored stays, and the next run goes on.", err=True)
        raise typer.Exit(130)


def _open(
    out: Path, backbone: str | None, pooling: str | None, texts: Iterable[str] | None
) -> tuple[GlotIndex, GlotEncoder]:
    """The index, made if missing, and its encoder, which in a new one is fitted to the texts.

    Raises:
        InputError: The index was made by another encoder than asked for.
    """
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.errors import IndexNotFoundError
    from glot_rag.index import GlotIndex

    try:
        GlotIndex.open(out, read_only=True, check=False).close()  # the checks come with the real opening
    except IndexNotFoundError:
        encoder = GlotEncoder.from_pretrained(backbone or "minilm", pooling=pooling)
        if texts is not None and "fit" in encoder.capabilities:
            encoder = _fitted(encoder, texts)
        return GlotIndex.create(out, encoder=encoder, save_encoder=True), encoder
    _check_asked(out, backbone, pooling)
    encoder = index_encoder(out)
    return GlotIndex.open(out, encoder=encoder), encoder


def _check_asked(out: Path, backbone: str | None, pooling: str | None) -> None:
    """Refuse an encoder for an index that another one made; what was not asked for is the index's own.

    Raises:
        InputError: A backbone or a pooling that differs from that of the encoder in the index.
    """
    record = out / "encoder" / "encoder.json"
    if not any((backbone, pooling)) or not record.is_file():
        return
    made_by = read_json_record(record, "glot-rag/encoder", 1 << 30)
    asked = {"backbone": backbone, "pooling": pooling}
    for name, value in asked.items():
        if value is not None and value != made_by.get(name):
            raise InputError(
                f"{out} was made with --{name} {made_by.get(name)}, not {value}; leave the option out, or make another "
                "index with --out"
            )


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
