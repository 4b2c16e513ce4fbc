"""Counts on disk: reading a safetensors file that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from glot_rag.errors import BundleError

LARGEST_FILE = 1 << 30


def read_arrays(path: Path, what: str, way_out: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, by name.

    Args:
        path: a safetensors file.
        what: what it should hold, for the message about a file that is too large.
        way_out: what to do if it cannot be read.

    Raises:
        BundleError: it is missing, damaged, or larger than `LARGEST_FILE` bytes.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BundleError(f"{path} is larger than {LARGEST_FILE} bytes: these are no {what}")
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): {way_out}") from error
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({error}): {way_out}") from error
    return arrays
