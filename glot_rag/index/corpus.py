"""A corpus of files in an index: chunked, stored with where they come from, and read again only when they change."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from pathlib import Path

from glot_rag.documents.document import Document
from glot_rag.documents.reading import DocumentReader, ReadReport, name_problem
from glot_rag.documents.spool import DocumentSpool
from glot_rag.errors import InputError
from glot_rag.index.api import GlotIndex
from glot_rag.index.chunking import NEARLY_WHOLE, Chunker, NoiseReport, StoredChunk
from glot_rag.progress import bar

BATCH = 256  # chunks a commit
_DENOISED = 1 << 17  # characters of the documents that are denoised together: seconds of work that Ctrl-C loses

logger = logging.getLogger(__name__)

Files = DocumentReader | DocumentSpool


@dataclass
class CorpusReport:
    """What became of a corpus.

    Attributes:
        read: What was read, and what was not.
        noise: What was dropped as noise.
        unchanged: Files that are in the index as they are, and were not read again.
        chunks: Chunks that were stored.
        removed: Chunks that were removed: of shorter files and, with `sync`, of files that are gone.
        finished: False after Ctrl-C: what was stored stays, and the next run goes on.
    """

    read: ReadReport = field(default_factory=ReadReport)
    noise: NoiseReport = field(default_factory=NoiseReport)
    unchanged: int = 0
    chunks: int = 0
    removed: int = 0
    finished: bool = False


def index_corpus(
    index: GlotIndex,
    files: Files,
    chunker: Chunker,
    *,
    sync: Sequence[str | os.PathLike[str]] = (),
    show_progress: bool = False,
) -> CorpusReport:
    """Store the chunks of files.

    A chunk's id is `file#number`. Its text is what is kept of the file there, and its metadata hold `file`, `source`
    (the file, or a member of an archive), `title`, `headings`, `start` and `end` in the document's text as it was read,
    `kept` (the share of the document's words that was kept, where noise is dropped), `lines` of a plain text, `page`
    of a PDF, `document` (the document's id where a file has several), `hash` of the file, and what the file says of
    itself. A file's first chunk is committed last, so that a run which was cut off reads that file again.

    Args:
        index: Open for writing, with its encoder.
        files: To be read, or read already.
        chunker: Drops their noise and cuts them.
        sync: Folders: files below them that are in the index, but no longer among the files, are removed.
        show_progress: Show a bar on stderr.

    Raises:
        InputError: As `chunk_document`.
        DatasetError: A file cannot be read, and the reader is strict.
    """
    report = CorpusReport(files.report)
    sizes = {file: _size(file) for file in files.files}
    before = dict(zip(files.files, accumulate(sizes.values(), initial=0), strict=False))  # bytes of the files before
    total = sum(sizes.values())
    with bar(disable=not show_progress, of_bytes=True) as progress:
        task = progress.add_task("indexing", total=total)
        writer = _Writer(index, report)
        try:
            for file, document, chunks in _chunked(index, files, chunker, report):
                writer.begin(file)
                for chunk in chunks:
                    writer.add(chunk)
                    read = file.characters + chunk.metadata["end"]  # of the text, which is about as long as the file
                    progress.update(task, completed=before[file.path] + min(read, sizes[file.path]))
                if document is not None:
                    file.characters += len(document.text)
                else:
                    writer.end(file, keep=file.path in files.incomplete)
                    progress.update(task, completed=before[file.path] + sizes[file.path])
            writer.flush()
            progress.update(task, completed=total)
            if sync:
                report.removed += index.delete(list(_gone(index, files, sync)))
            report.finished = True
        except KeyboardInterrupt:
            logger.warning("stopped: what was stored stays, and the next run goes on")
    return report


@dataclass
class _File:
    """A file that is being stored.

    Attributes:
        path: Where it is.
        hash: Of its bytes and of how they are read, cleaned and cut.
        characters: Of the documents that were stored so far.
        words: That were read.
        kept: Words that were kept.
    """

    path: str
    hash: str
    characters: int = 0
    words: int = 0
    kept: int = 0


def _changed(
    index: GlotIndex, files: Files, chunker: Chunker, report: CorpusReport
) -> Iterator[tuple[_File, Document | None]]:
    """The documents of files that are not in the index as they are; after a file's last one comes None."""
    options = replace(files.options, strict=False)  # which alters no text
    settings = f"{chunker.settings} {options}"
    for path in files.files:
        digest = files.file_hash(path)
        if digest:
            digest = hashlib.sha256(f"{settings} {digest}".encode()).hexdigest()[:32]
        before = [] if name_problem(path) else index.get([f"{path}#0"])
        file = _File(path, digest)
        if digest and before and before[0].metadata.get("hash") == digest:
            report.unchanged += 1
            continue
        for document in files.read_file(path):
            yield file, document
        yield file, None


def _chunked(
    index: GlotIndex, files: Files, chunker: Chunker, report: CorpusReport
) -> Iterator[tuple[_File, Document | None, Iterator[StoredChunk]]]:
    """The same with the chunks of each document; documents are denoised some at a time."""
    batch: list[tuple[_File, Document | None]] = []
    size = 0
    for file, document in chain(_changed(index, files, chunker, report), [(None, None)]):
        if file is not None:
            batch.append((file, document))
            size += 0 if document is None else len(document.text)
        if size < _DENOISED and len(batch) < BATCH and file is not None:
            continue
        found = iter(chunker.denoise([each for _, each in batch if each is not None]))
        for of_file, each in batch:
            if each is None:
                yield of_file, None, iter(())
                continue
            denoised = next(found)
            if denoised is not None:
                words = len(each.text.split())
                of_file.words += words
                of_file.kept += round(words * denoised.kept)
            yield of_file, each, chunker.cut(each, denoised, of_file.path, report.noise)
        batch, size = [], 0


class _Writer:
    """Puts chunks into an index, so many a commit, and a file's first chunk last."""

    def __init__(self, index: GlotIndex, report: CorpusReport) -> None:
        self._index = index
        self._report = report
        self._batch: list[tuple[Document, str]] = []
        self._file: _File | None = None
        self._first: tuple[Document, str] | None = None
        self._count = 0

    def begin(self, file: _File) -> None:
        """Go on with a file, or turn to the next one."""
        if file is not self._file:
            self._file, self._first, self._count = file, None, 0

    def add(self, chunk: StoredChunk) -> None:
        """Store a chunk of the file, under the next number."""
        assert self._file is not None
        metadata = {**chunk.metadata, "hash": self._file.hash}
        stored = Document(chunk.text, f"{self._file.path}#{self._count}", metadata), chunk.embedded
        self._count += 1
        if self._first is None:
            self._first = stored
            return
        self._batch.append(stored)
        if len(self._batch) >= BATCH:
            self.flush()

    def end(self, file: _File, keep: bool) -> None:
        """A file is through.

        Args:
            file: The file.
            keep: It could not be read in full: if it gave nothing, the index keeps what it had.
        """
        if self._count or not keep:
            self._report.removed += _remove_after(self._index, file.path, self._count)
        if self._first is not None:
            self._batch.append(self._first)
        if file.words and file.kept < NEARLY_WHOLE * file.words:
            self._report.noise.nearly_whole.append((file.path, file.kept / file.words))
        self._file = None
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Commit what waits."""
        batch, self._batch = self._batch, []
        documents = [document for document, _ in batch]
        if any(document.text != embedded for document, embedded in batch):
            if self._index.encoder is None:
                raise InputError("the index was opened without an encoder; use GlotIndex.open(path, encoder=...)")
            vectors = self._index.encoder.encode_documents([embedded for _, embedded in batch])
            self._index.add_vectors(documents, vectors)
        elif documents:
            self._index.add(documents)
        self._report.chunks += len(batch)


def _remove_after(index: GlotIndex, file: str, count: int) -> int:
    """Remove the chunks of a file from a number on: it had more of them, or a run that was cut off left them."""
    removed = 0
    for start in range(count, 1 << 62, BATCH):
        old = [document.id for document in index.get([f"{file}#{n}" for n in range(start, start + BATCH)])]
        if not old:
            break
        removed += index.delete(old)
    return removed


def _gone(index: GlotIndex, files: Files, folders: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    """Ids of chunks of files below the folders that are not among the files."""
    found = set(files.files)
    roots = [Path(os.path.realpath(folder)).as_posix().rstrip("/") + "/" for folder in folders]
    for id in index.ids():
        file = id.rpartition("#")[0]
        if file not in found and any(file.startswith(root) for root in roots):
            yield id


def _size(file: str) -> int:
    try:
        return os.path.getsize(file)
    except OSError:
        return 0
