"""A boilerplate stripper before the embedding: trafilatura (Barbaresi, ACL 2021)."""

from __future__ import annotations

import html
import re

from glot_rag.errors import MissingExtraError

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def strip_boilerplate(text: str) -> str:
    """What trafilatura takes for the main text; the text itself where it finds none.

    It reads HTML. A text without markup is given to it as a page, every line a paragraph, or every sentence where
    there is one line only: blocks are what it keeps or drops.

    Raises:
        MissingExtraError: trafilatura is not installed.
    """
    try:
        import trafilatura
    except ImportError:
        raise MissingExtraError("trafilatura", "eval") from None
    page = text
    if not re.search(r"<(p|div|body|article|main)\b", text, re.IGNORECASE):
        blocks = text.splitlines() if "\n" in text.strip() else _SENTENCE_END.split(text)
        page = f"<html><body>{''.join(f'<p>{html.escape(block)}</p>' for block in blocks)}</body></html>"
    found = trafilatura.extract(page, include_comments=False)
    return str(found) if found else text
