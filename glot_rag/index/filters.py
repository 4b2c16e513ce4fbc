"""Metadata filters -> SQL. Values and keys travel as parameters only; no JSON path is ever built from a key."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from glot_rag.errors import InputError
from glot_rag.index.filter_operators import OPERATORS, Clause, is_list
from glot_rag.index.validation import check_text

Filter = Mapping[str, Any]

# A filter may come from a stranger. Each condition is a look into every document's metadata.
MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_VALUES = 200_000
MAX_VALUE_CHARACTERS = 1 << 24
_LOOKS_LIKE_AN_OPERATOR = re.compile(r"\$[A-Za-z_]+\Z")


def compile_filter(filter: Filter) -> Clause:
    """A condition on the table `documents`, for a WHERE.

    A filter is a dict. All of its entries must match:

    ==============================================  ==========================================================
    `{"lang": "en", "year": 2024}`                  the values of these keys equal these
    `{"year": {"$gte": 2020, "$lt": 2024}}`         all operators on a key hold
    `{"$and": [f, g]}`, `{"$or": [f, g]}`           all of these filters match, at least one does
    `{"$not": f}`, `{"year": {"$not": {...}}}`      what is inside does not match
    ==============================================  ==========================================================

    Operators on a key: `$eq`, `$in` [values]; `$gt`, `$gte`, `$lt`, `$lte` a number or a text; `$exists` true or false;
    `$any`, `$all` [values], of a list's elements; `$substring`, and `$isubstring` in any case, of a text; `$empty`
    true or false: not there, null, an empty text or an empty list; `$ne` and `$nin`, the contrary of `$eq` and `$in`.

    - A key is a top-level key of the metadata, taken literally whatever it holds: `a.b` is a key with a dot. Only a
      key like `$word` is refused, for it is most likely a misspelt operator.
    - A value matches, or is greater or less than, one of its own kind only: text, number (1 and 1.0 are equal),
      true/false, null. Texts are ordered by code point.
    - A document without the key matches no operator but `$ne`, `$nin`, `$not` (each the exact contrary of what it
      negates) and `{"$exists": False}`, `{"$empty": True}`; not even `{"key": None}`.
    - `{"$and": []}` matches all, `{"$or": []}` and `{"$in": []}` nothing.

    Returns:
        The SQL text with `?` for each parameter, and the parameters.

    Raises:
        InputError: A key that is not a str, an operator that is not known, a value that it cannot take, or a filter
            that is too deep or too large (`MAX_DEPTH`, `MAX_CONDITIONS`, `MAX_VALUES`).
    """
    return _Compiler().all_of(filter, "a filter", 0)


class _Compiler:
    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0
        self._characters = 0

    def all_of(self, filter: object, what: str, depth: int) -> Clause:
        if not isinstance(filter, Mapping):
            raise InputError(f"{what} must be a dict like {{'lang': 'en'}}, got {type(filter).__name__}")
        _check_depth(depth)
        if not filter:
            self._count(0, 0, 1)  # it takes a place in the SQL all the same
        return _join(" AND ", [self._entry(key, value, depth) for key, value in filter.items()])

    def _entry(self, key: object, value: object, depth: int) -> Clause:
        key = check_text(key, "a filter key")
        self._count(0, len(key))
        if key in _JOINERS:
            if not is_list(value):
                raise InputError(f"{key} takes a list of filters, got {type(value).__name__}")
            if not value:
                self._count(0, 0, 1)
            inside = f"a filter in {key}"
            return _join(_JOINERS[key], [self.all_of(part, inside, depth + 1) for part in value])
        if key == "$not":
            return _negate(self.all_of(value, "the filter of $not", depth + 1))
        if _LOOKS_LIKE_AN_OPERATOR.match(key):
            raise InputError(f"unknown operator {key!r}; between filters there are: {', '.join(_JOINERS)}, $not")
        return self._on_key(key, value if isinstance(value, Mapping) else {"$eq": value}, depth)

    def _on_key(self, key: str, condition: Mapping[object, object], depth: int) -> Clause:
        what = f"filter[{key!r}]"
        _check_depth(depth)
        if not condition:
            raise InputError(f"{what} must hold at least one operator, got {{}}")
        clauses = []
        for operator, operand in condition.items():
            if operator == "$not":
                if not isinstance(operand, Mapping):
                    raise InputError(f"{what}: $not takes a dict of operators, got {reprlib.repr(operand)}")
                clauses.append(_negate(self._on_key(key, operand, depth + 1)))
            elif operator in _NEGATED:
                clauses.append(_negate(self._operator(key, _NEGATED[operator], operand, what)))
            elif isinstance(operator, str) and operator in OPERATORS:
                clauses.append(self._operator(key, operator, operand, what))
            else:
                known = ", ".join([*OPERATORS, *map(str, _NEGATED), "$not"])
                raise InputError(f"{what}: unknown operator {reprlib.repr(operator)}; known: {known}")
        return _join(" AND ", clauses)

    def _operator(self, key: str, operator: str, operand: object, what: str) -> Clause:
        values: Collection[object] = operand if is_list(operand) else [operand]
        self._count(len(values), sum(len(value) for value in values if isinstance(value, str)))
        compiled = OPERATORS[operator](operand, f"{what}: {operator}")
        self._count(0, 0, compiled.conditions)
        # json_each yields the keys themselves, so dots, quotes and brackets in a key mean nothing special.
        found = f"EXISTS (SELECT 1 FROM json_each(documents.metadata) AS m WHERE m.key = ? AND ({compiled.sql}))"
        clause = found, [key, *compiled.parameters]
        return _negate(clause) if compiled.negated else clause

    def _count(self, values: int, characters: int, conditions: int = 0) -> None:
        self._values += values
        self._characters += characters
        self._conditions += conditions
        for got, limit, name in (
            (self._conditions, MAX_CONDITIONS, "conditions"),
            (self._values, MAX_VALUES, "values"),
            (self._characters, MAX_VALUE_CHARACTERS, "characters in keys and values"),
        ):
            if got > limit:
                raise InputError(f"the filter has more than {limit} {name}; search in parts, or filter the results")


_JOINERS = {"$and": " AND ", "$or": " OR "}
_NEGATED: Mapping[object, str] = {"$ne": "$eq", "$nin": "$in"}


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"the filter is more than {MAX_DEPTH} levels deep")


def _join(word: str, clauses: list[Clause]) -> Clause:
    if not clauses:
        return ("1" if word == _JOINERS["$and"] else "0"), []
    sql = word.join(f"({text})" for text, _ in clauses) if len(clauses) > 1 else clauses[0][0]
    return sql, [parameter for _, parameters in clauses for parameter in parameters]


def _negate(clause: Clause) -> Clause:
    return f"NOT ({clause[0]})", clause[1]
