"""Checks of arguments that every room shares."""

from __future__ import annotations

from glot_rag.errors import InputError


def choose(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        InputError: it is not; the message lists what is allowed.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return value
