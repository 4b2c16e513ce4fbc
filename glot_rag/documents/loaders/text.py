"""Plain text and source code, of any size: a file of more than a few million characters becomes several documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from glot_rag.documents.blocks import Block
from glot_rag.documents.decoding import PIECE, decode_stream
from glot_rag.documents.loaders.base import FileContext, Loaded
from glot_rag.errors import DatasetError

_COOKIE = re.compile(rb"\A(?:[^\n]*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_LONG_LINES = 500


def load_text(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A text file: its lines as they are."""
    yield from _parts(stream, file)


def load_code(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """Source code: as text, and every line is known to be code.

    Raises:
        DatasetError: Its lines are as long as only programs write them: minified code, or data.
    """
    for part in _parts(stream, file):
        if len(part.text) > _LONG_LINES * 4 and len(part.text) > _LONG_LINES * (part.text.count("\n") + 1):
            raise DatasetError(f"minified or generated: its lines have more than {_LONG_LINES} characters on average")
        yield Loaded(part.text, [Block(0, len(part.text), "code")], number=part.number)


def _parts(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    if file.suffix == ".py":
        data = file.read(stream)
        cookie = _COOKIE.match(data[:1024])
        yield Loaded(_lines(file.decode(data, cookie[1].decode("ascii") if cookie else None)))
        return
    pieces = decode_stream(stream, encoding=file.options.encoding)
    first = next(pieces, None)
    if first is None:
        return
    second = next(pieces, None)
    several = second is not None
    replaced = 0
    for number, piece in enumerate(chain([first], [second] if second else [], pieces), 1):
        replaced += piece.replaced
        yield Loaded(_lines(piece.text), number=number if several else None)
    if replaced:
        file.note(f"{replaced:,} damaged characters were replaced")
    if several:
        file.note(f"a long text, read as {number:,} documents of {PIECE >> 20} MB")


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
