"""Naive rules: drop what recurs, whatever it is, and embed what is left with mean pooling.

`df-drop` drops words that stand in many documents, `ngram-drop` runs of words that stand in several. Both read the
documents once before, as fitting does, and nothing is trained. A head that is fitted should be ahead of them: it sees
the same counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_DOCUMENTS = 0.1  # df-drop: words that stand in a larger share of the documents go
RUN_WORDS = 4  # ngram-drop: runs of so many words
FEWEST_DOCUMENTS = 4  # that stand in at least so many documents go

_PUNCTUATION = "\"'`.,;:!?()[]{}<>|/\\-–—_*#•©…“”‘’"
# N documents -> the same documents without what the rule drops
DropWords = Callable[[Sequence[str]], list[str]]


def count_frequent_words(texts: Sequence[str]) -> DropWords:
    """The rule `df-drop`: drops words that stand in more than a tenth of the documents.

    Args:
        texts: the documents that are counted.

    >>> documents = ["home about wings"] + [f"home {i}" for i in range(9)]
    >>> count_frequent_words(documents)(documents[:1])
    ['about wings']
    """
    counts = Counter(word for text in texts for word in set(_words(text)))
    frequent = {word for word, count in counts.items() if count > MOST_DOCUMENTS * len(texts)}
    return lambda texts: [_without(text, [word in frequent for word in _words(text)]) for text in texts]


def count_recurring_runs(texts: Sequence[str]) -> DropWords:
    """The rule `ngram-drop`: drops words in a run of four words that stands in four documents or more.

    Args:
        texts: the documents that are counted.

    >>> documents = [f"read {i} accept all our cookies" for i in range(4)]
    >>> count_recurring_runs(documents)(documents[:1])
    ['read 0']
    """
    each = [np.unique(_runs(_words(text))) for text in texts]
    runs, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *each]), return_counts=True)
    recurring = runs[counts >= FEWEST_DOCUMENTS]

    def drop(text: str) -> str:
        words = _words(text)
        dropped = np.zeros(len(words), np.bool_)
        for start in np.flatnonzero(np.isin(_runs(words), recurring)):
            dropped[start : start + RUN_WORDS] = True
        return _without(text, dropped.tolist())

    return lambda texts: [drop(text) for text in texts]


def _words(text: str) -> list[str]:
    """The words between white space, in lower case and without the punctuation around them."""
    return [word.strip(_PUNCTUATION) or word for word in text.lower().split()]


def _runs(words: Sequence[str]) -> NDArray[np.int64]:
    """A number for every run of four words: equal runs have equal numbers, in every process."""
    starts = range(len(words) - RUN_WORDS + 1)
    joined = (" ".join(words[start : start + RUN_WORDS]).encode("utf-8", "surrogatepass") for start in starts)
    digests = b"".join(hashlib.blake2b(each, digest_size=8).digest() for each in joined)
    return np.frombuffer(digests, np.int64)


def _without(text: str, dropped: Sequence[bool]) -> str:
    """The words that stay; the text itself where all would go or none does."""
    if all(dropped) or not any(dropped):
        return text
    return " ".join(word for word, gone in zip(text.split(), dropped, strict=True) if not gone)
