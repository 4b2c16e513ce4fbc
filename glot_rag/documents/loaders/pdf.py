"""PDF by PDFium: the text layer, page by page."""

from __future__ import annotations

import re
import threading
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
# PDFium's sign for a word that the end of a line divides; before a capital or a digit the hyphen is the word's own.
_DIVIDED, _OWN_HYPHEN = re.compile("\ufffe\\s*"), re.compile("\ufffe\\s*(?=[A-Z0-9])")
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-‐]\n[ \t]*(?=[^\W\d_A-Z])")
_pdfium = threading.Lock()  # it is not safe between threads


def load_pdf(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A PDF file. Words divided at the end of a line are joined.

    `metadata["pages"]` says how many pages it has, and `metadata["page_starts"]` where in the text each begins.
    """
    pdfium = library("pypdfium2")
    data = file.read(stream)
    with _pdfium:
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise DatasetError("it needs a password; save a copy without one") from None
            raise DatasetError(f"not a PDF, or a damaged one: {error}") from None
        try:
            about = _about(document)
            texts = [_page(document, number) for number in range(len(document))]
        finally:
            document.close()
    builder = TextBuilder()
    page_starts = []
    for text in texts:
        page_starts.append(builder.length)
        for line in (text or "").split("\n"):
            builder.add(_LEADERS.sub(" …", " ".join(line.split())), "unknown")
    pages = len(texts)
    unread = [str(number) for number, text in enumerate(texts, 1) if text is None]
    if unread:
        file.note(f"{len(unread)} of {pages} pages cannot be read: {', '.join(unread[:5])}")
    if pages and not builder.blocks:
        raise DatasetError(
            f"no text on its {pages} pages: they are pictures; run text recognition first, e.g. ocrmypdf"
        )
    title = about.pop("title", "")
    metadata = {"pages": pages, "page_starts": page_starts, **about}
    yield Loaded(builder.text, (), " ".join(title.split()), metadata)


def _page(document: Any, number: int) -> str | None:
    """The text of a page; None if it cannot be read."""
    try:
        text = str(document[number].get_textpage().get_text_range())
    except RuntimeError:  # PDFium's own error is one
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").translate(_LIGATURES)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _HYPHENATED.sub("", _DIVIDED.sub("", _OWN_HYPHEN.sub("-", text)))


def _about(document: Any) -> dict[str, str]:
    """Title and author, if the file names them."""
    found = document.get_metadata_dict()
    about = plain_metadata({"title": found.get("Title"), "author": found.get("Author")})
    return {key: str(value) for key, value in about.items() if str(value).strip() and str(value) != "untitled"}
