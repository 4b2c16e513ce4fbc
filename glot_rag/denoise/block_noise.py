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
TEMPLATE_NOISE = 0.95  # at least, for a block of the group's template (`Recurrence.template`)
WINDOW = 128  # tokens; the token graph joins tokens of a block within a window
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
        recurring = [recurrence.features(*each) for each in zip(texts, blocks, names, strict=True)]
    noise: list[list[NDArray[np.float32]]] = [[] for _ in texts]
    for batch in _batches(blocks):
        parts = [_section(texts[row], blocks[row][first:end]) for row, first, end in batch]
        sections, own = [text for text, _ in parts], [each for _, each in parts]
        states = early_states(backbone, sections, head.layer, batch_tokens, skim=SKIM, blocks=own)
        counts = None if recurring is None else [recurring[row][first:end] for row, first, end in batch]
        found = find_noise(head, sections, states, counts, own)
        for (row, _, _), each in zip(batch, found, strict=True):
            noise[row].append(each.block_noise)
    empty = np.zeros(0, np.float32)
    out = []
    for row, of_text in enumerate(blocks):
        values = np.concatenate([empty, *noise[row]])
        if recurrence is not None:
            template = recurrence.template(texts[row], of_text, names[row])
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
) -> Iterator[NoiseFound]:
    """Noise probabilities of the blocks and words of each text.

    Args:
        head: a trained block graph head, in evaluation mode.
        texts: N strings.
        states: of each, from `early_states` of the head's layer.
        counts: of each, from `recurrence_features`; None where nothing was counted.
        layout: False leaves the layout features out, to see what they decide.
        known: the blocks of each; None is `split_blocks` of it.
    """
    of_texts = [split_blocks(text) for text in texts] if known is None else known
    for row, (text, tokens, blocks) in enumerate(zip(texts, states, of_texts, strict=True)):
        words = np.array([match.span() for match in _WORD.finditer(text)], np.int64).reshape(-1, 2)
        if not blocks:
            empty = np.zeros(0, np.float32)
            yield NoiseFound([], empty, words, np.zeros(len(words), np.int64), np.zeros(len(words), np.float32))
            continue
        starts = np.array([block.start for block in blocks], np.int64)
        home = _last_start(starts, tokens.spans[:, 1] - 1)
        block_logits, token_logits = _logits(
            head, tokens.states, home, layout * layout_features(text, blocks), None if counts is None else counts[row]
        )
        block_noise, token_noise = _sigmoid(block_logits), _sigmoid(token_logits)
        word_block = _last_start(starts, words[:, 0])
        word_noise = block_noise[word_block]
        if len(tokens.spans) and len(words):
            place = _last_start(words[:, 0], tokens.spans[:, 1] - 1)
            count = np.bincount(place, minlength=len(words))
            some = count > 0
            word_noise[some] = (np.bincount(place, token_noise, minlength=len(words))[some] / count[some]).astype(
                np.float32
            )
        yield NoiseFound(blocks, block_noise, words, word_block, word_noise)


def _last_start(starts: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last of the ascending starts at or before each place."""
    rows: NDArray[np.int64] = (np.searchsorted(starts, places, side="right") - 1).clip(min=0)
    return rows


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    noise: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return noise


def _logits(
    head: BlockScorer,
    states: NDArray[np.float32],
    home: NDArray[np.int64],
    layout: NDArray[np.float32],
    counts: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise logits of the N blocks and L tokens of one document."""
    length = len(states)
    rows = max(1, -(-length // WINDOW))
    padded = np.zeros((rows * WINDOW, states.shape[1]), np.float32)
    padded[:length] = states
    block = np.full(rows * WINDOW, -1, np.int64)
    block[:length] = home
    blocks, tokens = head.score(padded.reshape(rows, WINDOW, -1), block.reshape(rows, WINDOW), layout, counts)
    return blocks, tokens.reshape(-1)[:length]
