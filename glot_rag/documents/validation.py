"""Checks of a document before it is stored: what its id, text and metadata may hold.

Readers of files and the index use the same checks, so that what a reader lets through can be stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from glot_rag.documents.document import Document
from glot_rag.errors import InputError

MAX_ID_BYTES = 1024
MAX_METADATA_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 28  # SQLite holds at most 10^9 bytes in a row
MAX_DEPTH = 100  # of lists and objects in each other
INT64 = range(-(1 << 63), 1 << 63)


def check_text(text: object, what: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Give `text` back if it is a str that UTF-8 can hold in `limit` bytes.

    A lone surrogate (half of a UTF-16 pair, as in text decoded with `errors="surrogateescape"`) has no UTF-8 form:
    storing it would need a replacement character, and the text that comes back would not be the one that went in.

    Raises:
        InputError: It is not.
    """
    if not isinstance(text, str):
        raise InputError(f"{what} must be a str, got {type(text).__name__}")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} has a lone surrogate {text[error.start]!r} at position {error.start}, which UTF-8 cannot hold; "
            "decode the source as UTF-8, or clean it with text.encode('utf-8', 'replace').decode()"
        ) from None
    if size > limit:
        raise InputError(f"{what} takes {size} bytes in UTF-8, more than the {limit} allowed")
    return text


def check_id(id: object, what: str = "a document id") -> str:
    """Give `id` back if it can name a document.

    NUL is refused because SQLite's own functions and other tools on the file end a text there: two ids could pass for
    one.

    Raises:
        InputError: It cannot.
    """
    text = check_text(id, what, MAX_ID_BYTES)
    if not text or "\0" in text:
        raise InputError(f"{what} must not be empty or hold a NUL character, got {text!r}")
    return text


def metadata_to_json(metadata: object, what: str) -> str:
    """Metadata as JSON text, made so that reading it back gives an equal object.

    Raises:
        InputError: It is not a JSON object (a tuple, an int as a key, NaN and bytes have no JSON form), has text that
            UTF-8 cannot hold or a NUL, an integer beyond 64 bits that a filter could not compare, or takes over 1
            MiB.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"{what} must be a dict, got {type(metadata).__name__}")
    plain = dict(metadata)
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        same = json.loads(text) == plain
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be written as JSON: {error}") from None
    if not same:
        raise InputError(f"{what} would change in JSON: use str keys, and lists for tuples")
    _check_values(plain, what)
    for key, value in plain.items():
        if isinstance(value, int) and value not in INT64:
            raise InputError(f"{what}[{key!r}] is beyond 64 bits: {value}; store it as a str")
    return check_text(text, what, MAX_METADATA_BYTES)


def _check_values(metadata: object, what: str) -> None:
    """Walk nested metadata level by level: no NUL in any text, and at most `MAX_DEPTH` levels."""
    level = [metadata]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, str) and "\0" in value:
                raise InputError(f"{what} holds a NUL character, which SQLite's JSON functions drop")
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise InputError(f"{what} is nested more than {MAX_DEPTH} levels deep; flatten it")


def check_document(document: object) -> tuple[str, str, str]:
    """(id, text, metadata as JSON) of a valid document.

    Raises:
        InputError: Something else than a `Document`, or one with a part that cannot be stored.
    """
    if not isinstance(document, Document):
        raise InputError(
            f"expected a Document, got {type(document).__name__}; write Document(text=…, id=…, metadata=…)"
        )
    id = check_id(document.id)
    text = check_text(document.text, f"the text of document {id!r}")
    return id, text, metadata_to_json(document.metadata, f"the metadata of document {id!r}")
