"""`glot-rag index`: files into an index, without their noise, chunk by chunk; a second run reads what changed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from glot_rag.cli.denoise import fitted
from glot_rag.cli.options import ENCODER_HELP, index_encoder
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.files import read_json_record

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.documents import DocumentReader
    from glot_rag.documents.loaders import HtmlText
    from glot_rag.documents.spool import DocumentSpool
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
    pooling: Annotated[
        str | None, typer.Option(help="glot, adapool, mean, max, cls or last; mean of denoised chunks if not given.")
    ] = None,
    denoise: Annotated[
        bool | None,
        typer.Option(
            "--denoise/--no-denoise",
            help="Drop noise before chunking; also what recurs, if a new index has 50 documents or more. On in a new "
            "index.",
        ),
    ] = None,
    keep_noise: Annotated[bool, typer.Option("--keep-noise", help="Store chunks that are mostly noise, too.")] = False,
    chunk_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens a chunk; 248 if not given.")] = None,
    html: Annotated[str, typer.Option(help="Text of web pages: main (without navigation) or all.")] = "main",
    encoding: Annotated[
        str | None, typer.Option(help="Of files that are not UTF-8 and do not declare a charset, e.g. cp1252.")
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Remove files that are gone from the given folders.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a file that cannot be read, instead of setting it aside.")
    ] = False,
) -> None:
    """Index files of any format that is read, in chunks. Files that did not change are left as they are."""
    from glot_rag.documents import read_documents
    from glot_rag.documents.spool import DocumentSpool
    from glot_rag.index.chunking import Chunker, ChunkOptions
    from glot_rag.index.corpus import index_corpus

    # What is wrong with a path is told first.
    reader = read_documents(paths, html=cast("HtmlText", html), encoding=encoding, strict=strict)
    with ExitStack() as stack:
        opened, encoder = _open(out, backbone, pooling, clean=denoise is not False)
        stack.enter_context(opened)
        tokens = _chunk_tokens(encoder, chunk_tokens)
        denoiser = _kept_denoiser(out, denoise, len(opened))
        files: DocumentReader | DocumentSpool = reader
        if denoiser is None and denoise is not False and not len(opened):
            files = spool = stack.enter_context(DocumentSpool(reader, show_progress=True))
            if len(spool):  # else a denoiser that has seen nothing would be kept, for all that is added later
                denoiser = _new_denoiser(out, spool, asked=denoise is True)
        options = ChunkOptions(tokens, overlap=min(32, tokens // 8), keep_noise=keep_noise)
        chunker = Chunker(encoder.token_spans, options, denoiser)
        folders = [path for path in paths if path.is_dir()] if sync else []
        report = index_corpus(opened, files, chunker, sync=folders, show_progress=True)
        total = len(opened)
    for line in (*report.read.lines(), *report.noise.lines()):
        typer.echo(line, err=True)
    unchanged = f"; {report.unchanged:,} files unchanged" if report.unchanged else ""
    removed = f"; {report.removed:,} chunks removed" if report.removed else ""
    typer.echo(f"{report.chunks:,} chunks from {report.read.files:,} files{unchanged}{removed}; {total:,} in {out}")
    if not report.finished:
        typer.echo("Stopped: what was stored stays, and the next run goes on.", err=True)
        raise typer.Exit(130)
    if not total and not report.removed:
        raise InputError(f"no text in {', '.join(map(str, paths))}: nothing to index")


def _open(out: Path, backbone: str | None, pooling: str | None, clean: bool) -> tuple[GlotIndex, GlotEncoder]:
    """The index, made if missing, and its encoder, which does not denoise.

    Args:
        out: Directory of the index.
        backbone: As asked for.
        pooling: As asked for; if not, a new index of clean chunks gets mean pooling: GLOT would look for noise in them
            once more.
        clean: Whether the chunks of a new index have been through a denoiser.

    Raises:
        InputError: The index was made by another encoder than asked for.
    """
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.encoder.loading import is_bundle
    from glot_rag.errors import IndexNotFoundError
    from glot_rag.index import GlotIndex

    try:
        GlotIndex.open(out, read_only=True, check=False).close()  # the checks come with the real opening
    except IndexNotFoundError:
        name = backbone or "minilm"
        if clean and pooling is None and not is_bundle(name) and not (Path(name) / "encoder.json").is_file():
            pooling = "mean"
        encoder = GlotEncoder.from_pretrained(name, pooling=pooling, denoise=False)
        return GlotIndex.create(out, encoder=encoder, save_encoder=True), encoder
    _check_asked(out, backbone, pooling)
    encoder = index_encoder(out)
    return GlotIndex.open(out, encoder=encoder), encoder


def _chunk_tokens(encoder: GlotEncoder, asked: int | None) -> int:
    most = encoder.max_tokens - _SPECIAL_TOKENS
    if asked is not None and asked > most:
        raise InputError(f"--chunk-tokens must be at most {most}, as the encoder reads {encoder.max_tokens} tokens")
    return min(most, MAX_CHUNK_TOKENS - _SPECIAL_TOKENS) if asked is None else asked


def _kept_denoiser(out: Path, asked: bool | None, stored: int) -> Denoiser | None:
    """The denoiser that the index was made with, so that new files are treated like those before.

    Raises:
        InputError: The index is not empty, and was made in the other way than is asked for.
    """
    from glot_rag.index.kept_denoiser import kept_denoiser

    kept = kept_denoiser(out)
    if asked is not None and asked != (kept is not None) and (stored or kept is not None):
        made = "--no-denoise" if asked else "--denoise"
        raise InputError(f"{out} was made with {made}: leave the option out, or make another index with --out")
    return kept


def _new_denoiser(out: Path, documents: DocumentSpool, *, asked: bool) -> Denoiser | None:
    """A denoiser that is fitted to the documents, if they are enough, and kept with the index.

    It is the one that goes with the index's encoder. Where that cannot run and was not asked for by name, documents are
    indexed as they are, and that is said.
    """
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.encoder.loading import denoiser_of
    from glot_rag.index.kept_denoiser import keep_denoiser

    try:
        denoiser = Denoiser.from_pretrained(denoiser_of(out / "encoder"))
    except MissingExtraError as error:
        if asked:
            raise
        typer.echo(f"Documents are indexed as they are, not denoised: {error}", err=True)
        return None
    denoiser = fitted(denoiser, documents)
    keep_denoiser(denoiser, out)
    return denoiser


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
