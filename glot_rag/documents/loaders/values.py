"""Values of other formats (YAML, mail headers, document properties) as JSON's."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

_DEPTH = 20
_INT64 = range(-(1 << 63), 1 << 63)


def plain_metadata(values: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping as a JSON object: keys become str, dates ISO 8601, whatever JSON has no form for its str; no NULs."""
    return {_text(key): _plain(value, 0) for key, value in values.items() if value not in (None, "")}


def _text(value: Any) -> str:
    shown = value if isinstance(value, str) else str(value)
    return shown.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool) or (isinstance(value, int) and value in _INT64):
        return value
    if isinstance(value, float) and value - value == 0:  # neither NaN nor infinite
        return value
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return value.isoformat()
    if depth < _DEPTH and isinstance(value, Mapping):
        return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _DEPTH and isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    return _text(value)
