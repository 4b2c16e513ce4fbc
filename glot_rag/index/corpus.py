"""A corpus of files in an index: chunked, stored with where they come from, and read again only when they change."""

from __future__ import annotations

import hashlib
import logging
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from glot_rag.documents.chunks import Chunk, TokenSpans, chunk_document
from glot_rag.documents.document import Document
from glot_rag.documents.loaders import LOADERS
from glot_rag.documents.loaders.text import load_code, load_text
from glot_rag.documents.reading import DocumentReader, ReadReport
from glot_rag.errors import InputError
from glot_rag.index.api import GlotIndex
from glot_rag.progress import bar

BATCH = 256  # chunks a commit
_BLOCK = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChunkOptions:
    """How documents become chunks: see `documents.chunks.chunk_document`.

    Args:
        max_tokens: Tokens that a chunk may have.
        overlap: Tokens that it repeats from the one before, at most.
        prefix: Embed the title and the headings above a chunk in front of it; they are not stored with its text.
    """

    max_tokens: int
    overlap: int = 32
    prefix: bool = False


@dataclass
class CorpusReport:
    """What became of a corpus.

    Attributes:
        read: What was read, and what was not.
        unchanged: Files that are in the index as they are, and were not read again.
        chunks: Chunks that were stored.
        removed: Chunks that were removed: of shorter files and, with `sync`, of files that are gone.
        finished: False after Ctrl-C: what was stored stays, and the next run goes on.
    """

    read: ReadReport = field(default_factory=ReadReport)
    unchanged: int = 0
    chunks: int = 0
    removed: int = 0
    finished: bool = False


def index_corpus(
    index: GlotIndex,
    reader: DocumentReader,
    token_spans: TokenSpans,
    options: ChunkOptions,
    *,
    sync: Sequence[str | os.PathLike[str]] = (),
    show_progress: bool = False,
) -> CorpusReport:
    """Store the chunks of files.

    A chunk's id is `file#number`. Its metadata hold `file`, `source` (the file, or a member of an archive), `title`,
    `headings`, `start` and `end` in the document's text, `lines` of a plain text, `page` of a PDF,
    `document` (the document's id where a file has several), `hash` of the file, and what the file says of itself. A
    file's first chunk is committed last, so that a run which was cut off reads that file again.

    Args:
        index: Open for writing, with its encoder.
        reader: The files.
        token_spans: Tells where the tokens of a text stand: `GlotEncoder.token_spans`.
        options: How to cut.
        sync: Folders: files below them that are in the index, but no longer among the reader's, are removed.
        show_progress: Show a bar on stderr.

    Raises:
        InputError: As `chunk_document`.
        DatasetError: A file cannot be read, and the reader is strict.
    """
    report = CorpusReport(reader.report)
    settings = f"{options} {reader.options}"
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("Indexing files", total=len(reader.files))
        try:
            for file in reader.files:
                _store_file(index, reader, file, token_spans, options, settings, report)
                progress.advance(task)
            if sync:
                report.removed += index.delete(list(_gone(index, reader, sync)))
            report.finished = True
        except KeyboardInterrupt:
            logger.warning("stopped: what was stored stays, and the next run goes on")
    return report


def _store_file(
    index: GlotIndex,
    reader: DocumentReader,
    file: str,
    token_spans: TokenSpans,
    options: ChunkOptions,
    settings: str,
    report: CorpusReport,
) -> None:
    digest = _hash(file, settings)
    before = index.get([f"{file}#0"])
    if digest and before and before[0].metadata.get("hash") == digest:
        report.unchanged += 1
        return
    aside = len(reader.report.set_aside)
    count = 0
    first: tuple[Document, str] | None = None
    batch: list[tuple[Document, str]] = []
    for chunk, document, line in _chunks(reader, file, token_spans, options):
        stored = _stored(chunk, document, line, file, digest)
        count += 1
        if first is None:
            first = stored
            continue
        batch.append(stored)
        if len(batch) == BATCH:
            _add(index, batch)
            batch = []
    if count or len(reader.report.set_aside) == aside:  # a file that can no longer be read keeps what it had
        report.removed += _remove_after(index, file, count)
    _add(index, batch + ([first] if first else []))
    report.chunks += count


def _chunks(
    reader: DocumentReader, file: str, token_spans: TokenSpans, options: ChunkOptions
) -> Iterator[tuple[Chunk, Document, int | None]]:
    """The chunks of a file with their documents and, in a plain text, the line on which each begins."""
    number = 0
    for document in reader.read_file(file):
        plain = document.id == file and LOADERS.get(PurePosixPath(file).suffix.lower()) in (load_text, load_code)
        line, counted = 1, 0
        for chunk in chunk_document(
            document,
            token_spans,
            max_tokens=options.max_tokens,
            overlap=options.overlap,
            prefix=options.prefix,
            first_number=number,
        ):
            line += document.text.count("\n", counted, chunk.start) - document.text.count("\n", chunk.start, counted)
            counted = chunk.start
            yield chunk, document, line if plain else None
            number += 1


def _stored(chunk: Chunk, document: Document, line: int | None, file: str, digest: str) -> tuple[Document, str]:
    """A chunk as the index stores it, and the text that is embedded."""
    metadata: dict[str, Any] = {
        **document.metadata,
        "file": file,
        "headings": list(chunk.headings),
        "start": chunk.start,
        "end": chunk.end,
        "hash": digest,
    }
    if document.id != document.source:
        metadata["document"] = document.id
    page_starts = metadata.pop("page_starts", None)
    if page_starts:
        metadata["page"] = bisect_right(page_starts, chunk.start)
    if line is not None:
        metadata["lines"] = [line, line + chunk.text.count("\n")]
    return Document(chunk.text, f"{file}#{chunk.number}", metadata), chunk.embedded


def _add(index: GlotIndex, batch: list[tuple[Document, str]]) -> None:
    documents = [document for document, _ in batch]
    if any(document.text != embedded for document, embedded in batch):
        if index.encoder is None:
            raise InputError("the index was opened without an encoder; open it with GlotIndex.open(path, encoder=...)")
        index.add_vectors(documents, index.encoder.encode_documents([embedded for _, embedded in batch]))
    elif documents:
        index.add(documents)


def _remove_after(index: GlotIndex, file: str, count: int) -> int:
    """Remove the chunks of a file from a number on: it had more of them, or a run that was cut off left them."""
    removed = 0
    for start in range(count, 1 << 62, BATCH):
        old = [document.id for document in index.get([f"{file}#{n}" for n in range(start, start + BATCH)])]
        if not old:
            break
        removed += index.delete(old)
    return removed


def _gone(index: GlotIndex, reader: DocumentReader, folders: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    """Ids of chunks of files below the folders that the reader did not find."""
    found = set(reader.files)
    roots = [Path(os.path.realpath(folder)).as_posix().rstrip("/") + "/" for folder in folders]
    for id in index.ids():
        file = id.rpartition("#")[0]
        if file not in found and any(file.startswith(root) for root in roots):
            yield id


def _hash(file: str, settings: str) -> str:
    """Of a file's bytes and of how it is read and cut; empty for one that cannot be opened."""
    digest = hashlib.sha256(settings.encode())
    try:
        with open(file, "rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()[:32]
