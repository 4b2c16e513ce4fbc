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
from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.documents.layout import layout_features

# Read at once: memory grows with the states of the tokens, and with the square of the blocks of one document.
MOST_CHARACTERS, MOST_BLOCKS = 200_000, 1_000
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
    backbone: StateReader, head: BlockScorer, texts: Sequence[str], batch_tokens: int | None = None
) -> list[NoisyBlocks]:
    """Noise probabilities of the blocks of each text, in memory that does not grow with the texts' number or length.

    The head sees a text as a whole up to `MOST_BLOCKS` blocks and about `MOST_CHARACTERS` characters; a longer one
    comes in sections of that size.

    Args:
        backbone: the frozen transformer.
        head: a trained block graph head, in evaluation mode.
        texts: N strings without surrogates.
        batch_tokens: tokens a batch of the backbone may hold; None is `Backbone.batch_tokens`.
    """
    spans: list[list[tuple[int, int]]] = [[] for _ in texts]
    noise: list[list[NDArray[np.float32]]] = [[] for _ in texts]
    for batch in _batches(texts):
        sections = [texts[row][start:end] for row, start, end in batch]
        states = early_states(backbone, sections, head.layer, batch_tokens)
        for (row, start, _), found in zip(batch, find_noise(head, sections, states), strict=True):
            spans[row] += [(start + block.start, start + block.end) for block in found.blocks]
            noise[row].append(found.block_noise)
    empty = np.zeros(0, np.float32)
    return [NoisyBlocks(where, np.concatenate([empty, *each])) for where, each in zip(spans, noise, strict=True)]


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, int, int]]]:
    """Sections of the texts, (row, start, end), as many at a time as may be read at once."""
    batch: list[tuple[int, int, int]] = []
    size = 0
    for row, text in enumerate(texts):
        for start, end in _sections(text):
            if batch and size + end - start > MOST_CHARACTERS:
                yield batch
                batch, size = [], 0
            batch.append((row, start, end))
            size += end - start
    if batch:
        yield batch


def _sections(text: str) -> list[tuple[int, int]]:
    """Where a text is cut, between blocks: nowhere, unless it is very long."""
    cuts, first = [0], 0
    for number, block in enumerate(split_blocks(text)):
        full = number - first == MOST_BLOCKS or block.end - cuts[-1] > MOST_CHARACTERS
        if full and number > first:
            cuts.append(block.start)
            first = number
    return list(pairwise([*cuts, len(text)]))


def find_noise(
    head: BlockScorer,
    texts: Sequence[str],
    states: Sequence[TokenStates],
    counts: Sequence[NDArray[np.float32]] | None = None,
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
    """
    for row, (text, tokens) in enumerate(zip(texts, states, strict=True)):
        blocks = split_blocks(text)
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
