"""Web pages, by a parser that follows the HTML standard (lexbor)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

from glot_rag.documents.blocks import Block, Kind, TextBuilder
from glot_rag.documents.loaders.base import FileContext, Loaded, library

# Elements whose text joins that of their neighbours; all others begin and end a block.
PHRASING = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i",
    "ins", "kbd", "mark", "nobr", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub",
    "sup", "time", "tt", "u", "var", "wbr", "mi", "mn", "mo", "ms", "mtext", "mrow", "msup", "msub", "mfrac",
    "msqrt", "math", "semantics", "tspan",
))  # fmt: skip
# Elements whose text is no part of the page. An SVG's title is its tooltip; `annotation` is a formula's source.
INVISIBLE = frozenset((
    "head", "script", "style", "template", "noscript", "iframe", "noembed", "noframes", "datalist", "title", "desc",
    "metadata", "annotation", "annotation-xml",
))  # fmt: skip
_LIST = frozenset(("li", "dt", "dd", "option"))
_CHARSET = re.compile(rb"<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_SELF_CLOSED = re.compile(r"<([A-Za-z][\w:-]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
))  # fmt: skip
_SPACES = re.compile(r"[ \t\n\r\f]+")
_WORD = re.compile(r"\w+")
_GAP = 4  # blocks between two of the main content that belong to it, too, whatever they are
_SENTENCE_WORDS = 8
_FEW_WORDS = 25  # a shorter page is read whole, and so is one whose main content is shorter and less than half of it
_FEW_OF_A_LARGE_FILE = 20
_LARGE_FILE = 20_000  # characters


def load_html(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A page: its main content, or all of its visible text."""
    data = file.read(stream)
    declared = _CHARSET.search(data[:4096])
    html = file.decode(data, declared[1].decode("ascii") if declared else None)
    if file.suffix == ".xhtml" or html.lstrip()[:5] == "<?xml":
        html = html_of_xhtml(html)
    builder = TextBuilder()
    title = read_html(html, builder)
    words = len(builder.text.split())
    if len(html) >= _LARGE_FILE and words < _FEW_OF_A_LARGE_FILE:
        file.note(f"almost no text: {words} words in a page of {len(html):,} characters; is it made by a script?")
    if file.options.html == "main" and words >= _FEW_WORDS:
        main = _main_blocks(builder, _main_text(html))
        kept = len(main.text.split())
        if kept * (2 if kept < _FEW_WORDS else 20) < words:
            file.note("no main content was found; all visible text was read")
        else:
            builder = main
    yield Loaded.built(builder, title)


def _main_text(html: str) -> str:
    """What trafilatura takes for the main content (Barbaresi, ACL 2021); empty where it finds none."""
    trafilatura = library("trafilatura")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # its errors are of pages that are read without it
    whole = library("selectolax.lexbor", "selectolax").LexborHTMLParser(html).html  # it refuses parts of pages
    return str(trafilatura.extract(whole, include_comments=False, include_tables=True) or "")


def _main_blocks(page: TextBuilder, main: str) -> TextBuilder:
    """The blocks of a page that stand in its main text, with the headings and the few blocks between them.

    trafilatura decides what is main content; the page's own blocks are taken, as it loses terms of definition lists,
    some headings, and the difference between code within a line and code on lines of its own.
    """
    runs = {run for line in main.split("\n") for run in _runs(line)}
    text = page.text
    kept = TextBuilder()
    waiting: list[Block] = []  # blocks since the last one that was kept
    for block in page.blocks:
        own = list(_runs(text[block.start : block.end]))
        near = bool(kept.blocks) and len(waiting) <= _GAP
        waiting.append(block)
        # A word or two may stand in a menu just as well: they belong to the main content if they follow on it.
        if not own or 2 * sum(run in runs for run in own) < len(own) or (len(own[0]) < 3 and not near):
            continue
        if not near and not (kept.blocks and _is_prose(text, waiting)):
            heading = next((each for each in reversed(waiting[:-1]) if each.kind == "heading"), None)
            waiting = [block] if heading is None else [heading, block]
        for each in waiting:
            kept.add(text[each.start : each.end], each.kind, each.level)
        waiting = []
    return kept


def _is_prose(text: str, blocks: Sequence[Block]) -> bool:
    """Whether most words of some blocks stand in sentences, code or tables: a section, and no menu or list of links."""
    words = prose = 0
    for block in blocks:
        shown = text[block.start : block.end]
        count = len(shown.split())
        words += count
        prose += count * (block.kind in ("code", "table") or (count >= _SENTENCE_WORDS and shown[-1] in ".!?:;…"))
    return prose * 3 >= words * 2


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """The runs of three words of a text, or the one run that it is."""
    words = _WORD.findall(text.lower())
    if 0 < len(words) < 3:
        yield tuple(words)
    yield from zip(words, words[1:], words[2:], strict=False)


