"""Documents read once and kept in a temporary file, for what looks at all of them before it looks at each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType

from glot_rag.documents.blocks import Block
from glot_rag.documents.document import Document
from glot_rag.documents.loaders import ReadOptions
from glot_rag.documents.reading import DocumentReader, ReadReport
from glot_rag.progress import bar

_FITTING_CHARACTERS = 1 << 28  # of a sample: 256 MB of English in memory


class DocumentSpool:
    """The documents of a reader, parsed once. A context manager: the temporary file goes at its end.

    It stands in for the reader: `files`, `report`, `incomplete`, `options`, `file_hash` and `read_file` are the same.

    Args:
        reader: of the files; all of them are read at once.
        show_progress: draw a progress bar on stderr.
    """

    def __init__(self, reader: DocumentReader, *, show_progress: bool = False) -> None:
        self._reader = reader
        self._spool = TemporaryFile()  # noqa: SIM115 (it is open as long as this is)
        self._places: dict[str, tuple[str, int, int]] = {}  # file -> its hash, where its documents begin, their number
        self._characters = 0
        try:
            self._fill(show_progress)
        except BaseException:
            self._spool.close()
            raise

    @property
    def files(self) -> list[str]:
        """Paths of what was read."""
        return self._reader.files

    @property
    def report(self) -> ReadReport:
        """What became of them."""
        return self._reader.report

    @property
    def incomplete(self) -> set[str]:
        """Files that were read, of which something was set aside."""
        return self._reader.incomplete

    @property
    def options(self) -> ReadOptions:
        """How they were read."""
        return self._reader.options

    def __len__(self) -> int:
        """How many documents there are."""
        return sum(count for _, _, count in self._places.values())

    def __iter__(self) -> Iterator[Document]:
        for path in self.files:
            yield from self.read_file(path)

    def file_hash(self, path: str) -> str:
        """The file's hash from before it was read: should it change meanwhile, the next run sees that."""
        return self._places[path][0]

    def read_file(self, path: str) -> Iterator[Document]:
        """The documents of one file."""
        _, place, count = self._places[path]
        for _ in range(count):
            self._spool.seek(place)
            line = self._spool.readline()
            place += len(line)
            id, text, metadata, blocks = json.loads(line)
            yield Document(text, id, metadata, [Block(*block) for block in blocks])

    def sample(self, most: int) -> list[Document]:
        """At most so many of the documents, evenly spread, and fewer where they are long: memory is bounded."""
        count = len(self)
        most = max(1, min(most, count * _FITTING_CHARACTERS // max(self._characters, 1)))
        chosen = set(range(count)) if count <= most else {number * count // most for number in range(most)}
        return [document for number, document in enumerate(self) if number in chosen]

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()

    def __enter__(self) -> DocumentSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, show_progress: bool) -> None:
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("reading files", total=len(self.files))
            for path in self.files:
                digest, place, count = self._reader.file_hash(path), self._spool.tell(), 0
                for document in self._reader.read_file(path):
                    record = [document.id, document.text, dict(document.metadata), document.blocks]
                    self._spool.write(json.dumps(record).encode() + b"\n")
                    self._characters += len(document.text)
                    count += 1
                self._places[path] = digest, place, count
                progress.advance(task)
