"""Texts -> blocks with noise probabilities, and what is kept of each text.

Blocks are kept or dropped whole: half a line is bad for a language model and for a vector. Words depart from their
block only where they clearly disagree with it, which is noise inside a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.block_scores import NoiseScores, home_of, score_blocks
from glot_rag.denoise.block_states import TokenStates, early_states
from glot_rag.denoise.networks import BlockScorer, StateReader
from glot_rag.denoise.recurrence import Recurrence
from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.documents.layout import layout_features

# Read at once: memory grows with the states of the tokens, and with the square of the blocks of one document.
MOST_CHARACTERS, MOST_BLOCKS = 200_000, 1_000
# Tokens of a block that are read. 92 validation pages have F1 .827 by all tokens, .826 to .828 by the first 24, 16 or
# 10 of each block; 10 are 59% of all tokens.
SKIM = 12
TEMPLATE_NOISE = 0.95  # at least, for a block of the group's template (`Recurring.template`)
_WORD = re.compile(r"\S+")
WORD_MARGIN = 0.35  # a word departs from its block if its noise probability is this far beyond the threshold


@dataclass(frozen=True, eq=False)
class NoiseFound:
    """Noise probabilities of one text.

    Attributes:
        blocks: N blocks, in order.
        block_noise: (N,) float32, the noise probability of each.
        words: (M, 2) int64, characters (start, end) of each word.
        word_block: (M,) int64, the block of each word.
        word_noise: (M,) float32, the mean noise probability of its tokens; its block's where it has none.
    """

    blocks: list[Block]
    block_noise: NDArray[np.float32]
    words: NDArray[np.int64]
    word_block: NDArray[np.int64]
    word_noise: NDArray[np.float32]

    def kept_words(self, threshold: float, margin: float = WORD_MARGIN) -> NDArray[np.bool_]:
        """Which words stay: (M,).

        Args:
            threshold: blocks with a higher noise probability are dropped.
            margin: a word whose own probability is beyond the threshold by more than this, on the other side of it
                than its block's, departs from its block.
        """
        noise = (self.block_noise > threshold)[self.word_block]
        clearly_noise = self.word_noise > threshold + (1 - threshold) * 2 * margin
        clearly_signal = self.word_noise < threshold * (1 - 2 * margin)
        return np.where(noise, clearly_signal, ~clearly_noise)

    def text(self, text: str, kept: NDArray[np.bool_]) -> str:
        """What is left of the text: a line a block, white space within a block as it was between kept words."""
        lines: list[str] = []
        before = -2
        for number in np.flatnonzero(kept).tolist():
            start, end = self.words[number]
            if lines and self.word_block[number] == self.word_block[before]:
                gap = text[self.words[number - 1, 1] : start] if number == before + 1 else " "
                lines[-1] += gap + text[start:end]
            else:
                lines.append(text[start:end])
            before = number
        return "\n".join(lines)


class NoisyBlocks(NamedTuple):
    """The blocks of a text with the noise probability of each.

    Attributes:
        spans: N characters (start, end), in order.
        noise: (N,) float32.
    """

    spans: list[tuple[int, int]]
    noise: NDArray[np.float32]


def find_noisy_blocks(
    backbone: StateReader,
    head: BlockScorer,
    texts: Sequence[str],
    groups: Sequence[str] | None = None,
    recurrence: Recurrence | None = None,
    batch_tokens: int | None = None,
) -> list[NoisyBlocks]:
    """Noise probabilities of the blocks of each text, in memory that does not grow with the texts' number or length.

    The head sees a text as a whole up to `MOST_BLOCKS` blocks and about `MOST_CHARACTERS` characters; a longer one
    comes in sections of that size.

    Args:
        backbone: the frozen transformer.
        head: a trained block graph head, in evaluation mode.
        texts: N strings without surrogates.
        groups: the name of each text's group.
        recurrence: what recurs in the corpus; None where nothing was counted.
        batch_tokens: tokens a batch of the backbone may hold; None is `Backbone.batch_tokens`.
    """
    names = [""] * len(texts) if groups is None else groups
    blocks = [split_blocks(text) for text in texts]
    recurring = None
    if recurrence is not None:
        recurring = [recurrence.look_up(*each) for each in zip(texts, blocks, names, strict=True)]
    noise: list[list[NDArray[np.float32]]] = [[] for _ in texts]
    for batch in _batches(blocks):
        parts = [_section(texts[row], blocks[row][first:end]) for row, first, end in batch]
        sections, own = [text for text, _ in parts], [each for _, each in parts]
        states = early_states(backbone, sections, head.layer, batch_tokens, skim=SKIM, blocks=own)
        layout = [layout_features(*each) for each in parts]
        counts = None if recurring is None else [recurring[row].features[first:end] for row, first, end in batch]
        for (row, _, _), each in zip(batch, score_blocks(head, states, own, layout, counts), strict=True):
            noise[row].append(each.blocks)
    empty = np.zeros(0, np.float32)
    out = []
    for row, of_text in enumerate(blocks):
        values = np.concatenate([empty, *noise[row]])
        if recurring is not None:
            template = recurring[row].template
            values[template] = np.maximum(values[template], TEMPLATE_NOISE)
        out.append(NoisyBlocks([block[:2] for block in of_text], values))
    return out


def _section(text: str, blocks: Sequence[Block]) -> tuple[str, list[Block]]:
    """The part of a text that some of its blocks span, and their places in it."""
    start, end = blocks[0].start, blocks[-1].end
    return text[start:end], [block._replace(start=block.start - start, end=block.end - start) for block in blocks]


def _batches(blocks: Sequence[Sequence[Block]]) -> Iterator[list[tuple[int, int, int]]]:
    """Sections of the texts, (row, first block, end), as many at a time as may be read at once."""
    batch: list[tuple[int, int, int]] = []
    size = 0
    for row, of_text in enumerate(blocks):
        for first, end in _sections(of_text):
            length = of_text[end - 1].end - of_text[first].start
            if batch and size + length > MOST_CHARACTERS:
                yield batch
                batch, size = [], 0
            batch.append((row, first, end))
            size += length
    if batch:
        yield batch


def _sections(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """(first block, end) of the sections that a text is read in: one, unless it is very long."""
    cuts = [0]
    for number, block in enumerate(blocks):
        full = number - cuts[-1] == MOST_BLOCKS or block.end - blocks[cuts[-1]].start > MOST_CHARACTERS
        if full and number > cuts[-1]:
            cuts.append(number)
    return list(pairwise([*cuts, len(blocks)])) if blocks else []


def find_noise(
    head: BlockScorer,
    texts: Sequence[str],
    states: Sequence[TokenStates],
    counts: Sequence[NDArray[np.float32]] | None = None,
    known: Sequence[list[Block]] | None = None,
    *,
    layout: bool = True,
) -> list[NoiseFound]:
    """Noise probabilities of the blocks and words of each text.

    Args:
        head: a trained block graph head, in evaluation mode.
        texts: N strings.
        states: of each, from `early_states` of the head's layer.
        counts: of each, from `recurrence_features`; None where nothing was counted.
        layout: False leaves the layout features out, to see what they decide.
        known: the blocks of each; None is `split_blocks` of it.
    """
    blocks = [split_blocks(text) for text in texts] if known is None else known
    features = [layout * layout_features(*each) for each in zip(texts, blocks, strict=True)]
    scores = score_blocks(head, states, blocks, features, counts)
    return [_of_words(*each) for each in zip(texts, states, blocks, scores, strict=True)]


def _of_words(text: str, tokens: TokenStates, blocks: list[Block], scores: NoiseScores) -> NoiseFound:
    """With the words, each of which has the mean noise probability of its tokens."""
    words = np.array([match.span() for match in _WORD.finditer(text)], np.int64).reshape(-1, 2)
    if not blocks:
        zeros = np.zeros(len(words), np.float32)
        return NoiseFound([], scores.blocks, words, np.zeros(len(words), np.int64), zeros)
    word_block = home_of(blocks, words[:, 0])
    noise = scores.blocks[word_block]
    if len(tokens.spans) and len(words):
        place = (np.searchsorted(words[:, 0], tokens.spans[:, 1] - 1, side="right") - 1).clip(min=0)
        count = np.bincount(place, minlength=len(words))
        some = count > 0
        noise[some] = np.bincount(place, scores.tokens, minlength=len(words))[some] / count[some]
    return NoiseFound(blocks, scores.blocks, words, word_block, noise)
