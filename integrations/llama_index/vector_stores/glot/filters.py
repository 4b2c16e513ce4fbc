"""LlamaIndex's metadata filters -> the filter of a `GlotIndex`, which is applied before the search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from glot_rag.errors import InputError
from glot_rag.index.filters import Filter

# Key -> the values of which the metadata must hold one. All keys must match.
Conditions = dict[str, list[Any]]


def to_conditions(filters: MetadataFilters | None) -> Conditions:
    """What a document's metadata must hold; nothing for no filters.

    `==` and `in` are known, joined by "and", nested or not; "or" joins conditions on one and the same key.

    Raises:
        InputError: An operator or a condition that the index cannot apply; its message names it.
    """
    if filters is None or not filters.filters:
        return {}
    parts = [to_conditions(part) if isinstance(part, MetadataFilters) else _condition(part) for part in filters.filters]
    joined = FilterCondition.AND if filters.condition is None else filters.condition
    if joined == FilterCondition.NOT:
        raise InputError("the filter condition 'not' is not supported; filters are joined by 'and'")
    if joined == FilterCondition.AND or len(parts) == 1:
        return all_of(parts)
    keys = {tuple(part) for part in parts}
    if len(keys) != 1 or len(parts[0]) != 1:
        raise InputError(
            "the filter condition 'or' is supported between filters on one key only (it is an 'in' then); "
            f"got {sorted({key for part in parts for key in part})}: ask a query for each and join the results"
        )
    (key,) = parts[0]
    return {key: [value for part in parts for value in part[key]]}


def all_of(parts: Iterable[Conditions]) -> Conditions:
    """The conditions that hold where all the given ones do."""
    joined: Conditions = {}
    for part in parts:
        for key, values in part.items():
            joined[key] = [value for value in joined[key] if value in values] if key in joined else values
    return joined


def one_of(key: str, values: Sequence[str] | None) -> Conditions:
    """The condition that a key has one of some values; None for no condition."""
    return {} if values is None else {key: list(values)}


def to_filter(conditions: Conditions) -> Filter | None:
    """As `GlotIndex` takes it."""
    return {key: {"$in": values} for key, values in conditions.items()} or None


def _condition(filter: MetadataFilter) -> Conditions:
    name, value = f"the filter on {filter.key!r}", filter.value
    if filter.operator not in (FilterOperator.EQ, FilterOperator.IN):
        raise InputError(
            f"{name} has the operator {filter.operator.value!r}, which is not supported; known: '==', 'in'"
        )
    if isinstance(value, list) != (filter.operator == FilterOperator.IN):
        wanted = "a list of values" if filter.operator == FilterOperator.IN else "one value"
        raise InputError(f"{name}: the operator {filter.operator.value!r} takes {wanted}, got {value!r}")
    return {filter.key: value if isinstance(value, list) else [value]}
