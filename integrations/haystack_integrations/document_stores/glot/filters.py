"""Haystack's filters as those of a `GlotIndex`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from haystack.errors import FilterError

from glot_rag.errors import InputError
from glot_rag.index.filters import Filter, compile_filter

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
    filter = _translated(filters)
    try:
        compile_filter(filter)
    except InputError as error:
        raise FilterError(str(error)) from error
    return filter


def _translated(filters: Mapping[str, Any]) -> Filter:
    if not isinstance(filters, Mapping):
        raise FilterError(f"filters must be a dict, got {type(filters).__name__}")
    if not filters:
        return {}
    return _comparison(filters) if "field" in filters else _logic(filters)


def _logic(filters: Mapping[str, Any]) -> Filter:
    for key in ("operator", "conditions"):
        if key not in filters:
            raise FilterError(f"'{key}' is missing in {dict(filters)!r:.200}")
    if filters["operator"] not in _LOGIC:
        raise FilterError(f"unknown operator {filters['operator']!r}; known between conditions: {', '.join(_LOGIC)}")
    return _LOGIC[filters["operator"]]([_translated(part) for part in filters["conditions"]])


def _comparison(condition: Mapping[str, Any]) -> Filter:
    for key in ("operator", "value"):
        if key not in condition:
            raise FilterError(f"'{key}' is missing in {dict(condition)!r:.200}")
    field, operator, value = condition["field"], condition["operator"], condition["value"]
    if field in ("id", "content", "embedding", "score", "blob"):
        raise FilterError(f"this store filters by metadata, not by {field!r}; write 'meta.…'")
    key = str(field).removeprefix("meta.")
    missing: Filter = {"$or": [{key: None}, {key: {"$exists": False}}]}  # None, in Haystack's comparisons
    if operator in ("==", "!="):
        equal = missing if value is None else {key: {"$eq": _single(value)}}
        return equal if operator == "==" else {"$not": equal}
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} takes a list, got {type(value).__name__}")
        listed: Filter = {key: {"$in": [each for each in value if each is not None]}}
        among = {"$or": [listed, missing]} if None in value else listed
        return among if operator == "in" else {"$not": among}
    if operator in _ORDER:
        return NOTHING if value is None else {key: {_ORDER[operator]: _ordered(value, operator)}}
    raise FilterError(f"unknown operator {operator!r}; known: ==, !=, in, not in, {', '.join(_ORDER)}")


def _single(value: Any) -> Any:
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
