"""Files and folders -> documents, with an account of what was read and what was not."""

from __future__ import annotations

import gzip
import logging
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from glot_rag.documents.document import Document
from glot_rag.documents.finding import Paths, file_hash, find_files, named_files
from glot_rag.documents.loaders import LOADERS, SNIFFED, ZIPPED, HtmlText, Loaded, ReadOptions, kind_of
from glot_rag.documents.loaders.base import FileContext
from glot_rag.documents.validation import MAX_ID_BYTES, check_document
from glot_rag.errors import DatasetError, InputError, MissingExtraError

MAX_UNPACKED = 1 << 30  # bytes that an archive may unpack to, and the parts of a .docx, .pptx or .epub
MAX_MEMBERS = 100_000
OTHER_OFFICE = "an Office file of a kind that is not read, or without its suffix; save it as .docx, .pptx, .pdf or .csv"
_NUMBER = 24  # bytes of an id for `#` and a number, after the file's path
_IN_MEMORY = 1 << 26  # a member of an archive up to this size is unpacked in memory, which loaders can seek in

logger = logging.getLogger(__name__)


class SetAside(NamedTuple):
    """Something that was not read: where it stands, and why."""

    place: str
    reason: str


@dataclass
class ReadReport:
    """What became of the files.

    Attributes:
        files: Files that were read, those in archives too.
        documents: Documents that they gave.
        set_aside: What could not be read: files, and lines or rows or messages of files.
        unknown: Files of a kind that nothing here reads; by suffix.
        empty: Files, lines or rows without any text.
        notes: What a user should know about files that were read: damaged characters, say.
    """

    files: int = 0
    documents: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)
    notes: list[SetAside] = field(default_factory=list)

    def lines(self, most: int = 10) -> list[str]:
        """The report for people: a summary, then at most so many details of each sort."""
        shown = [f"{self.documents:,} documents from {self.files:,} files"]
        if self.unknown:
            kinds = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in self.unknown.most_common())
            shown.append(f"{sum(self.unknown.values()):,} files of kinds that are not read: {kinds}")
        if self.empty:
            shown.append(f"{len(self.empty):,} without text: {', '.join(self.empty[:3])}{' …' * (len(self.empty) > 3)}")
        for name, found in (("set aside", self.set_aside), ("notes", self.notes)):
            if found:
                shown.append(f"{len(found):,} {name}:")
                shown += [f"  {place}: {reason}" for place, reason in found[:most]]
                shown += [f"  … and {len(found) - most:,} more"] * (len(found) > most)
        return shown


def read_documents(
    paths: Paths,
    *,
    html: HtmlText = "main",
    encoding: str | None = None,
    rows: bool = True,
    strict: bool = False,
    relative_to: str | os.PathLike[str] | None = None,
) -> DocumentReader:
    """Read documents from files and folders of any format in `LOADERS`, also within .gz and .zip.

    A document's id is the absolute path of its file, so that it does not depend on how the file was asked for. A file
    of several documents (JSON Lines, CSV, a mail folder) gives `path#number`, the line, row or message, unless it
    names its documents itself; a file in an archive is `archive!member`. `metadata` hold `source` (the file), `title`
    if it has one, and whatever else the file says of itself.

    Args:
        paths: One path or several. A text that is named here is read whatever its suffix; in a folder only those are
            read whose suffix is known, or that have none.
        html: "main" leaves navigation and footers of web pages out; "all" is the whole visible text.
        encoding: Of files that are not UTF-8 and do not declare a charset. Nothing is guessed.
        rows: A row of CSV is a document; False: the file is one.
        strict: A file that cannot be read is an error. Otherwise it is set aside, with the reason in the report.
        relative_to: A folder: ids and sources are paths within it. For a corpus that is moved around.

    Raises:
        InputError: An unknown value of an option.
        DatasetError: As `find_files`; with `strict`, what cannot be read, with its file and line.
        MissingExtraError: While reading: a format needs the extra `documents`.
    """
    options = ReadOptions(html, encoding, rows, strict)
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)  # looked at twice
    root = None if relative_to is None else os.path.realpath(relative_to)
    return DocumentReader(find_files(paths), options, root, named_files(paths))


