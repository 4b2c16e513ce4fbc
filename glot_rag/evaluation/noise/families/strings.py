"""Strings that no one reads: digests, identifiers, keys, dumps, encoded attachments."""

from __future__ import annotations

import base64
import random
import urllib.parse
import uuid
from collections.abc import Callable, Iterator

# Longest lines of base64; mail has 76 characters a line, which would be one word of dozens of tokens.
_LINE = 40


def _digest(rng: random.Random) -> str:
    return rng.randbytes(rng.choice((16, 20, 32))).hex()


def _identifier(rng: random.Random) -> str:
    return str(uuid.UUID(bytes=rng.randbytes(16), version=4)).upper() if rng.random() < 0.5 else f"sha1-{_digest(rng)}"


def _dump(rng: random.Random) -> str:
    """A line as `xxd` prints it."""
    data = rng.randbytes(16)
    printable = "".join(chr(byte) if 33 <= byte < 127 else "." for byte in data)
    return f"{rng.randrange(1 << 20) * 16:08x}: {data.hex(' ', 2)} {printable}"


def _attachment(rng: random.Random) -> str:
    return base64.b64encode(rng.randbytes(rng.randint(18, 60))).decode()[:_LINE]


def _token(rng: random.Random) -> str:
    """Three parts in URL-safe base64, as a JSON web token has them."""
    parts = (base64.urlsafe_b64encode(rng.randbytes(size)).decode().rstrip("=") for size in (9, 15, 12))
    return "eyJ" + ".".join(parts)


def _escaped(rng: random.Random) -> str:
    return urllib.parse.quote(rng.randbytes(rng.randint(4, 10)), safe="") + f"&utm_id={rng.randrange(10**6)}"


def _address(rng: random.Random) -> str:
    return ":".join(f"{byte:02X}" for byte in rng.randbytes(6)) + f" fe80::{rng.randrange(1 << 16):x}"


_STYLES: tuple[Callable[[random.Random], str], ...] = (
    _digest,
    _identifier,
    _dump,
    _attachment,
    _attachment,
    _token,
    _escaped,
    _address,
)


def string_lines(rng: random.Random) -> Iterator[str]:
    """Of one sort for a while, then of another."""
    while True:
        style = rng.choice(_STYLES)
        for _ in range(rng.randint(1, 6)):
            yield style(rng)
