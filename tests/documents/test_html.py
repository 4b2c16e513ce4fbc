from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from glot_rag.documents.loaders import html as html_loader


def test_a_page(loads: Any, shown: Callable[..., Any]) -> None:
    page = loads.one(
        ".html",
        """<!DOCTYPE html><html><head><title>A &amp; B
      </title><style>p {}</style></head><body><!-- comment --><script>bad()</script>
      <h1>Head</h1><p>Hello <b>big</b>
      world&nbsp;!<br>next</p><template>no</template><table><tr><th>1<th><p>2</p></tr></table>
      <ul><li>one<ul><li>two</ul></ul><blockquote>said</blockquote><img src=x alt="A kettle">
      <pre>a
  b</pre></body></html>""",
        html="all",
    )
    assert page.title == "A & B"
    assert shown(page) == [
        ("Head", "heading", 1),
        ("Hello big world\xa0!", "paragraph", 0),
        ("next", "paragraph", 0),
        ("1 2", "table", 0),
        ("one", "list", 0),
        ("two", "list", 0),
        ("said", "quoted", 0),
        ("A kettle", "paragraph", 0),
        ("a\n  b", "code", 0),
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<select><option>Red<option>Green</select><fieldset><legend>Address</legend>Street</fieldset>"
         "<details><summary>More</summary>hidden text</details><center>One</center><center>Two</center>",
         "Red\nGreen\nAddress\nStreet\nMore\nhidden text\nOne\nTwo"),
        ("<button>Save</button><label>Name</label><menu><li>a</menu><dialog>b</dialog>c", "Save\nName\na\nb\nc"),
        ("<table><tr><td>Kettle<td>1500 W<tr><td>Toaster<td>800 W</table>", "Kettle 1500 W\nToaster 800 W"),
        ("<table><tr><td><p>a</p><p>b</p></td><td><div>c</div></td></tr><tr><td></td><td>d</table>", "a\nb c\nd"),
        ("<table><tr><td><table><tr><td>a<td>b</table><td>c</table>d", "a b\nc\nd"),
        ("w<b>or</b>d<wbr>s <i>join</i>ed", "words joined"),
        ("<dl><dt>term<dd>meaning</dl>", "term\nmeaning"),
    ],
)  # fmt: skip
def test_only_phrasing_elements_join(loads: Any, html: str, text: str) -> None:
    assert loads.text(".html", html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<title>T</title><p>Before.</p><script src="x.js"></script  <!-- note --><p>After.</p>', "Before.\nAfter."),
        ("<p>Before.<!-- a --!><p>After.", "Before.\nAfter."),
        ("<p>Before.<!--> <p>After.", "Before.\nAfter."),
        ("<p>Before.<noscript><p>After.", "Before.\nAfter."),
        ("<p>Before.<template><p>After.", "Before.\nAfter."),
        ("<p>Before.<noscript>No.</noscript><p>After.", "Before.\nAfter."),
        ("<head><meta charset=utf-8><p>Before.<p>Af<b>ter.", "Before.\nAfter."),
        ("<div>" * 3000 + "deep", "deep"),
    ],
)
def test_the_rest_of_a_page_does_not_vanish(loads: Any, html: str, text: str) -> None:
    assert loads.text(".html", html) == text


def test_titles(loads: Any) -> None:
    icon = loads.one(".html", "<svg><title>Menu icon</title></svg><h1>The real<br>heading</h1>", html="all")
    assert (icon.title, icon.text) == ("The real heading", "The real heading")
    assert loads.one(".html", "<h2>Not the first level</h2>", html="all").title == ""


def test_links_to_headings_are_left_out(loads: Any) -> None:
    html = '<h1>Usage<a class="headerlink" href="#usage" title="Link to this heading">¶</a></h1>'
    assert loads.text(".html", html) == "Usage"


def test_xhtml(loads: Any) -> None:
    page = '<?xml version="1.0" encoding="utf-8"?><html><head><title/></head><body><a id="x"/><p>Text<br/>more</p>'
    assert loads.text(".xhtml", page) == "Text\nmore"