def name_problem(path: str) -> str:
    """Why a file's path cannot begin the ids of its chunks; an empty text if it can."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "the file name is not UTF-8; rename the file"
    most = MAX_ID_BYTES - _NUMBER
    return f"its path takes {size:,} bytes, more than {most:,}; move the file" if size > most else ""


class DocumentReader(Iterator[Document]):
    """An iterator over the documents of files.

    Attributes:
        files: Paths of what is read, known from the start.
        files_read: How many of them are done.
        report: What became of them so far.
        place: Where the last document stands: its source, with the line or row.
        incomplete: Files that were read, of which something was set aside.
        options: How they are read.
    """

    def __init__(
        self,
        files: list[str],
        options: ReadOptions | None = None,
        root: str | None = None,
        named: Collection[str] = (),
    ) -> None:
        self.files = files
        self.files_read = 0
        self.report = ReadReport()
        self.place = ""
        self.incomplete: set[str] = set()
        self.options = options or ReadOptions()
        self._root = root
        self._named = named
        self._documents = self._read()

    def __next__(self) -> Document:
        return next(self._documents)

    def _read(self) -> Iterator[Document]:
        for path in self.files:
            yield from self.read_file(path)
            self.files_read += 1

    def read_file(self, path: str) -> Iterator[Document]:
        """The documents of one file, which may be an archive.

        Raises:
            DatasetError: With `strict`, if it cannot be read.
        """
        source = path if self._root is None else Path(os.path.relpath(path, self._root)).as_posix()
        before = len(self.report.set_aside)
        try:
            if problem := name_problem(source):
                self._fail(repr(path), problem)
            else:
                with open(path, "rb") as stream:
                    size, named = os.fstat(stream.fileno()).st_size, path in self._named
                    yield from self._open(stream, source, source, size, named=named)
        except OSError as error:
            self._fail(path, f"cannot be read: {error.strerror or error}")
        if len(self.report.set_aside) > before:
            self.incomplete.add(path)

    def file_hash(self, path: str) -> str:
        """See `documents.finding.file_hash`."""
        return file_hash(path)

    def _open(
        self, stream: BinaryIO, source: str, name: str, size: int, *, depth: int = 0, named: bool = False
    ) -> Iterator[Document]:
        """Read a stream by what it holds. `name` tells its suffix; archives within archives are not opened.

        A text whose suffix no loader has is read if it was `named`, and not looked for in a folder.
        """
        try:
            suffix = PurePosixPath(name).suffix.lower()
            head = stream.read(SNIFFED)
            stream.seek(0)
            kind = kind_of(suffix, head) if head else ".txt"
            if kind == ".gz" and depth == 0:
                inner = cast(BinaryIO, _Bounded(gzip.GzipFile(fileobj=stream)))
                name = name[: -len(suffix)] if suffix == ".gz" else name
                yield from self._open(inner, source, name, size, depth=1, named=named)
            elif kind == ".zip" and depth == 0:
                yield from self._zip(stream, source)
            elif kind is None or kind not in LOADERS:
                self._unknown(source, suffix, kind)
            elif suffix and suffix not in LOADERS and kind == ".txt" and not named:
                self.report.unknown[suffix] += 1
                logger.debug("%s: no loader for %s", source, suffix)
            else:
                yield from self._load(stream, source, kind)
        except (DatasetError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            self._fail(source, str(error) or type(error).__name__)

    def _unknown(self, source: str, suffix: str, kind: str | None) -> None:
        if kind == ".doc":
            self._fail(source, "a file of an old Office format; save it as .docx or .pptx")
        elif kind in (".zip", ".gz"):
            self._fail(source, "an archive within an archive; unpack it first")
        elif suffix in LOADERS:
            self._fail(source, f"no {suffix} file: it holds NUL characters, as binary and damaged files do")
        else:
            self.report.unknown[suffix] += 1
            logger.debug("%s: a binary file of an unknown kind", source)

    def _zip(self, stream: BinaryIO, source: str) -> Iterator[Document]:
        with zipfile.ZipFile(stream) as archive:
            _check_zip(archive)
            if not {"[Content_Types].xml", "mimetype"}.isdisjoint(archive.namelist()):
                raise DatasetError(OTHER_OFFICE)
            for member in sorted(archive.infolist(), key=lambda each: each.filename):
                name = PurePosixPath(member.filename).name
                if member.is_dir() or not name or name.startswith(".") or member.filename.startswith("__MACOSX/"):
                    continue
                place = f"{source}!{member.filename}"
                if member.flag_bits & 1:
                    self._fail(place, "it needs a password; unpack it first")
                    continue
                try:
                    with archive.open(member) as unpacked:
                        whole = BytesIO(unpacked.read()) if member.file_size <= _IN_MEMORY else unpacked
                        yield from self._open(cast(BinaryIO, whole), place, name, member.file_size, depth=1)
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
                    self._fail(place, f"cannot be unpacked: {error}")

    def _load(self, stream: BinaryIO, source: str, kind: str) -> Iterator[Document]:
        """Run a loader; whatever it raises is a reason to set the file aside."""
        if kind in ZIPPED:
            with zipfile.ZipFile(stream) as archive:
                _check_zip(archive)
            stream.seek(0)

        def fail(number: int, reason: str) -> None:
            self._fail(f"{source}:{number}", reason)

        def note(message: str) -> None:
            self.report.notes.append(SetAside(source, message))
            logger.info("%s: %s", source, message)

        loaded = LOADERS[kind](stream, FileContext(source, kind, self.options, fail, note))
        counted = False  # a file of which nothing can be read was not read
        before = self.report.documents, len(self.report.set_aside), len(self.report.empty)
        while True:
            try:
                found = next(loaded, None)
            except (DatasetError, MissingExtraError, OSError, MemoryError):
                raise
            except Exception as error:  # the libraries behind the loaders raise whatever comes on damaged files
                logger.debug("%s", source, exc_info=True)
                raise DatasetError(f"damaged, or not {kind}: {type(error).__name__}: {error}") from error
            if not counted:
                counted = True
                self.report.files += 1
            if found is None:
                break
            document = self._document(found, source)
            if document is not None:
                self.report.documents += 1
                yield document
        if before == (self.report.documents, len(self.report.set_aside), len(self.report.empty)):
            self.report.empty.append(source)

    def _document(self, loaded: Loaded, source: str) -> Document | None:
        """The document, if it can be stored."""
        place = source if loaded.number is None else f"{source}:{loaded.number}"
        if not loaded.text.strip():
            self.report.empty.append(place)
            return None
        id = loaded.id or (source if loaded.number is None else f"{source}#{loaded.number}")
        metadata: dict[str, Any] = {**loaded.metadata, "source": source}
        if loaded.title:
            metadata["title"] = loaded.title
        document = Document(loaded.text, id, metadata, loaded.blocks)
        try:
            document = check_document(document)
        except InputError as error:
            self._fail(place, str(error))
            return None
        self.place = place
        return document

    def _fail(self, place: str, reason: str) -> None:
        if self.options.strict:
            raise DatasetError(f"{place}: {reason}")
        self.report.set_aside.append(SetAside(place, reason))
        logger.info("%s: %s", place, reason)


class _Bounded(BufferedReader):
    """What a packed file unpacks to, up to `MAX_UNPACKED` bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            DatasetError: It goes on beyond the limit.
        """
        data = super().read(MAX_UNPACKED + 1 if size is None or size < 0 else size)
        return self._checked(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            DatasetError: It goes on beyond the limit.
        """
        return self._checked(super().readline(size))

    def _checked(self, data: bytes) -> bytes:
        if len(data) > MAX_UNPACKED or self.tell() > MAX_UNPACKED:
            raise DatasetError(f"it unpacks to more than {MAX_UNPACKED >> 20} MB; unpack it first")
        return data


def _check_zip(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that would unpack to too much, before anything is unpacked. Members end where they say."""
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_UNPACKED:
        raise DatasetError(
            f"{len(members):,} files of {size >> 20:,} MB in an archive, more than {MAX_MEMBERS:,} or "
            f"{MAX_UNPACKED >> 20:,} MB; unpack it first"
        )
