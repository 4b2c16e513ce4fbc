"""Word and PowerPoint files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from glot_rag.documents.blocks import Kind, TextBuilder
from glot_rag.documents.loaders.base import FileContext, Loaded, library
from glot_rag.documents.loaders.values import plain_metadata

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def load_docx(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A Word file: headings, paragraphs, lists and tables of its body, without page headers and footers."""
    document = library("docx", "python-docx").Document(stream)
    styles = {style.style_id: style.name or "" for style in document.styles if style.style_id}
    builder = TextBuilder()
    # Over the XML: python-docx looks every cell of a table up anew, which takes quadratic time.
    _add_body(document.element.body, styles, builder)
    yield Loaded.built(builder, *_about(document.core_properties))


def _add_body(parent: Any, styles: dict[str, str], builder: TextBuilder) -> None:
    for element in parent.iterchildren():
        if element.tag == f"{_W}p":
            style = element.find(f"{_W}pPr/{_W}pStyle")
            name = styles.get(style.get(f"{_W}val"), "") if style is not None else ""
            listed = element.find(f"{_W}pPr/{_W}numPr") is not None
            builder.add(_paragraph(element), *_kind(name.lower(), listed))
        elif element.tag == f"{_W}tbl":
            for row in element.iterchildren(f"{_W}tr"):
                cells = (" ".join(_paragraph(p) for p in cell.iter(f"{_W}p")) for cell in row.iter(f"{_W}tc"))
                builder.add(" ".join(" ".join(cells).split()), "table")
        elif element.tag in (f"{_W}sdt", f"{_W}sdtContent"):  # a table of contents, a form
            _add_body(element, styles, builder)


def _kind(style: str, listed: bool) -> tuple[Kind, int]:
    if style == "title":
        return "heading", 1
    if style.startswith("heading ") and style[8:].isdigit():
        return "heading", min(int(style[8:]), 6)
    if listed or style.startswith("list"):
        return "list", 0
    return ("quoted", 0) if "quote" in style else ("paragraph", 0)


def _paragraph(element: Any) -> str:
    """The text of a paragraph; a box of text is in it twice, the second time for older programs."""
    parts = []
    for node in element.iter(f"{_W}t", f"{_W}tab", f"{_W}br", f"{_W}cr", f"{_W}noBreakHyphen"):
        if next(node.iterancestors(_FALLBACK), None) is not None:
            continue
        parts.append({"t": node.text or "", "noBreakHyphen": "-"}.get(node.tag[len(_W) :], " "))
    return "".join(parts)


def load_pptx(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A PowerPoint file: slide by slide its title as a heading, its text, its tables and the speaker's notes."""
    presentation = library("pptx", "python-pptx").Presentation(stream)
    builder = TextBuilder()
    for slide in presentation.slides:
        title = slide.shapes.title
        if title is not None and title.has_text_frame:
            builder.add(" ".join(title.text_frame.text.split()), "heading", 2)
        for shape in _shapes(slide.shapes):
            if title is not None and shape.shape_id == title.shape_id:
                continue
            if getattr(shape, "has_table", False):
                for row in shape.table._tbl.tr_lst:
                    builder.add(" ".join(" ".join(cell.text for cell in row.tc_lst).split()), "table")
            elif shape.has_text_frame:
                paragraphs = shape.text_frame.paragraphs
                for paragraph in paragraphs:
                    builder.add(" ".join(paragraph.text.split()), "list" if len(paragraphs) > 1 else "paragraph")
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            builder.add(slide.notes_slide.notes_text_frame.text.replace("\v", "\n"))
    title, metadata = _about(presentation.core_properties)
    if not title or title == "PowerPoint Presentation":
        first = next((block for block in builder.blocks if block.kind == "heading"), None)
        title = builder.text[first.start : first.end] if first else ""
    yield Loaded.built(builder, title, metadata)


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes, those in groups too, in the order of the file."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _about(properties: Any) -> tuple[str, dict[str, Any]]:
    """Title, and author and date of the last change as metadata."""
    try:
        about = plain_metadata({"author": properties.author, "modified": properties.modified})
    except ValueError:  # a date that is none
        about = {}
    return str(properties.title or ""), about
