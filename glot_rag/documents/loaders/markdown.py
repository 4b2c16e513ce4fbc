"""Markdown (CommonMark with tables and strikethrough), walked over its tokens; YAML front matter becomes metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO

from glot_rag.documents.blocks import Kind, TextBuilder
from glot_rag.documents.loaders.base import FileContext, Loaded, library
from glot_rag.documents.loaders.html import read_html
from glot_rag.documents.loaders.values import plain_metadata

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MAX_FRONT_MATTER = 1 << 16  # characters
# Tags that GitHub's Markdown shows instead of obeying them (https://github.github.com/gfm/#disallowed-raw-html-extension-),
# and two more that would hide what follows.
_SHOWN = re.compile(
    r"</?(?:title|textarea|style|xmp|iframe|noembed|noframes|script|plaintext|template|noscript)(?![\w-])",
    re.IGNORECASE,
)
_RAW_START = re.compile(r"<(script|style|textarea)\b|<(!--)|<(\?)|<(!\[CDATA\[)|<(![A-Z])", re.IGNORECASE)
_RAW_END = {"!--": "-->", "?": "?>", "![cdata[": "]]>"}
_LINE_START = re.compile(r"^( {0,3})<(?=script\b|style\b|textarea\b|!|\?)", re.IGNORECASE | re.MULTILINE)


def load_markdown(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A Markdown file."""
    text = file.decode(file.read(stream)).replace("\r\n", "\n")
    metadata, text = front_matter(text)
    builder = TextBuilder()
    read_markdown(text, builder)
    title = metadata.pop("title", "")
    yield Loaded.built(builder, title if isinstance(title, str) else str(title), metadata)


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The YAML front matter of a text as a JSON object (empty if it has none), and the text without it."""
    found = _FRONT_MATTER.match(text[:_MAX_FRONT_MATTER])
    if not found:
        return {}, text
    yaml = library("yaml", "pyyaml")
    try:
        if any(isinstance(token, (yaml.AliasToken, yaml.AnchorToken)) for token in yaml.scan(found[1])):
            return {}, text  # a few aliases of aliases unfold to gigabytes
        values = yaml.safe_load(found[1])
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}, text
    if not isinstance(values, dict):
        return {}, text
    return plain_metadata(values), text[found.end() :]


def read_markdown(text: str, builder: TextBuilder) -> None:
    """Add the blocks of a Markdown text to a builder. Images give their alternative text, links their own."""
    markdown = _parser()
    _add_tokens(markdown, markdown.parse(text), builder)


@lru_cache(maxsize=1)
def _parser() -> Any:
    return library("markdown_it").MarkdownIt("commonmark", {"maxNesting": 100}).enable(["table", "strikethrough"])


def _add_tokens(markdown: Any, tokens: Sequence[Any], builder: TextBuilder) -> None:
    heading, lists, quotes = 0, 0, 0
    row: list[str] | None = None
    for token in tokens:
        name = token.type
        if name == "heading_open":
            heading = int(token.tag[1])
        elif name == "heading_close":
            heading = 0
        elif name in ("list_item_open", "list_item_close"):
            lists += token.nesting
        elif name in ("blockquote_open", "blockquote_close"):
            quotes += token.nesting
        elif name == "tr_open":
            row = []
        elif name == "tr_close" and row is not None:
            builder.add(" ".join(filter(None, row)), "table")
            row = None
        elif name in ("fence", "code_block"):
            builder.add(token.content, "code")
        elif name == "html_block":
            _add_html(markdown, token.content, builder)
        elif name == "inline":
            shown = _inline(token.children or ())
            if row is not None:
                row.append(shown)
            elif heading:
                builder.add(" ".join(shown.split()), "heading", heading)
            else:
                kind: Kind = "list" if lists else "quoted" if quotes else "paragraph"
                for line in shown.split("\n"):
                    builder.add(line, kind)


def _inline(children: Sequence[Any]) -> str:
    """The text of a paragraph, a heading or a cell."""
    parts = []
    for child in children:
        if child.type in ("text", "code_inline", "text_special"):
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak":
            parts.append("\n")
        elif child.type == "image":
            parts.append(f" {_inline(child.children or ())} ")
        elif child.type == "html_inline":
            if _SHOWN.match(child.content):
                parts.append(child.content)
            elif child.content[:3].lower() == "<br":
                parts.append("\n")
            elif child.content[:4].lower() == "<img":
                image = TextBuilder()
                read_html(child.content, image)
                parts.append(f" {image.text} ")
    return re.sub("[ \t]+", " ", "".join(parts)).strip()


def _add_html(markdown: Any, html: str, builder: TextBuilder) -> None:
    """A block of HTML in Markdown. One that was never closed holds the rest of the file: that is Markdown again."""
    start = _RAW_START.match(html.lstrip())
    if start:
        name = next(filter(None, start.groups())).lower()
        end = _RAW_END.get(name, ">" if name[0] == "!" else f"</{name}")
        if end not in html.lower():
            _add_tokens(markdown, markdown.parse(_LINE_START.sub(r"\1\\<", html)), builder)
        else:  # a script or a comment, with what follows it on its last line
            read_html(html, builder)
        return
    cut = html.rfind("<!--")
    if cut > html.rfind("-->"):
        html = html[:cut] + "&lt;" + html[cut + 1 :]
    read_html(_SHOWN.sub(lambda match: "&lt;" + match[0][1:], html), builder)
