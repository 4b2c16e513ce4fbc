"""The JSON records that bundles on disk carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glot_rag.errors import BundleError

_MAX_RECORD_BYTES = 1 << 20


def read_json_record(path: Path, expected_format: str, newest_version: int) -> dict[str, Any]:
    """Read a bundle's JSON record and check its format and version.

    Raises:
        BundleError: it is missing, damaged, of another format or newer than this library.
    """
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise BundleError(f"{path} is larger than {_MAX_RECORD_BYTES} bytes: not a {expected_format} record")
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): expected a {expected_format} record") from error
    except (ValueError, RecursionError) as error:  # too deeply nested is damaged, too
        raise BundleError(f"{path} is not JSON ({error}): the bundle is damaged, make it again") from error
    found = record.get("format") if isinstance(record, dict) else None
    if found != expected_format:
        raise BundleError(f"{path} says format {found!r}, expected {expected_format!r}")
    version = record.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= newest_version:
        raise BundleError(
            f"{path} has format version {version!r}; this glot-rag reads 1 to {newest_version}: upgrade it"
        )
    return dict(record)
