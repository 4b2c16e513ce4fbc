"""PDF by pypdf: the text layer, page by page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.loaders.base import FileContext, Loaded, library
from glot_rag.documents.loaders.values import plain_metadata
from glot_rag.errors import DatasetError

_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "-"}
)
_LEADERS = re.compile(r"(?: ?\.){5,}")  # of a table of contents
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-‐]\n[ \t]*(?=[^\W\d_A-Z])")


def load_pdf(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A PDF file. Words divided at the end of a line are joined.

    `metadata["pages"]` says how many pages it has, and `metadata["page_starts"]` where in the text each begins.
    """
    pypdf = library("pypdf")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each oddity of a file that it can read
    reader = pypdf.PdfReader(stream, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DatasetError("it needs a password; save a copy without one")
    builder = TextBuilder()
    unread, page_starts = [], []
    for number, page in enumerate(reader.pages, 1):
        page_starts.append(builder.length)
        try:
            text = page.extract_text()
        except Exception as error:  # one page of a damaged file; pypdf raises whatever comes
            unread.append(f"{number} ({type(error).__name__})")
            continue
        text = _HYPHENATED.sub(
            "", text.translate(_LIGATURES).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
        for line in text.replace("\0", "").split("\n"):
            builder.add(_LEADERS.sub(" …", " ".join(line.split())), "unknown")
    pages = len(reader.pages)
    if unread:
        file.note(f"{len(unread)} of {pages} pages cannot be read: {', '.join(unread[:5])}")
    if pages and not builder.blocks:
        raise DatasetError(
            f"no text on its {pages} pages: they are pictures; run text recognition first, e.g. ocrmypdf"
        )
    about = _about(reader)
    title = about.pop("title", "")
    yield Loaded(builder.text, (), " ".join(title.split()), {"pages": pages, "page_starts": page_starts, **about})


def _about(reader: Any) -> dict[str, str]:
    """Title and author, if the file names them."""
    try:
        found = reader.metadata or {}
        about = plain_metadata({"title": found.get("/Title"), "author": found.get("/Author")})
    except Exception:  # damaged properties are no reason to lose the text
        return {}
    return {key: str(value) for key, value in about.items() if str(value).strip() and str(value) != "untitled"}
