"""LlamaIndex's metadata filters -> the filter of a `GlotIndex`, which is applied before the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from glot_rag.errors import InputError
from glot_rag.index.filters import MAX_DEPTH, Filter, compile_filter

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.TEXT_MATCH: "$substring",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "$isubstring",
}
_OF_LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)


def to_filter(filters: MetadataFilters | None) -> Filter | None:
    """What a document's metadata must match; None for no filters.

    The meaning is that of LlamaIndex's own simple store: "not" matches where none of the filters does, `!=` and `nin`
    match where the key is missing, `is_empty` also an empty text or list, and `any`, `all` and `contains` look for
    elements of a list and for parts of a text. But a value is only compared with values of its kind, where that store
    raises an error or lets 1 equal `true`.

    Raises:
        InputError: An operator with a value that it cannot take, or a filter beyond the index's limits.
    """
    if filters is None or not filters.filters:
        return None
    filter = _joined(filters, 0)
    compile_filter(filter)
    return filter


def all_of(*parts: Filter | None) -> Filter | None:
    """The filter that matches where all the given ones do; None for no filter."""
    given = [part for part in parts if part is not None]
    return {"$and": given} if len(given) > 1 else given[0] if given else None


def one_of(key: str, values: Sequence[str] | None) -> Filter | None:
    """The filter that a key has one of some values; None for no filter."""
    return None if values is None else {key: {"$in": list(values)}}


def _joined(filters: MetadataFilters, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InputError(f"the filters are more than {MAX_DEPTH} levels deep")
    parts = [
        _joined(part, depth + 1) if isinstance(part, MetadataFilters) else _condition(part) for part in filters.filters
    ]
    if filters.condition == FilterCondition.OR and parts:
        return {"$or": parts}
    if filters.condition == FilterCondition.NOT and parts:
        return {"$not": {"$or": parts}}
    return {"$and": parts}


def _condition(filter: MetadataFilter) -> Filter:
    key, operator, value = filter.key, filter.operator, filter.value
    if operator == FilterOperator.IS_EMPTY:
        return {key: {"$empty": True}}
    if isinstance(value, list) != (operator in _OF_LISTS):
        wanted = "a list of values" if operator in _OF_LISTS else "one value"
        raise InputError(f"the filter on {key!r}: the operator {operator.value!r} takes {wanted}, got {value!r}")
    if operator == FilterOperator.ANY and isinstance(value, list):
        return _any_of(key, value)
    if operator == FilterOperator.ALL and isinstance(value, list):
        return {"$and": [{key: {"$exists": True, "$ne": None}}, *(_any_of(key, [one]) for one in value)]}
    if operator == FilterOperator.CONTAINS:
        return _any_of(key, [value])
    return {key: {_OPERATORS[operator]: value}}


def _any_of(key: str, values: Sequence[Any]) -> Filter:
    """That a list holds one of the values, or a text one that is a text."""
    parts = [{key: {"$substring": value}} for value in values if isinstance(value, str)]
    return {"$or": [{key: {"$any": list(values)}}, *parts]}
