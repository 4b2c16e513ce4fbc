"""The tables of the store, and a document's row with its checksum."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from functools import cache
from typing import Any, NamedTuple

from glot_rag.documents.document import Document
from glot_rag.errors import IndexCorruptedError

# `documents_by_metadata` holds everything that a filter reads: without it a filter would read the texts too.
# Vectors and counts of terms have tables and checksums of their own: a hit reads its document without reading them.
TABLES = """
CREATE TABLE manifest (body TEXT NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE state (sequence INTEGER, next_key INTEGER, documents INTEGER, horizon INTEGER, checksum BLOB NOT NULL);
CREATE TABLE tombstones (key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE INDEX tombstones_by_sequence ON tombstones (sequence);
CREATE TABLE checkpoints (
    number INTEGER PRIMARY KEY, file TEXT NOT NULL, sequence INTEGER, digest BLOB, size INTEGER, documents INTEGER,
    checksum BLOB NOT NULL);
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, checksum BLOB NOT NULL,
    metadata TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX documents_by_metadata ON documents (metadata);
CREATE TABLE vectors (key INTEGER PRIMARY KEY, vector_checksum BLOB NOT NULL, vector BLOB NOT NULL);
CREATE TABLE term_counts (key INTEGER PRIMARY KEY, counts_checksum BLOB NOT NULL, counts BLOB NOT NULL)
"""
# Tables that SQLite makes by itself: ANALYZE and `PRAGMA optimize` keep the planner's statistics in them.
_STATISTICS = {
    (b"table", b"sqlite_stat1", b"CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    (b"table", b"sqlite_stat3", b"CREATE TABLE sqlite_stat3(tbl,idx,neq,nlt,ndlt,sample)"),
    (b"table", b"sqlite_stat4", b"CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
}
COLUMNS = "key, sequence, id, checksum, metadata, text"
VECTOR_COLUMNS = "key, vector_checksum, vector"
COUNT_COLUMNS = "key, counts_checksum, counts"
WAY_OUT = (
    "Run verify() on GlotIndex.open(path, check=False) for a list of all damage; add the documents that it names "
    "again, or restore the directory from a backup"
)
_JSON = json.JSONDecoder()  # stored JSON has no space around it: `raw_decode` skips the search for some


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, in the transaction that is open if there is one."""
    for statement in TABLES.split(";"):
        connection.execute(statement.strip())  # SQLite stores the statement's text, so no spaces around it


@cache
def known_objects() -> frozenset[tuple[bytes | None, ...]]:
    """(type, name, SQL) of everything that may be in the store, as `sqlite_master` has it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = bytes
        create(connection)
        return frozenset(connection.execute("SELECT type, name, sql FROM sqlite_master")) | _STATISTICS


def checksum(*fields: int | bytes) -> bytes:
    """16 bytes that change if any field does. SQLite itself has no checksums on its pages."""
    digest = hashlib.blake2b(digest_size=16)
    for field in fields:
        data = b"%d" % field if isinstance(field, int) else field
        digest.update(b"%d:" % len(data))  # lengths, so that bytes cannot move from one field to the next
        digest.update(data)
    return digest.digest()


def document_checksum(key: int, sequence: int, id: bytes, metadata: bytes, text: bytes) -> bytes:
    """`checksum` of these fields in one call, which takes half the time: every hit waits for it."""
    number, commit = b"%d" % key, b"%d" % sequence
    form = b"%d:%b%d:%b%d:%b%d:%b%d:%b"
    fields = (
        *(len(number), number, len(commit), commit),
        *(len(id), id, len(metadata), metadata, len(text), text),
    )
    return hashlib.blake2b(form % fields, digest_size=16).digest()


def part_checksum(key: int, part: bytes) -> bytes:
    """`checksum` of these two in one call: an opening waits for those of all vectors and counts of terms."""
    number = b"%d" % key
    return hashlib.blake2b(b"%d:%b%d:%b" % (len(number), number, len(part), part), digest_size=16).digest()


class Row(NamedTuple):
    """A stored document without its vector.

    Attributes:
        key: The document's number in FAISS. A key is never used for another text.
        sequence: Number of the commit that wrote the row.
        id: The user's id.
        text: The text.
        metadata: A JSON object.
    """

    key: int
    sequence: int
    id: str
    text: str
    metadata: str

    def document(self) -> Document:
        """The document as the user gave it."""
        return Document(self.text, self.id, self.parsed_metadata())

    def parsed_metadata(self) -> dict[str, Any]:
        """The metadata as a new dict."""
        parsed: dict[str, Any] = _JSON.raw_decode(self.metadata)[0]
        return parsed

    def columns(self) -> tuple[int | bytes | str, ...]:
        """The values for `COLUMNS`."""
        encoded = self.id.encode(), self.metadata.encode(), self.text.encode()
        digest = document_checksum(self.key, self.sequence, *encoded)
        return self.key, self.sequence, self.id, digest, self.metadata, self.text

    @classmethod
    def from_columns(cls, columns: tuple[Any, ...]) -> Row:
        """Check the values of `COLUMNS` and make a row of them. Texts come as bytes: damaged ones may not be UTF-8.

        Raises:
            IndexCorruptedError: They are not what was written.
        """
        key, sequence, id, stored, metadata, text = columns
        try:
            intact = document_checksum(key, sequence, id, metadata, text) == stored and type(sequence) is int
        except TypeError:  # a flipped type code turned a column into another type
            intact = False
        if not intact:
            name = id.decode(errors="replace") if isinstance(id, bytes) else id
            raise IndexCorruptedError(f"Document {name!r} (key {key}) does not match its checksum. {WAY_OUT}")
        return cls(key, sequence, id.decode(), text.decode(), metadata.decode())


def check_vector(columns: tuple[Any, ...], vector_bytes: int, name: str | None = None) -> bytes:
    """Check the values of `VECTOR_COLUMNS` and give the vector: D float32, little endian as FAISS has them.

    Args:
        columns: As read from SQLite.
        vector_bytes: 4·D.
        name: The document's id for the error message, where it is known.

    Raises:
        IndexCorruptedError: The vector is missing, or is not what was written.
    """
    key, stored, vector = columns
    if not isinstance(vector, bytes) or len(vector) != vector_bytes or part_checksum(key, vector) != stored:
        known = "" if name is None else f"{name!r} "
        raise IndexCorruptedError(f"The vector of document {known}(key {key}) does not match its checksum. {WAY_OUT}")
    return vector


def check_counts(columns: tuple[Any, ...], name: str | None = None) -> bytes:
    """Check the values of `COUNT_COLUMNS` and give the counts of terms, as `check_vector` does a vector."""
    key, stored, counts = columns
    if not isinstance(counts, bytes) or part_checksum(key, counts) != stored:
        known = "" if name is None else f"{name!r} "
        raise IndexCorruptedError(
            f"The counts of terms of document {known}(key {key}) do not match their checksum. {WAY_OUT}"
        )
    return counts
