"""Best chunk: a document cut into windows of sentences; it is as near to a query as its nearest window."""

from __future__ import annotations

import itertools
import re

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def sentence_windows(text: str, max_words: int = 48) -> list[str]:
    """Windows of whole sentences of at most `max_words` words, each starting at the middle of the one before.

    A sentence longer than half a window, as random words among the text make them, is cut into halves of one.

    >>> sentence_windows("One two. Three four. Five six.", max_words=4)
    ['One two. Three four.', 'Three four. Five six.']
    """
    half = max(1, max_words // 2)
    pieces: list[list[str]] = []
    for sentence in _SENTENCE_END.split(text):
        words = sentence.split()
        pieces += [words[start : start + half] for start in range(0, len(words), half)]
    groups: list[list[str]] = []  # halves of a window: as many pieces as fit
    for piece in pieces:
        if groups and len(groups[-1]) + len(piece) <= half:
            groups[-1] = groups[-1] + piece
        else:
            groups.append(piece)
    if len(groups) < 2:
        return [" ".join(group) for group in groups] or [""]
    return [" ".join(first + second) for first, second in itertools.pairwise(groups)]
