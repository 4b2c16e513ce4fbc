"""The tables of a store, by format version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache

BOOKKEEPING = """
CREATE TABLE manifest (body TEXT NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE state (sequence INTEGER, next_key INTEGER, documents INTEGER, horizon INTEGER, checksum BLOB NOT NULL);
CREATE TABLE tombstones (key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE INDEX tombstones_by_sequence ON tombstones (sequence);
CREATE TABLE checkpoints (
    number INTEGER PRIMARY KEY, sequence INTEGER, sha256 BLOB, size INTEGER, vectors INTEGER, checksum BLOB NOT NULL)
"""
# The index holds all that a filter reads: without it, a filter would walk over texts too.
DOCUMENTS = """
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, checksum BLOB NOT NULL,
    metadata TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX documents_by_metadata ON documents (metadata);
CREATE TABLE vectors (key INTEGER PRIMARY KEY, seal BLOB NOT NULL, vector BLOB NOT NULL)
"""
# One table for both, and one checksum: every hit had to read and hash its vector, most of a document's bytes.
DOCUMENTS_1 = """
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, checksum BLOB NOT NULL,
    metadata TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL);
CREATE INDEX documents_by_sequence ON documents (sequence);
CREATE INDEX documents_by_metadata ON documents (metadata)
"""


def create(connection: sqlite3.Connection, *parts: str) -> None:
    """Make tables, in the transaction that is open if there is one."""
    for part in parts:
        for statement in part.split(";"):
            connection.execute(statement.strip())  # SQLite notes an index with what follows it


@cache
def known_tables(format_version: int) -> frozenset[tuple[bytes | None, ...]]:
    """What SQLite notes about the tables of a format: (type, name, SQL) of each."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = bytes
        create(connection, BOOKKEEPING, DOCUMENTS_1 if format_version == 1 else DOCUMENTS)
        return frozenset(connection.execute("SELECT type, name, sql FROM sqlite_master"))