def test_encodings(loads: Any) -> None:
    declared = '<html><head><meta charset="windows-1252"><title>Café</title><p>It’s “fine” — 5 €'
    assert loads.one(".html", declared.encode("cp1252"), html="all").title == "Café"
    equivalent = '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r"><p>Москва'
    assert loads.text(".html", equivalent.encode("koi8-r")) == "Москва"
    assert loads.text(".html", b"\xff\xfe" + "<p>Grüße</p>".encode("utf-16-le")) == "Grüße"
    assert loads.notes == []
    damaged = b'<meta charset="utf-8"><p>' + "Grüße ".encode() * 20 + b"\xff"
    assert loads.text(".html", damaged).endswith("Grüße \ufffd")
    assert loads.notes == ["1 damaged characters were replaced (read as utf-8)"]


ARTICLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done. " * 5


def test_main_content(loads: Any, shown: Callable[..., Any]) -> None:
    html = (
        "<title>Kettles</title><nav><a href=/>Home</a> <a href=/a>About us</a></nav><article><h2>Boiling</h2>"
        f"<p>{ARTICLE}</p><ul><li>First point of it.</li><li>Second point of it.</li></ul></article>"
        "<footer>All rights reserved.</footer>"
    )
    main = loads.one(".html", html)
    assert shown(main) == [
        ("Boiling", "heading", 2),
        (ARTICLE.strip(), "paragraph", 0),
        ("First point of it.", "list", 0),
        ("Second point of it.", "list", 0),
    ]
    assert main.title == "Kettles"
    assert "About us" in loads.one(".html", html, html="all").text
    assert loads.notes == []


def test_the_choice_of_main_content_keeps_the_page_s_own_blocks(
    loads: Any, shown: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """trafilatura loses terms of definition lists, headings and whole sections; menus between are left out."""
    first, second, third = (
        f"The {word} paragraph is the one that was chosen." for word in ("first", "second", "third")
    )
    monkeypatch.setattr(html_loader, "_main_text", lambda html: f"{first}\n{second}\n{third}\nshort")
    section = [f"This is sentence number {n} of a section that it lost." for n in range(6)]
    menu = "".join(f"<li>Menu {n}</li>" for n in range(6))
    html = (
        f"<p>short<h1>Head</h1>{menu}<p>{first}<dl><dt>term<dd>{second}</dl>{''.join(map('<p>{}'.format, section))}"
        f"<p>{third}<p>short</p>{menu}<p>{first}"
    )
    texts = [text for text, _, _ in shown(loads.one(".html", html))]
    assert texts == ["Head", first, "term", second, *section, third, "short", first]


def test_without_main_content_all_text_is_read(loads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_loader, "_main_text", lambda html: "Page number 3")
    html = "".join(f"<p>Page number {n}</p>" for n in range(40))
    assert len(loads.one(".html", html).text.split()) == 120
    assert loads.notes == ["no main content was found; all visible text was read"]
    assert loads.one(".html", "<p>Page number 3").text == "Page number 3"


def test_a_large_page_without_text_is_noted(loads: Any) -> None:
    assert loads.text(".html", f"<p>Loading…<script>{'x = 1;' * 5_000}</script>") == "Loading…"
    assert loads.notes == ["almost no text: 1 words in a page of 30,028 characters; is it made by a script?"]


@pytest.mark.parametrize(("suffix", "html"), [(".html", "all"), (".html", "main"), (".md", "all"), (".rst", "all")])
def test_work_is_linear_in_the_number_of_paragraphs(loads: Any, suffix: str, html: str) -> None:
    """Ten times the paragraphs take ten times the function calls; what takes the square would take a hundred times."""

    def calls(count: int) -> int:
        lines = [f"A paragraph, number {n}, of a long book, chapter after chapter." for n in range(count)]
        text = "".join(f"<p>{line} <b>b</b></p>" for line in lines) if suffix == ".html" else "\n\n".join(lines)
        counted: Counter[str] = Counter()
        gc.disable()  # others hook functions into the collection of garbage
        sys.setprofile(lambda frame, event, argument: counted.update((event,)))
        try:
            found = loads.one(suffix, text, html=html).text
        finally:
            sys.setprofile(None)
            gc.enable()
        assert found.count("\n") == count - 1
        return counted["call"] + counted["c_call"]

    calls(10)  # imports what it needs
    assert calls(1_000) < 12 * calls(100)
