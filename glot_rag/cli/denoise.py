"""`glot-rag denoise`: files -> clean text, with a report of what was dropped."""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from glot_rag.errors import InputError
from glot_rag.progress import bar

if TYPE_CHECKING:
    from glot_rag.denoise.denoised import Denoised
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.documents import Document
    from glot_rag.documents.spool import DocumentSpool

BATCH = 256  # documents cleaned at a time: memory does not grow with the corpus
REPORT = "report.jsonl"
STANDARD = Path("-")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(denoise)


def denoise(
    paths: Annotated[
        list[Path], typer.Argument(help="Files or folders; - reads one text or web page from standard input.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="New folder for a .txt a document, and report.jsonl. Not with -.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="A backbone with a head that ships (minilm), or the folder of a saved Denoiser.")
    ] = "minilm",
    fit: Annotated[
        bool, typer.Option(help="Take what recurs in these documents for noise, where there are 50 or more.")
    ] = True,
    html: Annotated[
        str, typer.Option(help="all: the whole visible text of a page; main: what an extractor finds in the markup.")
    ] = "all",
) -> None:
    """Write documents without what looks like noise, for any embedder or language model."""
    if STANDARD in paths:
        if len(paths) > 1 or out is not None:
            raise InputError("- stands alone: one document comes from standard input, its clean text goes to stdout")
        _denoise_stream(model, html, sys.stdin.buffer, sys.stdout.buffer)
        return
    if out is None:
        raise InputError("give --out, a folder for the clean texts; or - to read standard input")
    _denoise_files(paths, out, model, fit, html)


def _load(model: str) -> Denoiser:
    from glot_rag.denoise.denoiser import Denoiser

    return Denoiser.from_pretrained(model)


def _denoise_stream(model: str, html: str, source: IO[bytes], target: IO[bytes]) -> None:
    text = _text(source.read(), html)
    (cleaned,) = _load(model).denoise([text])
    target.write(cleaned.text.encode("utf-8"))
    target.flush()


def _text(data: bytes, html: str) -> str:
    """What came from standard input; of a web page what it shows, as the denoiser knows text and no markup."""
    from glot_rag.documents.loaders import LOADERS, SNIFFED, ReadOptions, kind_of
    from glot_rag.documents.loaders.base import FileContext

    options = ReadOptions(html)  # type: ignore[arg-type]  # it checks the value
    if kind_of("", data[:SNIFFED]) == ".html":
        page = FileContext("standard input", ".html", options, lambda number, reason: None, lambda note: None)
        return next(LOADERS[".html"](BytesIO(data), page)).text
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start}): convert it first, with iconv") from None


def _denoise_files(paths: list[Path], out: Path, model: str, fit: bool, html: str) -> None:
    from glot_rag.documents import read_documents
    from glot_rag.documents.spool import DocumentSpool

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder: choose another one for the clean texts")
    reader = read_documents(paths, html=html)  # type: ignore[arg-type]  # it checks the value
    with DocumentSpool(reader, show_progress=True) as spool:
        for line in spool.report.lines():
            typer.echo(line, err=True)
        if not (count := len(spool)):
            raise InputError(f"no documents in {', '.join(map(str, paths))}: nothing to clean")
        out.mkdir(parents=True, exist_ok=True)  # before it is fitted, which may take minutes
        denoiser = _load(model)
        if fit:
            denoiser = fitted(denoiser, spool)
        total = _write(denoiser, spool, out)
    typer.echo(
        f"{count:,} documents in {out}: {total.kept:,} of {total.all:,} words kept "
        f"({total.kept / max(total.all, 1):.0%}); what was dropped, block by block: {out / REPORT}"
    )


def fitted(denoiser: Denoiser, documents: DocumentSpool) -> Denoiser:
    """The denoiser fitted to documents, by their groups; unchanged where they are too few or the head cannot be."""
    from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS, MOST_COUNTED

    if not denoiser.can_be_fitted:
        typer.echo("Not fitted: this denoiser cannot be (it was exported, or its head reads no counts).", err=True)
        return denoiser
    if len(documents) < FEWEST_DOCUMENTS:
        typer.echo(
            f"Not fitted: {len(documents)} documents do not tell what recurs, {FEWEST_DOCUMENTS} or more would.",
            err=True,
        )
        return denoiser
    sample = documents.sample(MOST_COUNTED)
    return denoiser.fit([each.text for each in sample], _groups(sample), show_progress=True)


def _groups(documents: Sequence[Document]) -> list[str] | None:
    from glot_rag.documents.groups import groups_of

    return groups_of([each.metadata for each in documents])


def _write(denoiser: Denoiser, documents: DocumentSpool, out: Path) -> _Words:
    """Clean the documents and write each, with a line of the report. Returns how many words there were and are."""
    total, count = _Words(), len(documents)
    with open(out / REPORT, "w", encoding="utf-8") as report, bar() as progress:
        task = progress.add_task("denoising", total=count)
        for number, (document, cleaned) in enumerate(_cleaned(denoiser, documents), start=1):
            name = f"{number:0{len(str(count))}d}-{_file_name(document.id)}.txt"
            (out / name).write_text(cleaned.text, encoding="utf-8")
            report.write(json.dumps(_record(document, name, cleaned), ensure_ascii=False) + "\n")
            total.add(document.text, cleaned)
            progress.advance(task)
    return total


@dataclass
class _Words:
    all: int = 0
    kept: int = 0

    def add(self, text: str, cleaned: Denoised) -> None:
        words = len(text.split())
        self.all += words
        self.kept += round(words * cleaned.kept)


def _cleaned(denoiser: Denoiser, documents: Iterable[Document]) -> Iterator[tuple[Document, Denoised]]:
    remaining = iter(documents)
    while batch := list(islice(remaining, BATCH)):
        yield from zip(batch, denoiser.denoise([each.text for each in batch], _groups(batch)), strict=True)


def _record(document: Document, name: str, cleaned: Denoised) -> dict[str, Any]:
    """A line of the report: what was kept, and every block that lost words."""
    ends = [end for _, end in cleaned.spans]
    dropped = []
    for block in cleaned.blocks:
        at = bisect_right(ends, block.start)  # the first span that ends after the block begins
        whole = at < len(ends) and cleaned.spans[at][0] <= block.start and block.end <= ends[at]
        if not whole:
            dropped.append({"text": block.text, "start": block.start, "end": block.end, "noise": round(block.noise, 3)})
    return {
        "id": document.id,
        "source": document.source,
        "file": name,
        "kept": round(cleaned.kept, 4),
        "spans": [list(span) for span in cleaned.spans],
        "dropped": dropped,
    }


def _file_name(id: str) -> str:
    """The end of an id as a file's name that every system takes."""
    last = id.replace("\\", "/").rstrip("/").split("/")[-1].removesuffix(".txt")
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in last)[:80] or "document"
