"""BM25 over words, through bm25s (Lù 2024, arXiv:2407.03618): what a retriever without a model finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glot_rag.errors import MissingExtraError
from glot_rag.evaluation.streaming_search import Found


class BM25:
    """A `TextSearch` with bm25s's defaults (Lucene's variant, k1 1.5, b 0.75, English stop words, no stemming).

    Documents that share no word with a query score 0 and are left out of what it finds. The word numbers of every
    document are kept, as an index of words is.

    Args:
        queries: Q texts.
        k: documents a query.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, queries: Sequence[str], k: int) -> None:
        try:
            import bm25s
            from bm25s.tokenization import Tokenizer
        except ImportError:
            raise MissingExtraError("bm25s", "eval") from None
        self._asked = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
        self._retriever = bm25s.BM25()
        self._tokenizer = Tokenizer(stopwords="en")
        self._documents: list[NDArray[np.int32]] = []
        self._k = k

    def add(self, texts: Sequence[str]) -> None:
        """Split into words."""
        words = self._tokenizer.streaming_tokenize(list(texts), update_vocab=True, allow_empty=False)
        self._documents += [np.array(each, dtype=np.int32) for each in words]

    def found(self) -> Found:
        """Build the index and ask it."""
        if not any(len(each) for each in self._documents):
            return [[] for _ in self._asked]  # an index without words cannot be built
        self._retriever.index((self._documents, self._tokenizer.get_vocab_dict()), show_progress=False)
        return [self._ask(tokens) for tokens in self._asked]

    def _ask(self, tokens: list[str]) -> list[tuple[int, float]]:
        scores = self._retriever.get_scores(tokens) if tokens else np.zeros(0)
        best = np.argsort(-scores, kind="stable")[: self._k]
        return [(int(row), float(scores[row])) for row in best if scores[row] > 0]
