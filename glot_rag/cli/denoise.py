"""`glot-rag denoise`: files -> clean text, with a report of what was dropped."""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from glot_rag.errors import InputError
from glot_rag.progress import bar

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoised, Denoiser

BATCH = 256  # documents cleaned at a time: memory does not grow with the corpus
REPORT = "report.jsonl"
STANDARD = Path("-")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(denoise)


def denoise(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; - reads one document from standard input.")],
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
        _denoise_stream(model, sys.stdin.buffer, sys.stdout.buffer)
        return
    if out is None:
        raise InputError("give --out, a folder for the clean texts; or - to read standard input")
    _denoise_files(paths, out, model, fit, html)


def _load(model: str) -> Denoiser:
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.head.registry import ships_block_head

    return Denoiser.from_pretrained(model, blocks=ships_block_head(model))


def _denoise_stream(model: str, source: IO[bytes], target: IO[bytes]) -> None:
    try:
        text = source.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start}): convert it first, with iconv") from None
    (cleaned,) = _load(model).denoise([text])
    target.write(cleaned.text.encode("utf-8"))
    target.flush()


def _denoise_files(paths: list[Path], out: Path, model: str, fit: bool, html: str) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder: choose another one for the clean texts")
    with TemporaryFile("w+", encoding="utf-8") as spool:
        count = _read(paths, html, spool)
        denoiser = _load(model)
        if fit:
            denoiser = _fitted(denoiser, spool, count)
        total = _write(denoiser, spool, count, out)
    typer.echo(
        f"{count:,} documents in {out}: {total.kept:,} of {total.all:,} words kept "
        f"({total.kept / max(total.all, 1):.0%}); what was dropped, block by block: {out / REPORT}"
    )


def _read(paths: list[Path], html: str, spool: IO[str]) -> int:
    """Read all documents into the spool, as fitting looks at them before they are cleaned. Returns their number."""
    from glot_rag.documents import read_documents

    documents = read_documents(paths, html=html)  # type: ignore[arg-type]  # it checks the value
    with bar() as progress:
        task = progress.add_task("reading files", total=len(documents.files))
        for document in documents:
            spool.write(json.dumps([document.id, document.source, document.text], ensure_ascii=False) + "\n")
            progress.update(task, completed=documents.files_read)
        progress.update(task, completed=len(documents.files))
    for line in documents.report.lines():
        typer.echo(line, err=True)
    if not documents.report.documents:
        raise InputError(f"no documents in {', '.join(map(str, paths))}: nothing to clean")
    return documents.report.documents


def _fitted(denoiser: Denoiser, spool: IO[str], count: int) -> Denoiser:
    """The denoiser fitted to the documents by their folders; unchanged where they are too few or the head cannot be."""
    from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS
    from glot_rag.denoise.fitting import MOST_COUNTED
    from glot_rag.models.tokenizer import sample_positions

    if denoiser.classifier is None:
        typer.echo("Not fitted: this head has no noise classifier.", err=True)
        return denoiser
    if count < FEWEST_DOCUMENTS:
        typer.echo(
            f"Not fitted: {count} documents do not tell what recurs, {FEWEST_DOCUMENTS} or more would.", err=True
        )
        return denoiser
    chosen = set(sample_positions(count, MOST_COUNTED))
    sample = [each for number, each in enumerate(_spooled(spool)) if number in chosen]
    return denoiser.fit([each.text for each in sample], [each.folder for each in sample], show_progress=True)


def _write(denoiser: Denoiser, spool: IO[str], count: int, out: Path) -> _Words:
    """Clean the documents and write each, with a line of the report. Returns how many words there were and are."""
    out.mkdir(parents=True, exist_ok=True)
    total = _Words()
    with open(out / REPORT, "w", encoding="utf-8") as report, bar() as progress:
        task = progress.add_task("denoising", total=count)
        for number, (document, cleaned) in enumerate(_cleaned(denoiser, _spooled(spool)), start=1):
            name = f"{number:0{len(str(count))}d}-{_file_name(document.id)}.txt"
            (out / name).write_text(cleaned.text, encoding="utf-8")
            report.write(json.dumps(_record(document, name, cleaned), ensure_ascii=False) + "\n")
            total.add(document.text, cleaned)
            progress.advance(task)
    return total


@dataclass(frozen=True)
class _Spooled:
    id: str
    source: str
    text: str

    @property
    def folder(self) -> str:
        """What recurs within a folder of files is noise there."""
        return str(Path(self.source).parent)


@dataclass
class _Words:
    all: int = 0
    kept: int = 0

    def add(self, text: str, cleaned: Denoised) -> None:
        words = len(text.split())
        self.all += words
        self.kept += round(words * cleaned.kept)


def _spooled(spool: IO[str]) -> Iterator[_Spooled]:
    """The documents that were read, from the first: files are parsed once."""
    spool.seek(0)
    return (_Spooled(*json.loads(line)) for line in spool)


def _cleaned(denoiser: Denoiser, documents: Iterable[_Spooled]) -> Iterator[tuple[_Spooled, Denoised]]:
    remaining = iter(documents)
    while batch := list(islice(remaining, BATCH)):
        cleaned = denoiser.denoise([each.text for each in batch], [each.folder for each in batch])
        yield from zip(batch, cleaned, strict=True)


def _record(document: _Spooled, name: str, cleaned: Denoised) -> dict[str, Any]:
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
