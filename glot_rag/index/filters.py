"""Metadata filters -> SQL. Values and keys travel as parameters only; no JSON path is ever built from a key."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeGuard

from glot_rag.documents.validation import check_text, plain_scalar
from glot_rag.errors import InputError

Filter = Mapping[str, Any]
Clause = tuple[str, list[str]]  # SQL with `?` for each parameter, and the parameters

# A filter may come from a stranger. Each condition is a look into every document's metadata.
MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_VALUES = 200_000
MAX_VALUE_CHARACTERS = 1 << 24
MAX_PATH = 8  # keys in a path; a longer one is taken literally only
CASEFOLD = "glot_casefold"  # `str.casefold`, which the store's connections know by this name: SQLite's lower() is ASCII
_LOOKS_LIKE_AN_OPERATOR = re.compile(r"\$[A-Za-z_]+\Z")
_JOINERS = {"$and": " AND ", "$or": " OR "}
_NEGATED: Mapping[object, str] = {"$ne": "$eq", "$nin": "$in"}
_NUMERIC = "('integer', 'real')"
_ELEMENTS = "json_each(CASE m.type WHEN 'array' THEN m.value ELSE '[]' END)"


def compile_filter(filter: Filter) -> Clause:
    """A condition on the table `documents`, for a WHERE.

    A filter is a dict. All of its entries must match:

    ==============================================  ==========================================================
    `{"lang": "en", "year": 2024}`                  the values of these keys equal these
    `{"year": {"$gte": 2020, "$lt": 2024}}`         all operators on a key hold
    `{"author.name": "Ann"}`                        a key inside of an object: `{"author": {"name": "Ann"}}`
    `{"$and": [f, g]}`, `{"$or": [f, g]}`           all of these filters match; at least one does
    `{"$not": f}`, `{"year": {"$not": {...}}}`      what is inside does not match
    ==============================================  ==========================================================

    Operators on a key:

    ===================================  =====================================================================
    `$eq`, `$in` [values]                equals the value, one of the values
    `$ne`, `$nin` [values]               the contrary of `$eq` and `$in`
    `$gt`, `$gte`, `$lt`, `$lte`         greater or less than a number or a text
    `$exists` true or false              the key is there
    `$any`, `$all` [values]              a list holds one of the values, all of them
    `$substring`, `$isubstring`          a text holds this text, in any case for `$isubstring`
    `$empty` true or false               the key is missing, null, an empty text or an empty list
    ===================================  =====================================================================

    - `a.b` means the key `a.b` itself, or the key `b` of an object under `a`; a document that has both matches if
      either does. A path has at most 8 keys. Otherwise a key is taken literally, whatever it holds. Only a key like
      `$word` is refused, for it is most likely a misspelt operator.
    - A value matches, or is greater or less than, one of its own kind only: text, number (1 and 1.0 are equal),
      true/false, null. Texts are ordered by code point. Dates, UUIDs, paths and NumPy scalars are compared in their
      stored form, see `documents.validation.check_document`: dates as text, so give all the same form and time zone.
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
    """Compiles one filter and counts its size."""

    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0
        self._characters = 0

    def all_of(self, filter: object, what: str, depth: int) -> Clause:
        if not isinstance(filter, Mapping):
            raise InputError(f"{what} must be a dict like {{'lang': 'en'}}, got {type(filter).__name__}")
        _check_depth(depth)
        if not filter:
            self._count(conditions=1)  # it takes a place in the SQL all the same
        return _join(" AND ", [self._entry(key, value, depth) for key, value in filter.items()])

    def _entry(self, key: object, value: object, depth: int) -> Clause:
        key = check_text(key, "a filter key")
        self._count(characters=len(key))
        if key in _JOINERS:
            if not is_list(value):
                raise InputError(f"{key} takes a list of filters, got {type(value).__name__}")
            if not value:
                self._count(conditions=1)
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
        condition = OPERATORS[operator](operand, f"{what}: {operator}")
        places = places_of(key)
        self._count(conditions=condition.size * len(places))
        clauses = [_value_at(place, condition) for place in places]
        clause = _join(" OR ", clauses)
        return _negate(clause) if condition.negated else clause

    def _count(self, values: int = 0, characters: int = 0, conditions: int = 0) -> None:
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


class Condition(NamedTuple):
    """What an operator asks of one value: SQL over a row `m` of SQLite's `json_each`.

    Attributes:
        sql: With `?` for each parameter. Never NULL.
        parameters: The parameters.
        negated: True: no value of the key may match, so a document without the key does.
        size: What it counts for in the limit of a filter's size.
    """

    sql: str
    parameters: list[str]
    negated: bool = False
    size: int = 1


def is_list(values: object) -> TypeGuard[Collection[object]]:
    """Whether something is a list, tuple, set or the like, and not a text or a dict."""
    return isinstance(values, Collection) and not isinstance(values, (str, bytes, bytearray, Mapping))


def _equals(value: object, what: str) -> Condition:
    return Condition(*_one_of([value], what, "m"))


def _is_in(values: object, what: str) -> Condition:
    return Condition(*_one_of(_list(values, what), what, "m"))


def _has_any(values: object, what: str) -> Condition:
    return Condition(*_holds(_list(values, what), what))


