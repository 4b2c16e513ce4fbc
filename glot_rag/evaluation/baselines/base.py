"""The protocol of a baseline that searches texts, not vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from glot_rag.evaluation.streaming_search import Found


class TextSearch(Protocol):
    """Takes the documents of a collection a batch at a time, then says what the queries find among them.

    The queries are known from the start, so that what is kept need not grow with the documents.
    """

    def add(self, texts: Sequence[str]) -> None:
        """The next documents; the first one ever has position 0."""
        ...

    def found(self) -> Found:
        """For every query the documents that it finds, best first. Asked once, after the last batch."""
        ...


# (queries, k) -> a search over a collection that is still empty
StartSearch = Callable[[Sequence[str], int], TextSearch]


def search_texts(start: StartSearch, texts: Sequence[str], queries: Sequence[str], k: int) -> Found:
    """A search over documents that are all at hand."""
    search = start(queries, k)
    search.add(texts)
    return search.found()
