"""A store of format 1 becomes one of format 2: each vector gets a place and a checksum of its own."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from glot_rag.index import schema
from glot_rag.index.manifest import FORMAT_VERSION, Manifest
from glot_rag.index.rows import seal, seal_document

_NEVER = b""  # no checksum is


def upgrade(connection: sqlite3.Connection, manifest: Manifest) -> Manifest:
    """Rewrite the documents, inside a transaction that the caller begins and commits; gives the new settings.

    Keys stay, and with them the FAISS file. A document that does not match its checksum is none the better for the
    move: it gets one that it cannot match, and is refused and named as before.
    """
    for name in ("documents_by_sequence", "documents_by_metadata"):
        connection.execute(f"DROP INDEX IF EXISTS {name}")
    connection.execute("ALTER TABLE documents RENAME TO documents_1")
    schema.create(connection, schema.DOCUMENTS)
    rows = connection.execute(
        "SELECT key, sequence, id, checksum, metadata, text, vector FROM documents_1 ORDER BY key"
    )
    for key, sequence, id, checksum, metadata, text, vector in rows:
        seals = _NEVER, _NEVER
        if _intact(checksum, key, sequence, id, metadata, text, vector):
            seals = seal_document(key, sequence, id, metadata, text), seal(key, vector)
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), CAST(? AS TEXT))",
            [key, sequence, id, seals[0], metadata, text],
        )
        connection.execute("INSERT INTO vectors VALUES (?, ?, ?)", [key, seals[1], vector])
    connection.execute("DROP TABLE documents_1")
    manifest = replace(manifest, format_version=FORMAT_VERSION)
    body = manifest.to_json()
    connection.execute("UPDATE manifest SET body = ?, checksum = ?", [body, seal(body.encode())])
    return manifest


def _intact(checksum: object, *fields: Any) -> bool:
    try:
        return seal(*fields) == checksum
    except TypeError:  # a flipped type code turned a column into another type
        return False
