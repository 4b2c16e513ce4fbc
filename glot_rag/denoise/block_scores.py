"""Documents -> noise logits of their blocks and tokens: the block head runs over many documents at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.block_states import TokenStates
from glot_rag.denoise.networks import BlockScorer
from glot_rag.documents.blocks import Block

WINDOW = 128  # tokens; the token graph joins tokens of a block within a window
# Pairs of blocks that the graphs of a batch may hold. A longer document is a batch of its own.
BATCH_PAIRS = 1 << 18


class NoiseScores(NamedTuple):
    """Noise probabilities within one document.

    Attributes:
        blocks: (N,) float32.
        tokens: (L,) float32.
    """

    blocks: NDArray[np.float32]
    tokens: NDArray[np.float32]


def score_blocks(
    head: BlockScorer,
    states: Sequence[TokenStates],
    blocks: Sequence[Sequence[Block]],
    layout: Sequence[NDArray[np.float32]],
    counts: Sequence[NDArray[np.float32]] | None = None,
) -> list[NoiseScores]:
    """Score the blocks and tokens of documents. A document's scores do not depend on which others are with it.

    Args:
        head: a trained block graph head, in evaluation mode.
        states: of each document's tokens.
        blocks: of each.
        layout: (N, F) layout features of each.
        counts: (N, C) corpus features of each; None where nothing was counted.
    """
    nothing = np.zeros(0, np.float32)
    out = [NoiseScores(nothing, np.zeros(len(each.spans), np.float32)) for each in states]
    for rows in _batches([len(each) for each in blocks]):
        given = [states[row] for row in rows]
        number = max(len(blocks[row]) for row in rows)
        length = min(WINDOW, max(1, *(len(each.spans) for each in given)))
        windows = [-(-len(each.spans) // length) for each in given]
        padded = np.zeros((max(1, sum(windows)) * length, given[0].states.shape[1]), np.float32)
        place = np.full(len(padded), -1, np.int64)
        mask = np.zeros((len(rows), number), np.bool_)
        first = np.cumsum([0, *windows]) * length  # of each document's tokens
        for turn, (row, own) in enumerate(zip(rows, given, strict=True)):
            here = slice(first[turn], first[turn] + len(own.spans))
            padded[here] = own.states
            place[here] = turn * number + home_of(blocks[row], own.spans[:, 1] - 1)
            mask[turn, : len(blocks[row])] = True
        of_blocks, of_tokens = head.score(
            padded.reshape(-1, length, padded.shape[1]),
            place.reshape(-1, length),
            mask,
            _padded([layout[row] for row in rows], number),
            None if counts is None else _padded([counts[row] for row in rows], number),
        )
        tokens = _probability(of_tokens.reshape(-1))
        for turn, row in enumerate(rows):
            end = first[turn] + len(given[turn].spans)
            out[row] = NoiseScores(_probability(of_blocks[turn, : len(blocks[row])]), tokens[first[turn] : end])
    return out


def home_of(blocks: Sequence[Block], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The block that begins last at or before each character."""
    starts = np.array([block.start for block in blocks], np.int64)
    found: NDArray[np.int64] = (np.searchsorted(starts, places, side="right") - 1).clip(min=0)
    return found


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Documents with blocks, those of like size together."""
    batch: list[int] = []
    for row in sorted((row for row, size in enumerate(sizes) if size), key=lambda row: -sizes[row]):
        if batch and (len(batch) + 1) * sizes[batch[0]] ** 2 > BATCH_PAIRS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(arrays: Sequence[NDArray[np.float32]], number: int) -> NDArray[np.float32]:
    """(B, N, F) of B arrays (n, F)."""
    out = np.zeros((len(arrays), number, arrays[0].shape[1]), np.float32)
    for row, each in enumerate(arrays):
        out[row, : len(each)] = each
    return out


def _probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    noise: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return noise
