"""Fingerprints: hashes of what decides a vector, by name and value.

What a value is stored in (a file's bytes, a library's serialisation) has no part in it, and neither has a setting at
its default: a setting that a later version adds changes no fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np


def fingerprint(values: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> str:
    """SHA-256 of named values.

    Args:
        values: name -> a NumPy array, or anything that JSON can hold. None is left out.
        defaults: name -> the value that is left out under that name.

    Returns:
        64 hexadecimal digits. The order of the names does not matter; arrays count by type, shape and content.
    """
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        if isinstance(value, np.ndarray):
            header = [name, value.dtype.str, list(value.shape)]
            content = np.ascontiguousarray(value).tobytes()
        elif value is None or (defaults is not None and name in defaults and defaults[name] == value):
            continue
        else:
            header, content = [name, "json"], json.dumps(value, sort_keys=True).encode()
        digest.update(json.dumps([*header, len(content)]).encode())
        digest.update(content)
    return digest.hexdigest()
