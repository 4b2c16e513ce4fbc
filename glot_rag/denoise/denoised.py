"""What is left of a document: which parts stay, the clean text that they make, and where each stood. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.documents.blocks import split_blocks
from glot_rag.documents.clean import join_runs

WORD = re.compile(r"\S+")

Span = tuple[int, int]


class DenoisedBlock(NamedTuple):
    """A block of a document: a line, or a sentence of a long one (`glot_rag.documents.blocks`).

    Attributes:
        text: the block, without the white space around it.
        start: its first character in the document.
        end: the character after its last one.
        noise: the probability that it is noise, 0 to 1. Where the word head read the document: the mean over its words.
    """

    text: str
    start: int
    end: int
    noise: float


@dataclass(frozen=True)
class Denoised:
    """What is left of a document.

    Attributes:
        text: the runs of kept words, each as it stands in the document, spaces and line breaks included. Between two
            runs stands a line break if one was among what was dropped there, else a space. The document itself where
            every word is kept.
        spans: (start, end) of every run of kept words in the document, in order.
        kept: the share of the words that was kept, 0 to 1.
        blocks: every block of the document, kept or not, with the probability that it is noise.
    """

    text: str
    spans: tuple[Span, ...]
    kept: float
    blocks: tuple[DenoisedBlock, ...] = ()


def keep_blocks(text: str, spans: Sequence[Span], noise: NDArray[np.float32], threshold: float) -> Denoised:
    """The text without the blocks whose noise probability is above the threshold; the least noisy one stays.

    Args:
        text: the document.
        spans: (start, end) of its N blocks, in order.
        noise: (N,), the noise probability of each.
        threshold: 0 to 1.
    """
    blocks = tuple(
        DenoisedBlock(text[start:end], start, end, each)
        for (start, end), each in zip(spans, noise.tolist(), strict=True)
    )
    if not blocks:
        return Denoised(text, (), 1.0)
    kept = noise <= max(threshold, float(noise.min()))
    clean, runs = _kept_parts(text, spans, kept)
    # Blocks may end within a word, of which then two can be left.
    share = 1.0 if kept.all() else min(1.0, len(WORD.findall(clean)) / len(WORD.findall(text)))
    return Denoised(clean, runs, share, blocks)


def keep_words(
    text: str, words: Sequence[Span], noise: NDArray[np.float32], threshold: float, least: float, smallest: float
) -> Denoised:
    """The text without the words whose noise probability is above the threshold.

    Args:
        text: the document.
        words: (start, end) of its words, in order.
        noise: the noise probability of each.
        threshold: 0 to 1.
        least: at least this share of the words stays: the least noisy.
        smallest: a text that would lose less than this share of its words is left whole.
    """
    if not words:
        return Denoised(text, (), 1.0)
    count = max(1, math.ceil(round(len(words) * least, 6)))
    kept = noise <= max(threshold, float(np.partition(noise, count - 1)[count - 1]))
    if (~kept).sum() < smallest * len(words):
        kept[:] = True
    clean, runs = _kept_parts(text, words, kept)
    starts = np.array([start for start, _ in words])
    blocks = []
    for block in split_blocks(text):
        # The first word may begin before the block: text without spaces is cut within words.
        first, end = np.searchsorted(starts, block.start, side="right") - 1, np.searchsorted(starts, block.end)
        mean = float(noise[first:end].mean())
        blocks.append(DenoisedBlock(text[block.start : block.end], block.start, block.end, mean))
    return Denoised(clean, runs, float(kept.mean()), tuple(blocks))


def left_whole(text: str) -> Denoised:
    """The text as it is, its blocks not looked at."""
    words = [match.span() for match in WORD.finditer(text)]
    return Denoised(text, ((words[0][0], words[-1][1]),) if words else (), 1.0)


def _kept_parts(text: str, parts: Sequence[Span], kept: NDArray[np.bool_]) -> tuple[str, tuple[Span, ...]]:
    """The clean text, and (start, end) of every run of kept parts."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    runs = tuple((parts[first][0], parts[end - 1][1]) for first, end in edges.reshape(-1, 2).tolist())
    return text if kept.all() else join_runs(text, runs), runs