def _has_all(values: object, what: str) -> Condition:
    each = [_holds([value], what) for value in _list(values, what)]
    sql = " AND ".join(["m.type = 'array'", *(text for text, _ in each)])
    return Condition(sql, [parameter for _, some in each for parameter in some], size=max(1, len(each)))


def _compares(sign: str) -> Callable[[object, str], Condition]:
    def compile(value: object, what: str) -> Condition:
        value = _scalar(value, what)
        if isinstance(value, bool) or value is None:
            raise InputError(f"{what} takes a number or a text, got {reprlib.repr(value)}")
        kinds = "('text')" if isinstance(value, str) else _NUMERIC
        # As JSON, like all values: the parser that reads the stored number reads this one.
        return Condition(f"m.type IN {kinds} AND m.value {sign} (SELECT value FROM json_each(?))", [_json([value])])

    return compile


def _exists(value: object, what: str) -> Condition:
    return Condition("1", [], negated=not _flag(value, what))


def _is_empty(value: object, what: str) -> Condition:
    # json_each gives an array as its JSON, in which "[]" is the only empty one.
    filled = "NOT (m.type = 'null' OR (m.type = 'text' AND m.value = '') OR (m.type = 'array' AND m.value = '[]'))"
    return Condition(filled, [], negated=_flag(value, what))


def _substring(value: object, what: str) -> Condition:
    return Condition("m.type = 'text' AND instr(m.value, ?) > 0", [check_text(value, what)])


def _substring_in_any_case(value: object, what: str) -> Condition:
    folded = check_text(value, what).casefold()
    return Condition(f"m.type = 'text' AND instr({CASEFOLD}(m.value), ?) > 0", [folded])


OPERATORS: Mapping[str, Callable[[object, str], Condition]] = {
    "$eq": _equals,
    "$in": _is_in,
    "$gt": _compares(">"),
    "$gte": _compares(">="),
    "$lt": _compares("<"),
    "$lte": _compares("<="),
    "$exists": _exists,
    "$any": _has_any,
    "$all": _has_all,
    "$substring": _substring,
    "$isubstring": _substring_in_any_case,
    "$empty": _is_empty,
}


def places_of(key: str) -> list[list[str]]:
    """The paths of keys that a filter's or a facet's key means: the key itself, and `a.b` as b in the object a."""
    path = key.split(".")
    return [[key], path] if 1 < len(path) <= MAX_PATH else [[key]]


def value_at(path: list[str]) -> tuple[str, str]:
    """SQL tables and condition that give the value at a path of keys as a row `m` of `json_each`.

    The parameters are the keys. `json_each` yields the keys themselves, so dots, quotes and brackets in a key mean
    nothing special.
    """
    tables, where, parent = [], [], "documents.metadata"
    for level in range(len(path) - 1):
        tables.append(f"json_each({parent}) AS o{level}")
        where.append(f"o{level}.key = ?")
        parent = f"CASE o{level}.type WHEN 'object' THEN o{level}.value ELSE '{{}}' END"
    return ", ".join([*tables, f"json_each({parent}) AS m"]), " AND ".join([*where, "m.key = ?"])


def _value_at(path: list[str], condition: Condition) -> Clause:
    """That a document has a value at a path of keys which meets a condition."""
    tables, where = value_at(path)
    return f"EXISTS (SELECT 1 FROM {tables} WHERE {where} AND ({condition.sql}))", [*path, *condition.parameters]


def _scalar(value: object, what: str) -> str | int | float | bool | None:
    """The stored form of what a filter compares with."""
    if is_list(value) or isinstance(value, Mapping):
        raise InputError(
            f"{what} takes a str, a number, a bool or None, got {reprlib.repr(value)}; "
            "for one of several values write {'$in': [...]}"
        )
    return plain_scalar(value, what)


def _one_of(values: Collection[object], what: str, row: str) -> Clause:
    """That the value of `row` equals one of some values, of its own kind."""
    texts, numbers, types = list[object](), list[object](), list[object]()
    for each in values:
        value = _scalar(each, what)
        if isinstance(value, bool):
            types.append("true" if value else "false")
        elif value is None:
            types.append("null")
        else:
            (texts if isinstance(value, str) else numbers).append(value)
    # As JSON lists: one parameter however many values.
    member = f"{row}.value IN (SELECT value FROM json_each(?))"
    sql = (
        f"({row}.type IN (SELECT value FROM json_each(?))"
        f" OR ({row}.type = 'text' AND {member}) OR ({row}.type IN {_NUMERIC} AND {member}))"
    )
    return sql, [_json(part) for part in (types, texts, numbers)]


def _holds(values: Collection[object], what: str) -> Clause:
    sql, parameters = _one_of(values, what, "e")
    return f"EXISTS (SELECT 1 FROM {_ELEMENTS} AS e WHERE {sql})", parameters


def _list(values: object, what: str) -> Collection[object]:
    if not is_list(values):
        raise InputError(f"{what} takes a list of values, got {type(values).__name__}")
    return values


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{what} takes True or False, got {reprlib.repr(value)}")
    return value


def _json(values: list[object]) -> str:
    return json.dumps(values, ensure_ascii=False)


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
