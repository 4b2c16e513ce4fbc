"""EPUB: the chapters of a book in the order of reading."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.loaders.base import MAX_FILE, FileContext, Loaded, library
from glot_rag.documents.loaders.html import html_of_xhtml, read_html
from glot_rag.documents.loaders.values import plain_metadata
from glot_rag.errors import DatasetError

_MAX_RECORD = 1 << 24  # bytes of the container and of the package file
_PAGES = ("application/xhtml+xml", "text/html")


def load_epub(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A book: its title, creator and language are metadata, its pages one text."""
    with zipfile.ZipFile(stream) as book:
        container = _xml(book, "META-INF/container.xml")
        rootfile = container.find(".//{*}rootfile")
        if rootfile is None:
            raise DatasetError("not an EPUB: META-INF/container.xml names no package file")
        place = rootfile.get("full-path", "")
        package = _xml(book, place)
        items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
        builder = TextBuilder()
        left = MAX_FILE
        for reference in package.iterfind(".//{*}spine/{*}itemref"):
            item = items.get(reference.get("idref"))
            if item is None or item.get("media-type") not in _PAGES or "nav" in (item.get("properties") or "").split():
                continue
            name = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(item.get("href", ""))))
            data = _read(book, name, left)
            left -= len(data)
            read_html(html_of_xhtml(file.decode(data)), builder)
    about = {
        name: found.text
        for name in ("title", "creator", "language", "date")
        if (found := package.find(f".//{{*}}metadata/{{*}}{name}")) is not None
    }
    yield Loaded.built(builder, about.pop("title", "") or "", plain_metadata(about))


def _read(book: zipfile.ZipFile, name: str, most: int) -> bytes:
    try:
        with book.open(name) as member:
            data = member.read(most + 1)
    except KeyError:
        raise DatasetError(f"not an EPUB, or an incomplete one: it has no {name}") from None
    if len(data) > most:
        raise DatasetError(f"its pages are larger than {MAX_FILE >> 20} MB")
    return data


def _xml(book: zipfile.ZipFile, name: str) -> Any:
    etree = library("lxml.etree", "lxml")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    return etree.fromstring(_read(book, name, _MAX_RECORD), parser)
