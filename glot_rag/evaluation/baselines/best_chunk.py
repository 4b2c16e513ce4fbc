"""Best chunk: a document is as near to a query as the nearest of its windows of sentences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.evaluation.search import Best, Found

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


class BestChunk:
    """A `TextSearch` by the greatest inner product among a document's windows.

    Args:
        embed_documents: N texts -> (N, D) unit vectors.
        embed_queries: the same for queries.
        queries: Q texts.
        k: documents a query.
        max_words: words of a window.

    Raises:
        InputError: `max_words` below 2.
    """

    def __init__(
        self,
        embed_documents: Callable[[Sequence[str]], Vectors],
        embed_queries: Callable[[Sequence[str]], Vectors],
        queries: Sequence[str],
        k: int,
        max_words: int = 48,
    ) -> None:
        if max_words < 2:
            raise InputError(f"A window needs at least 2 words, got max_words={max_words}.")
        self._embed_documents = embed_documents
        self._asked = embed_queries(queries)  # (Q, D)
        self._best = Best(len(self._asked), k)
        self.max_words = max_words

    def add(self, texts: Sequence[str]) -> None:
        """Embed every window of every document and keep the nearest documents."""
        windows = [sentence_windows(text, self.max_words) for text in texts]
        starts = np.cumsum([0, *map(len, windows)])
        vectors = self._embed_documents([window for each in windows for window in each])  # (W, D)
        self._best.add(np.maximum.reduceat(self._asked @ vectors.T, starts[:-1], axis=1))

    def found(self) -> Found:
        """The nearest documents."""
        return self._best.found()
