"""HTML and Markdown -> the text that a reader would see."""

from __future__ import annotations

import re

# Not <head>: where its end tag is left out, html.parser takes the whole page for its content.
DROPPED = ("script", "style", "template", "noscript", "title")
BLOCKS = ["address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "figcaption", "figure"]
BLOCKS += ["footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"]
BLOCKS += ["section", "table", "td", "th", "tr", "ul"]


def html_to_text(html: str) -> tuple[str, str | None]:
    """Text, one line a block, and the title: `<title>`, else the first `<h1>`."""
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString

    soup = BeautifulSoup(html, "html.parser")
    heading = soup.title or soup.h1
    title = " ".join(heading.get_text().split()) if heading else ""
    for tag in soup.find_all(DROPPED):
        tag.decompose()
    for node in soup.find_all(string=True):
        # Line breaks in the source mean a space, except in <pre>. Comments are of a subclass, and stay out of the text.
        if type(node) is NavigableString and not node.find_parent("pre"):
            node.replace_with(NavigableString(re.sub(r"\s+", " ", node)))
    for tag in soup.find_all(BLOCKS):
        if tag.name in ("td", "th"):
            tag.insert_after(" ")
        else:
            tag.insert_before("\n")
            tag.insert_after("\n")
    lines = (" ".join(line.split()) for line in soup.get_text().split("\n"))
    return "\n".join(line for line in lines if line), title or None


def markdown_to_text(markdown: str) -> tuple[str, str | None]:
    """As `html_to_text`, for Markdown with tables."""
    from markdown_it import MarkdownIt

    return html_to_text(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
