"""One loader a format, found by a file's suffix, or by its content where the suffix does not tell or lies."""

from __future__ import annotations

import re

from glot_rag.documents.loaders.base import HtmlText, Loaded, Loader, ReadOptions
from glot_rag.documents.loaders.columns import load_arrow, load_parquet
from glot_rag.documents.loaders.epub import load_epub
from glot_rag.documents.loaders.html import load_html
from glot_rag.documents.loaders.json_files import load_json, load_jsonl, load_notebook
from glot_rag.documents.loaders.mail import load_eml, load_mbox
from glot_rag.documents.loaders.markdown import load_markdown
from glot_rag.documents.loaders.office import load_docx, load_pptx
from glot_rag.documents.loaders.pdf import load_pdf
from glot_rag.documents.loaders.rst import load_rst
from glot_rag.documents.loaders.tables import load_table
from glot_rag.documents.loaders.text import load_code, load_text

_CODE = (
    ".bash .c .cc .cfg .clj .conf .cpp .cs .cu .cxx .dart .el .ex .exs .f90 .go .h .hh .hpp .hs .ini "
    ".java .jl .js .jsx .kt .lisp .lua .m .mjs .ml .pas .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rs "
    ".scala .sh .sql .swift .tf .toml .ts .tsx .vb .yaml .yml .zig"
)
_TEXT = ".txt .text .log .adoc .org .tex .srt .vtt .nfo .textile"

LOADERS: dict[str, Loader] = {
    **dict.fromkeys(_TEXT.split(), load_text),
    **dict.fromkeys(_CODE.split(), load_code),
    **dict.fromkeys((".html", ".htm", ".xhtml"), load_html),
    **dict.fromkeys((".md", ".markdown"), load_markdown),
    **dict.fromkeys((".csv", ".tsv"), load_table),
    **dict.fromkeys((".jsonl", ".ndjson"), load_jsonl),
    ".json": load_json,
    ".ipynb": load_notebook,
    ".parquet": load_parquet,
    ".arrow": load_arrow,
    ".rst": load_rst,
    ".pdf": load_pdf,
    ".docx": load_docx,
    ".pptx": load_pptx,
    ".epub": load_epub,
    ".eml": load_eml,
    ".mbox": load_mbox,
}
LOADERS_VERSION = 2  # goes up with every change that alters a file's text: indexes then read such files again
# The packages whose own changes alter a text, too
LIBRARIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("selectolax", "trafilatura")),
    **dict.fromkeys((".eml", ".mbox"), ("selectolax",)),
    **dict.fromkeys((".md", ".markdown", ".ipynb"), ("markdown-it-py", "selectolax")),
    ".epub": ("lxml", "selectolax"),
    ".pdf": ("pypdfium2",),
    ".docx": ("python-docx",),
    ".pptx": ("python-pptx",),
    ".rst": ("docutils",),
}
ZIPPED = (".docx", ".pptx", ".epub")  # formats that are zip archives themselves
SNIFFED = 4096  # bytes at the beginning of a file that tell what it is

_HTML = re.compile(
    rb"\A(?:<\?xml[^>]*>|<!--(?:(?!-->).)*-->|\s)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_MAILBOX = re.compile(rb"\AFrom \S+ [^\n]*\d{4}\s*\n")
_MAIL = re.compile(
    rb"\A(?:Return-Path|Received|Delivered-To|Message-ID|From|MIME-Version): [^\n]*\n(?:[\w-]+: |[ \t])", re.I
)
_MARKS = {
    b"%PDF-": ".pdf",
    b"PK\x03\x04": ".zip",
    b"\x1f\x8b": ".gz",
    b"PAR1": ".parquet",
    b"ARROW1\0\0": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ".doc",
}
_BINARY = {".pdf", ".docx", ".pptx", ".epub", ".parquet", ".arrow", ".zip", ".gz"}
_TEXT_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def kind_of(suffix: str, head: bytes) -> str | None:
    """The suffix that a file should have had.

    Args:
        suffix: The one that it has, in lower case.
        head: Its first `SNIFFED` bytes.

    Returns:
        A key of `LOADERS`, or ".zip", ".gz", ".doc" (an old Office file, which nothing here reads), or None for a
        binary file of a kind that is not known.
    """
    found = next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), None)
    if found == ".zip" and suffix in ZIPPED:
        return suffix
    if found:
        return found
    if _HTML.match(head):
        return suffix if suffix in (".htm", ".xhtml") else ".html"
    if b"\0" in head and not head.startswith(_TEXT_MARKS):
        return None
    if suffix in LOADERS and suffix not in _BINARY:
        return suffix
    if _MAILBOX.match(head):
        return ".mbox"
    return ".eml" if _MAIL.match(head) else ".txt"


__all__ = [
    "LIBRARIES",
    "LOADERS",
    "LOADERS_VERSION",
    "SNIFFED",
    "ZIPPED",
    "HtmlText",
    "Loaded",
    "Loader",
    "ReadOptions",
    "kind_of",
]
