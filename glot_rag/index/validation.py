"""Checks of what callers hand in, made before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.documents.validation import (
    INT64,
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
    check_document,
    check_id,
    check_text,
    metadata_to_json,
)
from glot_rag.embedder import Vectors
from glot_rag.errors import InputError

__all__ = [
    "INT64",
    "MAX_ID_BYTES",
    "MAX_METADATA_BYTES",
    "MAX_TEXT_BYTES",
    "check_document",
    "check_id",
    "check_ids",
    "check_k",
    "check_text",
    "metadata_to_json",
    "unit_vectors",
]


def check_ids(ids: Iterable[str]) -> list[str]:
    """A list of valid ids; a bare str is refused, since it would be taken for its characters."""
    if isinstance(ids, str):
        raise InputError(f"ids must be a list of str, got the str {ids!r}; write [{ids!r}]")
    return [check_id(id) for id in ids]


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
