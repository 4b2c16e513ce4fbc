"""The formats beside HTML and Markdown, each from a small file made here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from io import BytesIO
from typing import Any

import docx
import pptx
import pytest
from pptx.util import Inches

from glot_rag.documents.loaders import kind_of
from glot_rag.errors import DatasetError


def test_text_keeps_its_lines(loads: Any) -> None:
    loaded = loads.one(".txt", "plain\r\n  text\n\nend")
    assert (loaded.text, tuple(loaded.blocks), loaded.number) == ("plain\n  text\n\nend", (), None)
    assert loads.all(".txt", "") == []


def test_source_code(loads: Any, shown: Callable[..., Any]) -> None:
    assert shown(loads.one(".js", "let x = 1;\n"))[0][1] == "code"
    assert loads.one(".py", "# -*- coding: latin-1 -*-\ns = 'é'\n".encode("latin-1")).text.endswith("s = 'é'\n")
    with pytest.raises(DatasetError, match="minified or generated"):
        loads.all(".js", "var a=1;" * 1000)


def test_lines_of_an_old_notebook_have_no_breaks(loads: Any) -> None:
    def cell(source: list[str]) -> str:
        return json.dumps({"worksheets": [{"cells": [{"cell_type": "markdown", "source": source}]}]})

    old, new = (loads.one(".ipynb", cell(lines)) for lines in (["# Guide", "Boil it."], ["# Guide\n", "Boil it."]))
    assert (old.text, old.title) == (new.text, new.title) == ("Guide\nBoil it.", "Guide")


def test_a_heading_as_long_as_a_paragraph_is_a_title_in_part(loads: Any) -> None:
    loaded = loads.one(".md", f"# {'word ' * 99}\n")
    assert (len(loaded.title), len(loaded.text)) == (200, 494)


def test_rst(loads: Any, shown: Callable[..., Any]) -> None:
    loaded = loads.one(
        ".rst",
        """=====
Guide
=====

:Author: Ada

See :ref:`the *start* <begin>` and :py:class:`~a.B`.

Use
---

- one
- two

.. note:: Mind the
   kettle.

.. versionadded:: 3.2
   The *new* way.

.. toctree::
   :maxdepth: 2

   a

::

    x = 1
      y

== ==
a  b
== ==
1  2
== ==

.. include:: /etc/passwd
.. comment

Deeper
~~~~~~

  quoted
