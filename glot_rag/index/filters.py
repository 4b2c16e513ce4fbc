"""Metadata filters -> SQL. Values and keys travel as parameters only; no JSON path is ever built from a key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from glot_rag.errors import InputError
from glot_rag.index.validation import INT64, check_text

Filter = Mapping[str, Any]
Clause = tuple[str, list[str]]


def compile_filter(filter: Filter) -> Clause:
    """A condition on the table `documents`, for a WHERE.

    `{"lang": "en", "year": {"$in": [2023, 2024]}}`: all keys must match (AND). A key is a top-level key of the
    metadata, taken literally whatever it holds. A value matches one of its own kind only: text, number (1 and 1.0 are
    equal), true/false, null. A document without the key does not match, not even None.

    Returns:
        The SQL text with `?` for each parameter, and the parameters.

    Raises:
        InputError: A key that is not a str, an operator that is not known, or a value that is not a scalar.
    """
    if not isinstance(filter, Mapping):
        raise InputError(f"a filter must be a dict like {{'lang': 'en'}}, got {type(filter).__name__}")
    clauses, parameters = ["1"], list[str]()
    for key, condition in filter.items():
        check_text(key, "a filter key")
        operator, operand = "$eq", condition
        if isinstance(condition, Mapping):
            if len(condition) != 1:
                raise InputError(f"filter[{key!r}] must hold one operator, got {sorted(map(str, condition))}")
            operator, operand = next(iter(condition.items()))
        if operator not in _OPERATORS:
            raise InputError(f"filter[{key!r}]: unknown operator {operator!r}; known: {', '.join(_OPERATORS)}")
        sql, values = _OPERATORS[operator](operand, f"filter[{key!r}]")
        # json_each yields the keys themselves, so dots, quotes and brackets in a key mean nothing special.
        clauses.append(f"EXISTS (SELECT 1 FROM json_each(documents.metadata) AS m WHERE m.key = ? AND ({sql}))")
        parameters += [key, *values]
    return " AND ".join(clauses), parameters


def _equals(value: object, what: str) -> Clause:
    return _is_in([value], what)


def _is_in(values: object, what: str) -> Clause:
    if isinstance(values, (str, Mapping)) or not isinstance(values, Collection):
        raise InputError(f"{what}: $in takes a list of values, got {type(values).__name__}")
    texts, numbers, types = list[str](), list[float](), list[str]()
    for value in values:
        if isinstance(value, bool):
            types.append("true" if value else "false")
        elif value is None:
            types.append("null")
        elif isinstance(value, str):
            texts.append(check_text(value, what))
        elif isinstance(value, (int, float)) and (value in INT64 if isinstance(value, int) else math.isfinite(value)):
            numbers.append(value)
        else:
            raise InputError(
                f"{what} must be a str, a finite number of 64 bits, a bool or None, got {value!r}; "
                "for one of several values write {'$in': [...]}"
            )
    # As JSON lists: one parameter however many values, and a number is read by the parser that reads the stored one.
    member = "m.value IN (SELECT value FROM json_each(?))"
    sql = (
        "m.type IN (SELECT value FROM json_each(?))"
        f" OR (m.type = 'text' AND {member}) OR (m.type IN ('integer', 'real') AND {member})"
    )
    return sql, [json.dumps(part, ensure_ascii=False) for part in (types, texts, numbers)]


_OPERATORS: dict[str, Callable[[object, str], Clause]] = {"$eq": _equals, "$in": _is_in}
