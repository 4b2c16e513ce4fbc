"""A document without what was dropped of it, its headings kept, and where each part of what is left stood."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from glot_rag.documents.blocks import BREAKS, Block
from glot_rag.documents.document import Document

_LINE_BREAK = re.compile(f"[{BREAKS}]")


class CleanDocument:
    """What is kept of a document.

    A short line above a paragraph looks like an entry of a menu. Where the loader knows it as a heading, it stays as
    long as something of its section is kept: people search by headings.

    Args:
        original: The document as it was read.
        spans: (start, end) of each kept part in the original's text, in order.

    Attributes:
        document: The kept parts, with a line break between two of them if one stood there, else a space. It has the id,
            the metadata and the blocks of the original; blocks that were dropped are left out.
    """

    def __init__(self, original: Document, spans: Sequence[tuple[int, int]]) -> None:
        spans = _with_headings(original, spans)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]
        self._places = list(accumulate((end - start + 1 for start, end in spans[:-1]), initial=0))  # in the clean text
        blocks = [kept for block in original.blocks if (kept := self._kept(block)) is not None]
        self.document = Document(join_runs(original.text, spans), original.id, original.metadata, blocks)

    @classmethod
    def whole(cls, original: Document) -> CleanDocument:
        """A document of which nothing was dropped."""
        return cls(original, [(0, len(original.text))])

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


def _with_headings(document: Document, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, and the headings of sections of which something is kept."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    headings = [block for block in document.blocks if block.kind == "heading"]
    found: list[tuple[int, int]] = []
    for place, heading in enumerate(headings):
        following = (other.start for other in headings[place + 1 :] if other.level <= heading.level)
        section_end = next(following, len(document.text))
        first = bisect_right(ends, heading.end)  # the first part that reaches beyond the heading
        if first < len(spans) and starts[first] < section_end:
            found.append((heading.start, heading.end))
    merged: list[tuple[int, int]] = []
    for start, end in sorted([*spans, *found]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def join_runs(text: str, runs: Sequence[tuple[int, int]]) -> str:
    """The runs, with a line break between two of them if what was dropped there has one, else a space."""
    pieces = [text[start:end] for start, end in runs[:1]]
    for (_, end), (start, stop) in pairwise(runs):
        pieces += ["\n" if _LINE_BREAK.search(text, end, start) else " ", text[start:stop]]
    return "".join(pieces)
