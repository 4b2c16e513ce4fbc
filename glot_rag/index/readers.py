"""Files -> documents: text, Markdown, HTML and JSON Lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from glot_rag.documents.document import Document
from glot_rag.errors import DatasetError, InputError
from glot_rag.index.markup import html_to_text, markdown_to_text

BOM = b"\xef\xbb\xbf"
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read; small, as there may be very many.

    Attributes:
        root: The folder that was asked for, or that holds the file that was asked for itself.
        name: Its path relative to that, with `/`.
    """

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name


def find_files(paths: Paths) -> list[SourceFile]:
    """Files of a supported kind in files or folders, sorted by name, each once.

    Hidden files and folders are skipped, symbolic links to folders are not followed (they may form loops), and
    whatever is not a regular file (a pipe, say) is left alone.

    Raises:
        DatasetError: A path that does not exist, a file of another kind, a folder with nothing to read, or two files
            that would have the same name and so the same document id.
    """
    found: dict[str, SourceFile] = {}
    for root in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        files = list(_walk(Path(root)))
        if not files:
            raise DatasetError(f"{root}: no file to read in this folder; supported: {', '.join(sorted(_READERS))}")
        for file in files:
            other = found.setdefault(file.name, file)
            if other is not file and other.path.resolve() != file.path.resolve():
                raise DatasetError(
                    f"{other.path} and {file.path} would both get the id {file.name!r}; give a folder that holds both"
                )
    return [found[name] for name in sorted(found)]


def read_documents(paths: Paths, *, on_error: Literal["raise", "skip"] = "raise") -> DocumentReader:
    """Read documents from files or folders of .txt, .md, .html, .htm and .jsonl files, in the order of `find_files`.

    A file is one document: its id is its name, its metadata hold `path` (the name) and `title`, if HTML or Markdown
    has one. A line of JSONL is one: an object with `text` and, if need be, `id` or `_id` (otherwise `name#line`),
    `title`, `metadata`. All files are UTF-8, with or without a byte order mark. Files without any text give no
    document.

    Args:
        paths: One path or several.
        on_error: "skip" goes on with the next file (in JSONL: the next line) and keeps the error in `.skipped`.

    Raises:
        DatasetError: As `find_files`; while reading, a file that cannot be read, with the byte offset or line.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    return DocumentReader(find_files(paths), skip=on_error == "skip")


class DocumentReader(Iterator[Document]):
    """An iterator over documents that keeps count.

    Attributes:
        files: What is read, known from the start.
        files_read: How many files are done.
        empty: Names of files that held no text.
        skipped: Errors that were passed over.
        place: Where the last document stands: its file, in JSONL with the line.
    """

    def __init__(self, files: list[SourceFile], *, skip: bool = False) -> None:
        self.files = files
        self.files_read = 0
        self.empty: list[str] = []
        self.skipped: list[DatasetError] = []
        self.place = ""
        self._skip = skip
        self._documents = self._read()

    def __next__(self) -> Document:
        return next(self._documents)

    def _read(self) -> Iterator[Document]:
        for file in self.files:
            count = len(self.skipped)
            try:
                with open(file.path, "rb") as stream:
                    file.name.encode()  # it becomes the id
                    for document, place in _READERS[file.path.suffix.lower()](stream, file, self._fail):
                        count, self.place = -1, place
                        yield document
            except OSError as error:
                self._fail(DatasetError(f"{file.path}: cannot be read: {error.strerror or error}"))
            except UnicodeEncodeError:
                self._fail(DatasetError(f"{str(file.path)!r}: the file name is not UTF-8; rename the file"))
            except DatasetError as error:
                self._fail(error)
            if count == len(self.skipped):
                self.empty.append(file.name)
            self.files_read += 1

    def _fail(self, error: DatasetError) -> None:
        if not self._skip:
            raise error
        self.skipped.append(error)


Fail = Callable[[DatasetError], None]
# A document and where it stands
Read = tuple[Document, str]
Reader = Callable[[BinaryIO, SourceFile, Fail], Iterator[Read]]


def _walk(root: Path) -> Iterator[SourceFile]:
    if root.is_file():
        if root.suffix.lower() not in _READERS:
            raise DatasetError(f"{root}: unsupported kind of file; supported: {', '.join(sorted(_READERS))}")
        yield SourceFile(root.parent, root.name)
        return
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such file or folder")

    def fail(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for folder, folders, names in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            # A broken link counts as a file, so that reading it says so; a pipe or a socket would block.
            if path.suffix.lower() in _READERS and (path.is_file() or not path.exists()):
                yield SourceFile(root, path.relative_to(root).as_posix())


def _decode(data: bytes, path: Path, offset: int = 0) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: not UTF-8: byte 0x{data[error.start]:02x} at offset {offset + error.start}; "
            "convert it, e.g. with iconv -f LATIN1 -t UTF-8"
        ) from None


def _whole_file(convert: Callable[[str], tuple[str, str | None]]) -> Reader:
    def read(stream: BinaryIO, file: SourceFile, fail: Fail) -> Iterator[Read]:
        data = stream.read()
        start = len(BOM) if data.startswith(BOM) else 0
        try:
            text, title = convert(_decode(data[start:], file.path, start))
        except RecursionError:
            raise DatasetError(f"{file.path}: nested too deeply") from None
        if text.strip():
            yield Document(text, file.name, {"path": file.name} | ({"title": title} if title else {})), str(file.path)

    return read


def _json_lines(stream: BinaryIO, file: SourceFile, fail: Fail) -> Iterator[Read]:
    offset = 0
    for number, line in enumerate(stream, 1):
        start = len(BOM) if number == 1 and line.startswith(BOM) else 0
        if line[start:].strip():
            try:
                yield (
                    _from_json(_decode(line[start:], file.path, offset + start), file, number),
                    f"{file.path}:{number}",
                )
            except DatasetError as error:
                fail(error)
        offset += len(line)


def _from_json(line: str, file: SourceFile, number: int) -> Document:
    where = f"{file.path}:{number}"

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        record: Any = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not JSON: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DatasetError(f"{where}: expected an object with a str under 'text', got {line.strip():.80}")
    id = record.get("id", record.get("_id"))
    title, metadata = record.get("title"), record.get("metadata")
    if id is not None and (isinstance(id, bool) or not isinstance(id, (str, int)) or id == ""):
        raise DatasetError(f"{where}: 'id' must be a str or an int, got {id!r}")
    if not isinstance(title, (str, type(None))) or not isinstance(metadata, (dict, type(None))):
        raise DatasetError(f"{where}: 'title' must be a str and 'metadata' an object")
    own = {"path": file.name} | ({"title": title} if title else {})
    return Document(record["text"], f"{file.name}#{number}" if id is None else str(id), own | (metadata or {}))


_READERS: dict[str, Reader] = {
    ".txt": _whole_file(lambda text: (text, None)),
    ".md": _whole_file(markdown_to_text),
    ".html": _whole_file(html_to_text),
    ".htm": _whole_file(html_to_text),
    ".jsonl": _json_lines,
}