def html_of_xhtml(xhtml: str) -> str:
    """XHTML as HTML: `<title/>` is closed there, and open here. Attributes may hold no `<` or `>` in XHTML's likes."""

    def closed(match: re.Match[str]) -> str:
        name, attributes = match[1], match[2]
        return match[0] if name.lower() in _VOID else f"<{name}{attributes}></{name}>"

    return _SELF_CLOSED.sub(closed, xhtml)


def read_html(html: str, builder: TextBuilder) -> str:
    """Add the visible text of a page to a builder, block by block, in one walk over its tree.

    Args:
        html: A page or a part of one.
        builder: Gets headings, paragraphs, list items, table rows (cells joined by a space), code and quotations.

    Returns:
        The page's `<title>`, or an empty text.
    """
    lexbor = library("selectolax.lexbor", "selectolax")
    # An element that is never closed holds the rest of the page, which is not to be lost with it.
    for name in ("template", "noscript"):
        opened, closed = (len(re.findall(rf"<{slash}{name}\b", html, re.IGNORECASE)) for slash in ("", "/"))
        if opened > closed:
            html = re.sub(rf"<(/?){name}\b", r"<\1div", html, flags=re.IGNORECASE)
    tree = lexbor.LexborHTMLParser(html)
    walk = _Walk(builder)
    node = tree.body
    while node is not None:
        if walk.enter(node) and node.child is not None:
            node = node.child
            continue
        while node is not None:
            walk.leave(node)
            if node.tag == "body":
                node = None
            elif node.next is not None:
                node = node.next
                break
            else:
                node = node.parent
    walk.flush()
    title = tree.css_first("head > title")
    return " ".join(title.text().split()) if title is not None else ""


class _Walk:
    """Collects the text of a page in the order of the tree.

    Where a block begins or ends a break is due; the line is ended when the next text comes. So empty elements leave no
    trace, and a further cell of a table row takes back the breaks of the paragraphs within the cell before.
    """

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._line: list[str] = []
        self._begun = False  # the line holds more than white space
        self._kind: tuple[Kind, int] = ("paragraph", 0)
        self._due: Literal["", "block", "row"] = ""
        self._empty_cell = False  # within a further cell of a row, before its text
        self._cells: list[int] = []  # of each row that we are in: tables may hold tables
        self._heading = self._code = self._list = self._quoted = 0

    def enter(self, node: Any) -> bool:
        """Begin an element, or take a text. Whether to go into it."""
        tag = node.tag
        if tag == "-text":
            self._add(node.text_content or "")
            return False
        if tag in INVISIBLE or tag[0] in "-_!":  # comments
            return False
        if tag in PHRASING:
            return True
        if tag == "img":
            self._add(f" {node.attributes.get('alt') or ''} ")
            return False
        if tag in ("td", "th") and self._cells:
            self._cells[-1] += 1
            if self._cells[-1] > 1 and self._due != "row":
                self._due, self._empty_cell = "", True
                self._line.append(" ")
                return True
        self._break(tag)
        self._count(tag, 1)
        return True

    def leave(self, node: Any) -> None:
        """End an element."""
        tag = node.tag
        if tag not in INVISIBLE and tag not in PHRASING and tag not in ("-text", "img"):
            self._count(tag, -1)
            self._break(tag)

    def _break(self, tag: str) -> None:
        """Where a block begins or ends."""
        if tag == "br" and (self._heading or self._code):
            self._line.append("\n")
        elif tag in ("tr", "table"):
            self._due, self._empty_cell = "row", False
        elif not self._empty_cell and self._due != "row":
            self._due = "block"

    def _count(self, tag: str, step: int) -> None:
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._heading = int(tag[1]) if step > 0 else 0
        elif tag in ("pre", "textarea", "listing", "xmp"):
            self._code += step
        elif tag in _LIST:
            self._list += step
        elif tag == "blockquote":
            self._quoted += step
        elif tag == "tr" and step > 0:
            self._cells.append(0)
        elif tag == "tr":
            self._cells.pop()

    def _add(self, text: str) -> None:
        if text.strip() == "¶":  # the link to a heading that documentation generators put beside it
            return
        if not text.strip():
            if text and self._line and not self._due:
                self._line.append(text if self._code else " ")
            return
        if self._due:
            self.flush()
        self._empty_cell = False
        if not self._begun:
            self._kind, self._begun = self._current(), True
        self._line.append(text)

    def _current(self) -> tuple[Kind, int]:
        if self._code:
            return "code", 0
        if self._heading:
            return "heading", self._heading
        if self._cells:
            return "table", 0
        if self._list:
            return "list", 0
        return ("quoted", 0) if self._quoted else ("paragraph", 0)

    def flush(self) -> None:
        """End the line."""
        text = "".join(self._line)
        self._builder.add(text if self._kind[0] == "code" else _SPACES.sub(" ", text), *self._kind)
        self._line.clear()
        self._due, self._begun = "", False
