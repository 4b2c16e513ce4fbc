"""Bytes -> text, never by a silent guess.

The order: a byte-order mark, then UTF-8, then the charset that the file declares, then the one that the caller gave.
A text that is UTF-8 but for a few damaged bytes is read with U+FFFD in their place, and they are counted.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from glot_rag.errors import DatasetError, InputError

PIECE = 1 << 22  # bytes decoded at a time
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What browsers read under these names (https://encoding.spec.whatwg.org): each is the larger set of a family.
_WIDER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "euc_kr": "cp949", "johab": "cp949", "big5": "big5hkscs", "tis-620": "cp874",
}  # fmt: skip
_DAMAGED_SHARE = 10  # at least so many intact characters beyond ASCII for each damaged byte: the text is UTF-8


class Decoded(NamedTuple):
    """A text, the encoding that it was in, and how many damaged places U+FFFD stands for."""

    text: str
    encoding: str
    replaced: int = 0


def check_encoding(encoding: str | None) -> str | None:
    """The Python name of an encoding that a caller gave.

    Raises:
        InputError: There is none of that name.
    """
    if encoding is None:
        return None
    found = _codec(encoding)
    if found is None:
        raise InputError(
            f"unknown encoding {encoding!r}; write its name as in Python, e.g. cp1252, utf-16 or shift_jis"
        )
    return found


def byte_order_mark(data: bytes) -> tuple[str, int] | None:
    """The encoding that the first bytes declare, and how many bytes the mark takes."""
    return next(((name, len(mark)) for mark, name in _MARKS if data.startswith(mark)), None)


def decode(data: bytes, *, declared: str | None = None, encoding: str | None = None) -> Decoded:
    """Decode a whole file, or a part of one.

    Args:
        data: With or without a byte-order mark.
        declared: The charset that the file itself names, if it does; an unknown one counts for nothing.
        encoding: The caller's.

    Raises:
        DatasetError: It is in none of them; says where UTF-8 fails, and what to pass.
    """
    marked = byte_order_mark(data)
    if marked is not None:
        text = data[marked[1] :].decode(marked[0], "replace")
        return Decoded(text, marked[0], text.count("\ufffd"))
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        failed = error
    for name in (declared, encoding):
        codec = name and _codec(name)
        if not codec or codec == "utf-8" or (name is declared and codec.startswith(("utf-16", "utf-32"))):
            continue  # a declaration that could be read as ASCII is not in UTF-16
        text = data.decode(codec, "replace")
        return Decoded(text, codec, text.count("\ufffd"))
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    if damaged * _DAMAGED_SHARE <= len(re.findall(r"[^\x00-\x7f\ufffd]", text)):
        return Decoded(text, "utf-8", damaged)
    raise DatasetError(
        f"not UTF-8: byte 0x{data[failed.start]:02x} at offset {failed.start:,}, and no charset is declared; "
        f"{_advice(data)}"
    )


def decode_stream(stream: BinaryIO, *, encoding: str | None = None) -> Iterator[Decoded]:
    """Decode a file of any size, a piece of a few million characters at a time, each ending with a line if it can.

    Raises:
        DatasetError: As `decode`.
    """
    rest = stream.read(PIECE)
    marked = byte_order_mark(rest)
    if marked is not None and marked[0] != "utf-8":
        decoder = codecs.getincrementaldecoder(marked[0])("replace")
        data = rest[marked[1] :]
        while data:
            following = stream.read(PIECE)
            text = decoder.decode(data, not following)
            yield Decoded(text, marked[0], text.count("\ufffd"))
            data = following
        return
    while rest:
        following = stream.read(PIECE)
        cut = rest.rfind(b"\n") + 1 if following else len(rest)
        if not cut:  # a line longer than a piece: cut between characters
            cut = len(rest)
            while cut > len(rest) - 4 and rest[cut - 1] & 0xC0 == 0x80:
                cut -= 1
            cut -= rest[cut - 1] >= 0xC0
        yield decode(rest[:cut], encoding=encoding)
        rest = rest[cut:] + following


def _codec(name: str) -> str | None:
    """The Python codec for a charset's name, as browsers take it; None for an unknown one and for those not of text."""
    try:
        found = codecs.lookup(name.strip().strip("\"'"))
        b"a".decode(found.name, "replace")  # refuses what is no encoding of text
    except (LookupError, ValueError):
        return None
    return _WIDER.get(found.name, found.name)


def _advice(data: bytes) -> str:
    """What to pass, with a guess by charset-normalizer where it is installed."""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        guessed = None
    else:
        guessed = from_bytes(data[: 1 << 16]).best()
    found = "" if guessed is None else f"; it looks like encoding={guessed.encoding!r}"
    return f"pass its encoding (glot-rag index --encoding), or convert the file with iconv{found}"
