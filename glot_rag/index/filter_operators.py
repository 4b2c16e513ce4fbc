"""What a filter can ask of one value of the metadata, as SQL over a row `m` of SQLite's `json_each`."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeGuard

from glot_rag.errors import InputError
from glot_rag.index.validation import INT64, check_text

Clause = tuple[str, list[str]]
CASEFOLD = "glot_casefold"  # `str.casefold`, which the store's connections know by this name: SQLite's lower() is ASCII
_NUMERIC = "('integer', 'real')"
_ELEMENTS = "json_each(CASE m.type WHEN 'array' THEN m.value ELSE '[]' END)"


class Compiled(NamedTuple):
    """A condition on the value of a key.

    Attributes:
        sql: With `?` for each parameter. Never NULL.
        parameters: For it.
        negated: True: no value of the key may match, so a document without the key does.
        conditions: What it counts for in the limit of a filter's size.
    """

    sql: str
    parameters: list[str]
    negated: bool = False
    conditions: int = 1


def is_list(values: object) -> TypeGuard[Collection[object]]:
    """Whether something is a list, tuple, set or the like, and not a text or a dict."""
    return isinstance(values, Collection) and not isinstance(values, (str, bytes, bytearray, Mapping))


def _equals(value: object, what: str) -> Compiled:
    return Compiled(*_one_of([value], what, "m"))


def _is_in(values: object, what: str) -> Compiled:
    return Compiled(*_one_of(_list(values, what), what, "m"))


def _has_any(values: object, what: str) -> Compiled:
    return Compiled(*_holds(_list(values, what), what))


def _has_all(values: object, what: str) -> Compiled:
    each = [_holds([value], what) for value in _list(values, what)]
    sql = " AND ".join(["m.type = 'array'", *(text for text, _ in each)])
    return Compiled(sql, [parameter for _, some in each for parameter in some], conditions=max(1, len(each)))


def _compares(sign: str) -> Callable[[object, str], Compiled]:
    def compile(value: object, what: str) -> Compiled:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InputError(f"{what} takes a number or a text, got {reprlib.repr(value)}")
        check_scalar(value, what)
        kinds = "('text')" if isinstance(value, str) else _NUMERIC
        # As JSON, like all values: the parser that reads the stored number reads this one.
        return Compiled(f"m.type IN {kinds} AND m.value {sign} (SELECT value FROM json_each(?))", [_json([value])])

    return compile


def _exists(value: object, what: str) -> Compiled:
    return Compiled("1", [], negated=not _flag(value, what))


def _is_empty(value: object, what: str) -> Compiled:
    # json_each gives an array as its JSON, in which "[]" is the only empty one.
    filled = "NOT (m.type = 'null' OR (m.type = 'text' AND m.value = '') OR (m.type = 'array' AND m.value = '[]'))"
    return Compiled(filled, [], negated=_flag(value, what))


def _substring(value: object, what: str) -> Compiled:
    return Compiled("m.type = 'text' AND instr(m.value, ?) > 0", [check_text(value, what)])


def _substring_in_any_case(value: object, what: str) -> Compiled:
    folded = check_text(value, what).casefold()
    return Compiled(f"m.type = 'text' AND instr({CASEFOLD}(m.value), ?) > 0", [folded])


OPERATORS: Mapping[str, Callable[[object, str], Compiled]] = {
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


def check_scalar(value: object, what: str) -> None:
    """Refuse what no value of the metadata can be compared with.

    Raises:
        InputError: Not a str, a finite number of 64 bits, a bool or None.
    """
    if isinstance(value, str):
        check_text(value, what)
        return
    if isinstance(value, int):
        good = value in INT64
    else:
        good = math.isfinite(value) if isinstance(value, float) else value is None
    if not good:
        raise InputError(
            f"{what} must be a str, a finite number of 64 bits, a bool or None, got {reprlib.repr(value)}; "
            "for one of several values write {'$in': [...]}"
        )


def _one_of(values: Collection[object], what: str, row: str) -> Clause:
    """That the value of `row` equals one of some values, of its own kind."""
    texts, numbers, types = list[object](), list[object](), list[object]()
    for value in values:
        check_scalar(value, what)
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
