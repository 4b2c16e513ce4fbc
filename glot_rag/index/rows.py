"""One stored document, its checksum, and its way out of SQLite and back."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from glot_rag.errors import IndexCorruptedError
from glot_rag.index.document import Document

_JSON = json.JSONDecoder()  # what we wrote has no space around it: without the search for some, hits are made faster
COLUMNS = "key, sequence, id, checksum, metadata, text"
VECTOR_COLUMNS = "key, seal, vector"
WAY_OUT = (
    "Run verify() on GlotIndex.open(path, check=False) for the extent; add the documents that it names again, "
    "or restore the directory from a copy"
)


def seal(*fields: int | bytes) -> bytes:
    """16 bytes that change if any field does. SQLite itself has no checksums on its pages."""
    digest = hashlib.blake2b(digest_size=16)
    for field in fields:
        data = b"%d" % field if isinstance(field, int) else field
        digest.update(b"%d:" % len(data))  # lengths, so that bytes cannot move from one field to the next
        digest.update(data)
    return digest.digest()


def seal_document(key: int, sequence: int, id: bytes, metadata: bytes, text: bytes) -> bytes:
    """As `seal` of these fields, which every hit waits for: in one go, it takes half the time."""
    number, commit = b"%d" % key, b"%d" % sequence
    form = b"%d:%b%d:%b%d:%b%d:%b%d:%b"
    fields = (
        *(len(number), number, len(commit), commit),
        *(len(id), id, len(metadata), metadata, len(text), text),
    )
    return hashlib.blake2b(form % fields, digest_size=16).digest()


class Row(NamedTuple):
    """A document as stored, but for its vector: that is in a table of its own, so that a hit need not read it.

    Attributes:
        key: Its number in FAISS, never used for another text.
        sequence: Number of the commit that wrote it.
        id: The caller's id.
        text: The text.
        metadata: JSON object.
    """

    key: int
    sequence: int
    id: str
    text: str
    metadata: str

    def document(self) -> Document:
        """What the caller sees of it."""
        return Document(self.text, self.id, self.parsed_metadata())

    def parsed_metadata(self) -> dict[str, Any]:
        """The metadata as a new dict."""
        parsed: dict[str, Any] = _JSON.raw_decode(self.metadata)[0]
        return parsed

    def columns(self) -> tuple[int | bytes | str, ...]:
        """Values for `COLUMNS`."""
        checksum = seal_document(self.key, self.sequence, self.id.encode(), self.metadata.encode(), self.text.encode())
        return self.key, self.sequence, self.id, checksum, self.metadata, self.text

    @classmethod
    def from_columns(cls, columns: tuple[Any, ...]) -> Row:
        """Read `COLUMNS` (text as bytes: damaged text need not be UTF-8) and check them.

        Raises:
            IndexCorruptedError: They are not what was written.
        """
        key, sequence, id, checksum, metadata, text = columns
        try:
            intact = seal_document(key, sequence, id, metadata, text) == checksum and type(sequence) is int
        except TypeError:  # a flipped type code turned a column into another type
            intact = False
        if not intact:
            name = id.decode(errors="replace") if isinstance(id, bytes) else id
            raise IndexCorruptedError(f"Document {name!r} (key {key}) does not match its checksum. {WAY_OUT}")
        return cls(key, sequence, id.decode(), text.decode(), metadata.decode())


def check_vector(columns: tuple[Any, ...], vector_bytes: int, name: str | None = None) -> bytes:
    """The vector in `VECTOR_COLUMNS`: D float32, little endian as on every machine that FAISS runs on.

    Args:
        columns: As read.
        vector_bytes: 4·D.
        name: Id of the document, for the error, where it is known.

    Raises:
        IndexCorruptedError: It is not what was written, or is not there.
    """
    key, checksum, vector = columns
    if not isinstance(vector, bytes) or len(vector) != vector_bytes or seal(key, vector) != checksum:
        known = "" if name is None else f"{name!r} "
        raise IndexCorruptedError(f"The vector of document {known}(key {key}) does not match its checksum. {WAY_OUT}")
    return vector
