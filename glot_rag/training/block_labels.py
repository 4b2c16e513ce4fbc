"""Which words of a document are noise, from a main content that people or a structure has given."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\S+")
RUN = 3  # words side by side that must also stand in the main content


def noise_of_page(text: str, gold: str) -> list[tuple[int, int]]:
    """Character spans of a page's noise: words in no run of three that also stands in its main content.

    Args:
        text: all visible text.
        gold: the main content.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    page = [text[start:end].lower() for start, end in words]
    content = [word.lower() for word in _WORD.findall(gold)]
    if len(content) < RUN:
        return spans_of_words(text, [False] * len(words), _WORD)
    known = {tuple(content[i : i + RUN]) for i in range(len(content) - RUN + 1)}
    kept = [False] * len(page)
    for start in range(len(page) - RUN + 1):
        if tuple(page[start : start + RUN]) in known:
            kept[start : start + RUN] = [True] * RUN
    return spans_of_words(text, kept, _WORD)


def spans_of_words(text: str, kept: Sequence[bool], word: re.Pattern[str] = _TOKEN) -> list[tuple[int, int]]:
    """Character spans of the runs of words that are not kept."""
    spans: list[tuple[int, int]] = []
    before = False
    for match, stays in zip(word.finditer(text), kept, strict=True):
        if not stays:
            spans.append((spans.pop()[0] if before else match.start(), match.end()))
        before = not stays
    return spans


def noise_at(noise: Sequence[tuple[int, int]], spans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the middle of each of (N, 2) character spans is in one of the sorted noise spans."""
    if not noise or not len(spans):
        return np.zeros(len(spans), bool)
    starts, ends = np.array(noise, np.int64).T
    middle = spans.sum(1) // 2
    place = np.searchsorted(starts, middle, side="right") - 1
    inside: NDArray[np.bool_] = (place >= 0) & (middle < ends[place.clip(min=0)])
    return inside
