"""What every loader is given and what it gives."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, BinaryIO, Literal

from glot_rag.checks import choose
from glot_rag.documents.blocks import Block, TextBuilder
from glot_rag.documents.decoding import check_encoding, decode
from glot_rag.errors import DatasetError, InputError, MissingExtraError

HtmlText = Literal["main", "all"]

# Bytes. Checked before anything is parsed; text, JSON Lines, CSV and mail folders are streamed and have no limit.
MAX_FILE = 1 << 28
MAX_LINE = 1 << 26
LONGEST_TITLE = 200  # characters: what is marked as a heading may be a paragraph


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Args:
        html: "main" leaves navigation, headers and footers of web pages out (trafilatura); where that finds next to
            nothing, and with "all", the whole visible text is read.
        encoding: Of files that are not UTF-8 and do not declare a charset.
        rows: A row of CSV is a document; False: the file is one.
        strict: A file that cannot be read is an error; otherwise it is set aside and reported.
    """

    html: HtmlText = "main"
    encoding: str | None = None
    rows: bool = True
    strict: bool = False

    def __post_init__(self) -> None:
        choose("html", self.html, ("main", "all"))
        check_encoding(self.encoding)
        for name in ("rows", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Loaded:
    """A text as a loader found it.

    Attributes:
        text: Its blocks, a line or more each.
        blocks: Where they stand and what they are; empty where the file does not say.
        title: The file's own.
        metadata: What else it says of itself.
        number: Its line, row or message in a file that holds several; None where the file is one document.
        id: The id that the file gives it.
    """

    text: str
    blocks: Sequence[Block] = ()
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    id: str | None = None

    @classmethod
    def built(cls, builder: TextBuilder, title: str = "", metadata: Mapping[str, Any] | None = None) -> Loaded:
        """What a builder holds. Without a title of its own, its first heading of level 1 is its title."""
        if not title:
            first = next((block for block in builder.blocks if block.kind == "heading" and block.level == 1), None)
            title = builder.text[first.start : first.end] if first else ""
        return cls(builder.text, builder.blocks, " ".join(title.split())[:LONGEST_TITLE], metadata or {})


@dataclass
class FileContext:
    """What a loader knows of the file that it reads, and how it says what is wrong.

    Attributes:
        source: Where the file stands: its path, and `path!member` within an archive.
        suffix: What it is read as, e.g. ".html".
        options: How to read it.
        fail: Called with a number (a line, say) and a reason for a part that cannot be read; raises if strict.
        note: Called with something that a user should know about a file that was read.
    """

    source: str
    suffix: str
    options: ReadOptions
    fail: Callable[[int, str], None]
    note: Callable[[str], None]

    def read(self, stream: BinaryIO) -> bytes:
        """The whole file.

        Raises:
            DatasetError: It is larger than `MAX_FILE`.
        """
        data = stream.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise DatasetError(f"larger than {MAX_FILE >> 20} MB, the most that is read of a {self.suffix} file")
        return data

    def decode(self, data: bytes, declared: str | None = None) -> str:
        """Text of the file, or of a part of it; replaced bytes are noted."""
        decoded = decode(data, declared=declared, encoding=self.options.encoding)
        if decoded.replaced:
            self.note(f"{decoded.replaced:,} damaged characters were replaced (read as {decoded.encoding})")
        return decoded.text


Loader = Callable[[BinaryIO, FileContext], Iterator[Loaded]]


def library(name: str, package: str | None = None) -> ModuleType:
    """Import a library that the extra `documents` installs.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(package or name.partition(".")[0], "documents") from None
