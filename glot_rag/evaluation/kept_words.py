r"""Kept words: which share of a document's own words a denoiser keeps, and which share of what it keeps is its own.

Words are runs of `\w` characters, lower case, counted as a multiset; the reference is the text without the noise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"\w+")


@dataclass
class KeptWords:
    """Sums precision, recall and F1 over documents."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    documents: int = 0

    def add(self, kept: Iterable[str], gold: Iterable[str]) -> None:
        """Count documents: what was kept of each, and its text without the noise."""
        for text, reference in zip(kept, gold, strict=True):
            precision, recall, f1 = kept_words(text, reference)
            self.precision += precision
            self.recall += recall
            self.f1 += f1
            self.documents += 1

    def averages(self) -> dict[str, float]:
        """The averages over the documents."""
        count = max(1, self.documents)
        return {"precision": self.precision / count, "recall": self.recall / count, "f1": self.f1 / count}


def kept_words(kept: str, gold: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of one document. Where neither has words all are 1; where one has none, all are 0.

    >>> precision, recall, f1 = kept_words("Home News the wing lifts", "The wing lifts a plane")
    >>> precision, recall, round(f1, 2)
    (0.6, 0.6, 0.6)
    """
    found, wanted = Counter(_WORD.findall(kept.lower())), Counter(_WORD.findall(gold.lower()))
    if not found and not wanted:
        return 1.0, 1.0, 1.0
    common = (found & wanted).total()
    if not common:
        return 0.0, 0.0, 0.0
    precision, recall = common / found.total(), common / wanted.total()
    return precision, recall, 2 * precision * recall / (precision + recall)
