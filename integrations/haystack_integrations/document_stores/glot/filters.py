"""Haystack's filters as those of a `GlotIndex`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from haystack.errors import FilterError

from glot_rag.index.filters import Filter

NOTHING: Filter = {"$or": []}
_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_LOGIC: Mapping[str, Callable[[list[Filter]], Filter]] = {
    "AND": lambda parts: {"$and": parts},
    "OR": lambda parts: {"$or": parts},
    "NOT": lambda parts: {"$not": {"$and": parts}},
}


def to_filter(filters: Mapping[str, Any] | None) -> Filter | None:
    """The index's filter for one of Haystack's; None for none.

    Raises:
        FilterError: It is not one of Haystack's, or asks for something else than metadata.
    """
    if not filters:
        return None
    if not isinstance(filters, Mapping):
        raise FilterError(f"filters must be a dict, got {type(filters).__name__}")
    return _comparison(filters) if "field" in filters else _logic(filters)


def _logic(filters: Mapping[str, Any]) -> Filter:
    for key in ("operator", "conditions"):
        if key not in filters:
            raise FilterError(f"'{key}' is missing in {dict(filters)!r:.200}")
    if filters["operator"] not in _LOGIC:
        raise FilterError(f"unknown operator {filters['operator']!r}; known between conditions: {', '.join(_LOGIC)}")
    return _LOGIC[filters["operator"]]([to_filter(part) or {} for part in filters["conditions"]])


def _comparison(condition: Mapping[str, Any]) -> Filter:
    for key in ("operator", "value"):
        if key not in condition:
            raise FilterError(f"'{key}' is missing in {dict(condition)!r:.200}")
    field, operator, value = condition["field"], condition["operator"], condition["value"]
    if field in ("id", "content", "embedding", "score", "blob"):
        raise FilterError(f"this store filters by metadata, not by {field!r}; write 'meta.…'")
    key = str(field).removeprefix("meta.")
    if operator in ("==", "!="):
        missing: Filter = {"$or": [{key: None}, {key: {"$exists": False}}]}
        equal = missing if value is None else {key: _listed(value)}
        return equal if operator == "==" else {"$not": equal}
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} takes a list, got {type(value).__name__}")
        return {key: {"$in": value}} if operator == "in" else {key: {"$nin": value}}
    if operator in _ORDER:
        return NOTHING if value is None else {key: {_ORDER[operator]: _ordered(value, operator)}}
    raise FilterError(f"unknown operator {operator!r}; known: ==, !=, in, not in, {', '.join(_ORDER)}")


def _listed(value: Any) -> Any:
    if isinstance(value, list):
        raise FilterError("'==' and '!=' compare with a single value, got a list; use 'in' or 'not in'")
    return value


def _ordered(value: Any, operator: str) -> Any:
    """Numbers and dates; of texts Haystack orders only dates in ISO 8601, whose order is that of their characters."""
    if isinstance(value, list):
        raise FilterError(f"{operator!r} takes a number or a date, got a list")
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise FilterError(f"{operator!r} takes a number or a date in ISO 8601, got {value!r:.100}") from error
    return value
