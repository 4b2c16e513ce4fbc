"""Checks of a document before it is stored: what its id, text and metadata may hold, and in which form they are stored.

Readers of files and the index use the same checks, so that what a reader lets through can be stored.
"""

from __future__ import annotations

import datetime
import json
import math
import reprlib
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from glot_rag.documents.document import Document
from glot_rag.errors import InputError

MAX_ID_BYTES = 1024
MAX_METADATA_BYTES = 1 << 20
MAX_METADATA_DEPTH = 64  # SQLite and Python read JSON of some 1,000 levels
MAX_TEXT_BYTES = 1 << 28  # SQLite holds at most 10^9 bytes in a row
INT64 = range(-(1 << 63), 1 << 63)


def check_document(document: object) -> Document:
    """Check that a document can be stored, and give it as an index gives it back.

    Metadata are stored as JSON. Values may be str, bool, None, int of 64 bits, finite float, and lists and dicts of
    them with str keys. These are stored in another form, which filters accept too:

    ======================================  ================================================
    datetime, date, time, numpy.datetime64  str in ISO 8601, e.g. "2026-01-31T12:00:00"
    uuid.UUID, pathlib.Path                 str
    tuple                                   list
    numpy.bool_, integer, floating, str_    bool, int, float, str
    ======================================  ================================================

    Returns:
        The document with the stored form of its metadata.

    Raises:
        InputError: Something else than a `Document`; an empty id, one of over 1,024 bytes or with a NUL character; a
            text of over 256 MiB; a lone surrogate anywhere; metadata of over 1 MiB or 64 levels, or with a value that
            has no stored form (the message names its key).
    """
    checked, metadata, _ = _checked(document)
    return Document(checked.text, checked.id, metadata, checked.blocks)


def stored_form(document: object) -> tuple[str, str, str]:
    """(id, text, metadata as JSON) of a document, checked as by `check_document`."""
    checked, _, body = _checked(document)
    return checked.id, checked.text, body


def _checked(document: object) -> tuple[Document, dict[str, Any], str]:
    if not isinstance(document, Document):
        raise InputError(
            f"expected a Document, got {type(document).__name__}; write Document(text=…, id=…, metadata=…)"
        )
    id = check_id(document.id)
    check_text(document.text, f"the text of document {id!r}")
    metadata, body = _metadata(document.metadata, f"the metadata of document {id!r}")
    return document, metadata, body


def plain_metadata(metadata: object, what: str) -> dict[str, Any]:
    """Metadata in their stored form.

    Args:
        metadata: See `check_document`.
        what: What it is, for the error message.

    Raises:
        InputError: It cannot be stored; the message names the key.
    """
    return _metadata(metadata, what)[0]


def metadata_to_json(metadata: object, what: str) -> str:
    """Metadata as the JSON text that is stored.

    Args:
        metadata: See `check_document`.
        what: What it is, for the error message.

    Raises:
        InputError: It cannot be stored; the message names the key.
    """
    return _metadata(metadata, what)[1]


def _metadata(metadata: object, what: str) -> tuple[dict[str, Any], str]:
    if not isinstance(metadata, Mapping):
        raise InputError(f"{what} must be a dict, got {type(metadata).__name__}")
    plain = {_key(key, what): _plain(value, f"{what}[{key!r}]", 1) for key, value in metadata.items()}
    body = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size = len(body.encode())
    if size > MAX_METADATA_BYTES:
        largest = max(plain, key=lambda key: len(json.dumps(plain[key])))
        raise InputError(
            f"{what} takes {size} bytes of JSON, more than the {MAX_METADATA_BYTES} allowed; the largest value is that "
            f"of {reprlib.repr(largest)}"
        )
    return plain, body


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"{what} has the key {reprlib.repr(key)} of type {type(key).__name__}; use str keys")
    return _without_nul(check_text(str.__str__(key), f"a key of {what}"), f"a key of {what}")


def _plain(value: object, where: str, depth: int) -> Any:
    """The stored form of a value of the metadata."""
    if depth > MAX_METADATA_DEPTH:
        raise InputError(f"{_shortened(where)} is more than {MAX_METADATA_DEPTH} levels deep; flatten it")
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(inner, f"{where}[{key!r}]", depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, f"{where}[{number}]", depth + 1) for number, inner in enumerate(value)]
    return plain_scalar(value, where)


def plain_scalar(value: object, where: str) -> str | int | float | bool | None:
    """The stored form of a single value: see `check_document`.

    Args:
        value: Anything.
        where: What it is, for the error message.

    Raises:
        InputError: It has none.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _without_nul(check_text(str.__str__(value), where), where)
    if isinstance(value, (int, np.integer)):
        number = int(value)
        if number not in INT64:
            raise InputError(
                f"{_shortened(where)} must fit in 64 bits, got an int of {number.bit_length() + 1}; store it as a str"
            )
        return number
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise InputError(f"{_shortened(where)} must be a finite number, got {value}; leave it out or use None")
        return float(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, PurePath, np.datetime64)):
        return _without_nul(check_text(str(value), where), where)
    raise InputError(
        f"{_shortened(where)} must be a str, int, float, bool, None, list, dict, date, UUID or Path, "
        f"got {type(value).__name__}: {reprlib.repr(value)}"
    )


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


def _without_nul(text: str, what: str) -> str:
    if "\0" in text:
        raise InputError(f"{_shortened(what)} holds a NUL character, which SQLite's JSON functions drop; remove it")
    return text


def _shortened(where: str) -> str:
    return where if len(where) <= 200 else f"{where[:120]} … {where[-60:]}"