""",
    )
    assert (loaded.title, loaded.metadata) == ("Guide", {"author": "Ada"})
    assert shown(loaded) == [
        ("Guide", "heading", 1),
        ("See the start and a.B.", "paragraph", 0),
        ("Use", "heading", 2),
        ("one", "list", 0),
        ("two", "list", 0),
        ("Mind the kettle.", "paragraph", 0),
        ("3.2", "paragraph", 0),
        ("The *new* way.", "paragraph", 0),
        ("a", "paragraph", 0),
        ("x = 1\n  y", "code", 0),
        ("a b", "table", 0),
        ("1 2", "table", 0),
        ("Deeper", "heading", 3),
        ("quoted", "quoted", 0),
    ]


def pdf(lines: list[str]) -> bytes:
    """A PDF of one page, as short as they get; readers rebuild the table of contents that it lacks."""
    drawn = "BT /F1 12 Tf 14 TL 72 700 Td " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    return (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        "/Resources<</Font<</F1 5 0 R>>>>>>endobj\n"
        f"4 0 obj<</Length {len(drawn)}>>stream\n{drawn}\nendstream endobj\n"
        "5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
        "6 0 obj<</Title(A manual)/Author(Ada)>>endobj\n"
        "trailer<</Root 1 0 R/Info 6 0 R/Size 7>>\nstartxref\n0\n%%EOF"
    ).encode("latin-1")


def test_pdf(loads: Any) -> None:
    loaded = loads.one(".pdf", pdf(["The kettle boils wa-", "ter in X-", "Ray rooms. . . . . . 5"]))
    assert loaded.text == "The kettle boils water in X-Ray rooms … 5"
    assert (loaded.title, loaded.metadata) == ("A manual", {"pages": 1, "page_starts": [0], "author": "Ada"})
    with pytest.raises(DatasetError, match="no text on its 1 pages: they are pictures; run text recognition"):
        loads.one(".pdf", pdf([]))


def test_docx(loads: Any, shown: Callable[..., Any]) -> None:
    document = docx.Document()
    document.core_properties.title, document.core_properties.author = "Manual", "Ada"
    document.add_heading("Kettle", 1)
    document.add_paragraph("It boils ").add_run("water.").bold = True
    document.add_paragraph("point", style="List Bullet")
    table = document.add_table(2, 2)
    for row, cells in zip(table.rows, (("a", "b"), ("1", "2")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.add_paragraph("said", style="Quote")
    data = BytesIO()
    document.save(data)
    loaded = loads.one(".docx", data.getvalue())
    assert (loaded.title, loaded.metadata["author"]) == ("Manual", "Ada")
    assert shown(loaded) == [
        ("Kettle", "heading", 1),
        ("It boils water.", "paragraph", 0),
        ("point", "list", 0),
        ("a b", "table", 0),
        ("1 2", "table", 0),
        ("said", "quoted", 0),
    ]


def test_pptx(loads: Any, shown: Callable[..., Any]) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Boiling"
    slide.placeholders[1].text = "first\nsecond"
    table = slide.shapes.add_table(1, 2, Inches(1), Inches(1), Inches(2), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
    slide.notes_slide.notes_text_frame.text = "Say hello."
    data = BytesIO()
    presentation.save(data)
    loaded = loads.one(".pptx", data.getvalue())
    assert loaded.title == "Boiling"
    assert shown(loaded) == [
        ("Boiling", "heading", 2),
        ("first", "list", 0),
        ("second", "list", 0),
        ("a b", "table", 0),
        ("Say hello.", "paragraph", 0),
    ]


def test_epub(loads: Any, shown: Callable[..., Any]) -> None:
    data = BytesIO()
    page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    with zipfile.ZipFile(data, "w") as book:
        book.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'
        )
        book.writestr(
            "O/p.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
            "<dc:title>A book</dc:title><dc:creator>Ada</dc:creator></metadata><manifest>"
            '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
            '<item id="b" href="b%20c.xhtml" media-type="application/xhtml+xml"/>'
            '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
            '<spine><itemref idref="n"/><itemref idref="b"/><itemref idref="a"/></spine></package>',
        )
        book.writestr("O/nav.xhtml", page.format("<p>contents</p>"))
        book.writestr("O/b c.xhtml", page.format("<h1>One</h1><p>First.</p>"))
        book.writestr("O/a.xhtml", page.format("<h1>Two</h1><p>Last.</p>"))
    loaded = loads.one(".epub", data.getvalue())
    assert (loaded.title, loaded.metadata, loaded.text) == ("A book", {"creator": "Ada"}, "One\nFirst.\nTwo\nLast.")
    assert [kind for _, kind, _ in shown(loaded)] == ["heading", "paragraph", "heading", "paragraph"]


def mail(text: str = "Hello,\n\nall is well.\n> I asked\nBye\n") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["Date"] = "Grüße", "Ada <a@b.c>", "Mon, 01 Jan 2024 10:00:00 +0000"
    message.set_content(text)
    return message


def test_eml(loads: Any, shown: Callable[..., Any]) -> None:
    message = mail()
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="bill.pdf")
    loaded = loads.one(".eml", bytes(message))
    assert loaded.title == "Grüße"
    assert loaded.metadata == {
        "from": "Ada <a@b.c>", "date": "Mon, 01 Jan 2024 10:00:00 +0000", "attachments": ["bill.pdf"]
    }  # fmt: skip
    assert shown(loaded)[2:] == [("> I asked", "quoted", 0), ("Bye", "unknown", 0)]
    page = mail()
    page.set_content("<p>Hello</p><p>you</p>", subtype="html")
    assert loads.one(".eml", bytes(page)).text == "Hello\nyou"
    with pytest.raises(DatasetError, match="not a mail"):
        loads.one(".eml", "just text")


def test_a_message_in_several_parts(loads: Any) -> None:
    inner = mail("What was forwarded.\n")
    message = mail("Before the picture.\n")
    message.add_alternative("<p>As a page</p>", subtype="html")
    message.add_attachment(b"png", maintype="image", subtype="png", filename="a.png")
    message.add_attachment("After the picture.\n", disposition="inline")
    message.add_attachment("Its own file.\n", filename="notes.txt")
    message.add_attachment(inner)
    loaded = loads.one(".eml", bytes(message))
    assert loaded.text == "Before the picture.\nAfter the picture.\nWhat was forwarded."
    assert loaded.metadata["attachments"][:2] == ["a.png", "notes.txt"]
    blank = mail(" \n")
    blank.add_alternative("<p>As a page</p>", subtype="html")
    assert loads.one(".eml", bytes(blank)).text == "As a page"


def test_mbox(loads: Any) -> None:
    folder = b"".join(b"From a@b.c Mon Jan  1 10:00:00 2024\n" + bytes(mail(f"Text {n}.\n")) + b"\n" for n in range(3))
    loaded = loads.all(".mbox", folder + b"From x Mon Jan  1 10:00:00 2024\nno mail at all\n")
    assert [(each.text, each.number) for each in loaded] == [("Text 0.", 1), ("Text 1.", 2), ("Text 2.", 3)]
    assert [number for number, _ in loads.failed] == [4]
    prose = b"From a@b.c\nSubject: x\n\nOne.\n\nFrom the start it was clear.\n\nFrom d@e\nSubject: y\n\nTwo.\n"
    assert [each.text for each in loads.all(".mbox", prose)] == ["One.\nFrom the start it was clear.", "Two."]


def test_csv(loads: Any) -> None:
    table = 'id;name;note\n7;Kettle;"boils;\nwater"\n8;Toaster;\n\n9;a;b;c\n'
    first, second, third = loads.all(".csv", table)
    assert (first.text, first.id, first.number) == ("name: Kettle\nnote: boils;\nwater", "7", 3)
    assert (second.text, second.metadata) == ("name: Toaster", {"name": "Toaster"})
    assert third.text == "name: a\nnote: b\ncolumn 4: c"
    named = loads.one(".tsv", "title\ttext\tlang\nT\tIt boils.\ten\n")
    assert (named.title, named.text, dict(named.metadata)) == ("T", "It boils.", {"lang": "en"})
    assert loads.one(".csv", "a,b\n1,2\n", rows=False).text == "a b\n1 2"
    excel = loads.one(".csv", "sep=;\r\nname;price, net\r\nKettle;12\r\n")
    assert (excel.text, excel.number) == ("name: Kettle\nprice, net: 12", 3)
    long = "a line of it\n" * 20_000
    assert [each.text for each in loads.all(".csv", f'id,text\n1,"{long}"\n2,after\n')] == [long.strip(), "after"]
    assert loads.one(".csv", "\ufeffa,b\n1,2\n".encode("utf-16-le")).text == "a: 1\nb: 2"


def test_jsonl(loads: Any) -> None:
    lines = [
        {"text": "a", "id": 1, "title": "T", "metadata": {"k": 1}, "url": "http://x", "k": 2},
        {"text": "b\u2028c", "_id": "two"},
        {"text": " "},
    ]
    data = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    first, second, third = loads.all(".jsonl", data)
    assert (first.id, first.title, first.metadata) == ("1", "T", {"k": 1, "url": "http://x"})
    assert (second.text, second.id, third.number) == ("b\u2028c", "two", 5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object with a str under 'text'"),
        ('{"text": 1}', "expected an object"),
        ('{"text": "a", "id": 1.5}', "'id' must be a str or an int"),
        ('{"text": "a", "id": true}', "'id' must be a str or an int"),
        ('{"text": "a", "metadata": []}', "'metadata' an object"),
        ('{"text": "a", "metadata": {"x": NaN}}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_of_jsonl_is_one_line(loads: Any, line: str, message: str) -> None:
    loaded = loads.all(".jsonl", f'{{"text": "good"}}\n\n{line}\n{{"text": "last"}}')
    assert [each.text for each in loaded] == ["good", "last"]
    ((number, reason),) = loads.failed
    assert number == 3
    assert message in reason


def test_a_line_of_jsonl_that_is_not_utf8(loads: Any) -> None:
    assert len(loads.all(".jsonl", b'{"text": "x"}\n{"text": "\xe9"}\n')) == 1
    assert "not UTF-8: byte 0xe9 at offset 10" in loads.failed[0][1]


def test_json(loads: Any) -> None:
    assert loads.one(".json", '{"text": "a", "id": "x"}').id == "x"
    assert [each.text for each in loads.all(".json", '[{"text": "a"}, {"text": "b"}]')] == ["a", "b"]
    loaded = loads.one(".json", '{"title": "T", "a": {"b": [1, "two"]}, "n": null}')
    assert (loaded.title, loaded.text) == ("T", "title: T\na.b: 1\na.b: two")


def test_notebook(loads: Any, shown: Callable[..., Any]) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Head\n", "\n", "text"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
    ]
    loaded = loads.one(".ipynb", json.dumps({"cells": cells}))
    assert loaded.title == "Head"
    assert [kind for _, kind, _ in shown(loaded)] == ["heading", "paragraph", "code", "code"]
    older = {"worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "outputs": []}]}]}  # format 3
    assert loads.one(".ipynb", json.dumps(older)).text == "x = 1"
    with pytest.raises(DatasetError, match="not a notebook"):
        loads.one(".ipynb", "{}")


@pytest.mark.parametrize(
    ("suffix", "head", "kind"),
    [
        (".html", b"%PDF-1.7", ".pdf"),
        (".txt", b"  <!-- a --> <!DOCTYPE html><p>", ".html"),
        (".pdf", b"<html>", ".html"),
        (".htm", b"<html>", ".htm"),
        (".docx", b"PK\x03\x04", ".docx"),
        (".bin", b"PK\x03\x04", ".zip"),
        (".md", b"\x1f\x8b\x08", ".gz"),
        (".docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".doc"),
        (".bin", b"PAR1\x15", ".parquet"),
        (".arrow", b"\xff\xff\xff\xff\x10\0", ".arrow"),
        (".txt", b"a\0b", None),
        (".txt", b"\xff\xfea\0", ".txt"),
        ("", b"From a@b Mon Jan  1 10:00:00 2024\nSubject: x\n", ".mbox"),
        ("", b"From here on it is text.\n", ".txt"),
        ("", b"Return-Path: <a@b>\nReceived: x\n", ".eml"),
        ("", b"plain", ".txt"),
        (".pdf", b"plain", ".txt"),
        (".html", b"<!-- a -->" * 400, ".html"),
    ],
)
def test_the_content_tells_where_the_suffix_lies(suffix: str, head: bytes, kind: str | None) -> None:
    assert kind_of(suffix, head) == kind
