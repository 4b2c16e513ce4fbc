"""Checks of ids, counts and vectors that users hand in; those of documents are in `documents.validation`."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.documents.validation import check_id
from glot_rag.embedder import Vectors
from glot_rag.errors import InputError

_TINY = 1e-100  # the norm of a vector whose numbers' squares may have lost digits


def check_ids(ids: Iterable[str]) -> list[str]:
    """A list of valid ids. A bare str is refused, since it would be taken for its characters."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputError(f"ids must be a list of str, got the {type(ids).__name__} {ids!r}; write [{ids!r}]")
    return [check_id(id) for id in ids]


def check_count(count: object, what: str = "k", least: int = 1) -> int:
    """Give a count back as an int if it is one, of Python or NumPy, and not less than `least`.

    Raises:
        InputError: It is not.
    """
    if isinstance(count, (bool, np.bool_)) or not isinstance(count, (int, np.integer)) or count < least:
        raise InputError(f"{what} must be an int of {least} or more, got {reprlib.repr(count)}")
    return int(count)


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
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if len(norms) and norms.min() > _TINY and norms.max() < np.inf:  # no NaN: it would compare as False
        made = np.empty(rows.shape, np.float32)
        np.divide(rows, norms[:, None], out=made, casting="same_kind")
        return made
    # Scaled by the largest magnitude first: squares of very large or small numbers leave the range of float64.
    scale = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    bad = ~np.isfinite(scale[:, 0]) | (scale[:, 0] == 0)
    if bad.any():
        row = int(np.argmax(bad))
        name = f"number {row}" if names is None else f"of document {names[row]!r}"
        kind = "is all zeros and has no direction" if scale[row, 0] == 0 else "has a NaN or an infinity"
        raise InputError(f"the vector {name} {kind}")
    rows = rows / scale
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def check_number(value: object, what: str) -> float:
    """Give a number back as a float if it is one, of Python or NumPy, and not NaN.

    Raises:
        InputError: It is not.
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or math.isnan(float(value)):  # type: ignore[arg-type]
        raise InputError(f"{what} must be a number, got {reprlib.repr(value)}")
    return float(value)  # type: ignore[arg-type]
