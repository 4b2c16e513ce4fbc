"""A document without what was dropped of it, and where each part of what is left stood."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from glot_rag.documents.blocks import Block
from glot_rag.documents.document import Document


class CleanDocument:
    """What is kept of a document.

    Args:
        original: The document as it was read.
        text: Its kept parts, with one character between two of them.
        spans: (start, end) of each kept part in the original's text, in order.

    Attributes:
        document: The kept text, with the id, the metadata and the blocks of the original; blocks that were dropped
            are left out.
    """

    def __init__(self, original: Document, text: str, spans: Sequence[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]
        self._places = list(accumulate((end - start + 1 for start, end in spans[:-1]), initial=0))  # in the clean text
        blocks = [kept for block in original.blocks if (kept := self._kept(block)) is not None]
        self.document = Document(text, original.id, original.metadata, blocks)

    @classmethod
    def whole(cls, original: Document) -> CleanDocument:
        """A document of which nothing was dropped."""
        return cls(original, original.text, [(0, len(original.text))])

    def in_original(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of the clean text stood, from its first character to its last, with what was dropped between."""
        first, last = bisect_right(self._places, start) - 1, bisect_right(self._places, end - 1) - 1
        return self._starts[first] + start - self._places[first], self._starts[last] + end - self._places[last]

    def _kept(self, block: Block) -> Block | None:
        first, last = bisect_right(self._ends, block.start), bisect_left(self._starts, block.end) - 1
        if first > last:
            return None
        start = self._places[first] + max(block.start - self._starts[first], 0)
        end = self._places[last] + min(block.end, self._ends[last]) - self._starts[last]
        return block._replace(start=start, end=end)
