"""Checks of what callers hand in, made before anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.index.document import Document

MAX_ID_BYTES = 1024
MAX_METADATA_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 28  # SQLite holds at most 10^9 bytes in a row
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


def check_ids(ids: Iterable[str]) -> list[str]:
    """A list of valid ids; a bare str is refused, since it would be taken for its characters."""
    if isinstance(ids, str):
        raise InputError(f"ids must be a list of str, got the str {ids!r}; write [{ids!r}]")
    return [check_id(id) for id in ids]


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
    if _has_nul(plain):
        raise InputError(f"{what} holds a NUL character, which SQLite's JSON functions drop")
    for key, value in plain.items():
        if isinstance(value, int) and value not in INT64:
            raise InputError(f"{what}[{key!r}] is beyond 64 bits: {value}; store it as a str")
    return check_text(text, what, MAX_METADATA_BYTES)


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


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


def check_k(k: object, what: str = "k") -> int:
    """Give `k` back if it is a positive int."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"{what} must be an int of 1 or more, got {k!r}")
    return int(k)


def unit_vectors(vectors: ArrayLike, dimension: int, names: Sequence[str] | None = None) -> Vectors:
    """Rows scaled to Euclidean norm 1.

    Args:
        vectors: (N, D) numbers.
        dimension: D.
        names: N names of the rows for error messages, where there are any; then N is checked too.

    Returns:
        (N, D) float32.

    Raises:
        InputError: Another shape, a NaN or an infinity (FAISS would store it and never return it), or a row of zeros.
    """
    try:
        rows = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"vectors must be an array of numbers: {error}") from None
    wanted = "N" if names is None else str(len(names))
    if rows.ndim != 2 or rows.shape[1] != dimension or (names is not None and len(rows) != len(names)):
        raise InputError(f"vectors must have the shape ({wanted}, {dimension}), got {rows.shape}")
    # Scaled by the largest magnitude first: squares of very large or small numbers would leave the range of float64.
    scale = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    bad = ~np.isfinite(scale[:, 0]) | (scale[:, 0] == 0)
    if bad.any():
        row = int(np.argmax(bad))
        name = f"number {row}" if names is None else f"of document {names[row]!r}"
        kind = "is all zeros and has no direction" if scale[row, 0] == 0 else "has a NaN or an infinity"
        raise InputError(f"the vector {name} {kind}")
    rows = rows / scale
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
