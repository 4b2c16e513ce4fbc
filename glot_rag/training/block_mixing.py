"""New documents out of known ones: the content of one page within the surroundings of another, and pages with gaps.

A few hundred pages are soon known by heart. Mixed at the borders of their blocks they are many more, whose labels are
as good, and what surrounds a text is not learned by its topic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glot_rag.documents.layout import LAYOUT_FEATURES
from glot_rag.training.block_noise import BlockDocument

SWAPPED, GAPS = 0.35, 0.4  # share of the documents
_BY_LINES, _BY_WORDS = LAYOUT_FEATURES.index("place by lines"), LAYOUT_FEATURES.index("place by words")


def joined(parts: Sequence[tuple[BlockDocument, int, int]]) -> BlockDocument:
    """One document out of runs of blocks.

    Args:
        parts: (document, first block, block after the last), at least one block in all.
    """
    tokens = [tuple(np.searchsorted(each.block, (first, end)).tolist()) for each, first, end in parts]
    at = np.cumsum([0, *(end - first for _, first, end in parts)])
    block = [
        each.block[start:stop] - first + shift
        for (each, first, _), (start, stop), shift in zip(parts, tokens, at, strict=False)
    ]
    words = np.concatenate([each.words[first:end] for each, first, end in parts])
    layout = np.concatenate([each.layout[first:end] for each, first, end in parts])
    if layout.shape[1] == len(LAYOUT_FEATURES):
        layout[:, _BY_LINES] = np.arange(len(words)) / max(len(words) - 1, 1)
        layout[:, _BY_WORDS] = (np.cumsum(words) - words) / max(float(words.sum()), 1.0)

    def states(start: int, end: int) -> NDArray[np.float32]:
        whole = [each.states(first, last) for (each, _, _), (first, last) in zip(parts, tokens, strict=True)]
        return np.concatenate(whole)[start:end]

    return BlockDocument(
        block=np.concatenate(block),
        layout=layout,
        counts=np.concatenate([each.counts[first:end] for each, first, end in parts]),
        words=words,
        noise=np.concatenate([each.noise[first:end] for each, first, end in parts]),
        token_noise=np.concatenate(
            [each.token_noise[start:stop] for (each, _, _), (start, stop) in zip(parts, tokens, strict=True)]
        ),
        states=states,
    )


class PageMixer:
    """Gives a page another page's content at times, and at times leaves runs of its blocks out.

    Args:
        pages: those that are mixed with each other; other documents stay as they are.
    """

    def __init__(self, pages: Sequence[BlockDocument]) -> None:
        self._content = {id(page): place for page in pages if (place := _content(page)) is not None}
        self._pages = [page for page in pages if id(page) in self._content]

    def __call__(self, document: BlockDocument, rng: np.random.Generator) -> BlockDocument:
        """A document to learn from in the place of this one."""
        if id(document) not in self._content:
            return document
        number = len(document.words)
        if rng.random() < SWAPPED:
            first, end = self._content[id(document)]
            other = self._pages[int(rng.integers(len(self._pages)))]
            document = joined([(document, 0, first), (other, *self._content[id(other)]), (document, end, number)])
        if rng.random() < GAPS:
            document = _with_gaps(document, rng)
        return document


def _content(page: BlockDocument) -> tuple[int, int] | None:
    """The first block of the main content and the one after its last; None where there is none."""
    rows = np.flatnonzero((page.noise < 0.5) & (page.words > 0))
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else None


def _with_gaps(document: BlockDocument, rng: np.random.Generator) -> BlockDocument:
    """Without one to three runs of blocks, each up to a fifth of the document."""
    number = len(document.words)
    kept = np.ones(number, bool)
    for _ in range(int(rng.integers(1, 4))):
        length = 1 + int(number * rng.uniform(0.02, 0.2))
        start = int(rng.integers(max(1, number - length)))
        kept[start : start + length] = False
    borders = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(int))).reshape(-1, 2)
    left = joined([(document, int(first), int(end)) for first, end in borders]) if len(borders) else document
    return left if len(left.block) else document
