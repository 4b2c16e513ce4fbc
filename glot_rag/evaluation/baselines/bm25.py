"""BM25 over words, by the index's own keyword search: what a retriever without a model finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glot_rag.evaluation.streaming_search import Found
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.keywords.bm25 import KeywordIndex, Scored

_LANGUAGE = "english"  # the index's default


class BM25:
    """A `TextSearch` as `GlotIndex.search(mode="keyword")` is one: stems, no stop words.

    Documents that share no word with a query score 0 and are left out of what it finds. The counts of all documents'
    terms are kept, as an index of words is.

    Args:
        queries: Q texts.
        k: documents a query.
    """

    def __init__(self, queries: Sequence[str], k: int) -> None:
        self._asked = [analyzer(_LANGUAGE).query(query) for query in queries]
        self._index = KeywordIndex.build([])
        self._k = k

    def add(self, texts: Sequence[str]) -> None:
        """Split into words."""
        first = self._index.largest + 1  # the index's keys begin at 1
        self._index.append((first + number, analyzer(_LANGUAGE).document(text)) for number, text in enumerate(texts))

    def scored(self) -> list[Scored]:
        """The scores of all documents for each query; keys are positions plus 1."""
        return [self._index.scored(query) for query in self._asked]

    def found(self) -> Found:
        """Ask the index."""
        found = [scored.best(self._k) for scored in self.scored()]
        return [
            list(zip((keys - 1).tolist(), scores.astype(np.float64).tolist(), strict=True)) for scores, keys in found
        ]
