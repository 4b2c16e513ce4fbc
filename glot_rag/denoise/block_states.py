"""Documents -> states of an early layer of the backbone, with the place of every token in the text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.networks import StateReader
from glot_rag.documents.blocks import Block, split_blocks


class TokenStates(NamedTuple):
    """The tokens of one document, without special tokens and whatever its length.

    Attributes:
        states: (L, D) float32.
        spans: (L, 2) int64, the characters (start, end) of each token.
    """

    states: NDArray[np.float32]
    spans: NDArray[np.int64]


def early_states(
    backbone: StateReader,
    texts: Sequence[str],
    layer: int,
    batch_tokens: int | None = None,
    *,
    skim: int | None = None,
    blocks: Sequence[Sequence[Block]] | None = None,
) -> list[TokenStates]:
    """Run the backbone up to `layer` over texts of any length.

    A text longer than the backbone reads comes as windows, of which none repeats another.

    Args:
        backbone: the frozen transformer.
        texts: N strings.
        layer: index into transformers' `hidden_states`.
        batch_tokens: tokens a batch may hold; None is `Backbone.batch_tokens`.
        skim: read no more than so many tokens of each block, its first; None reads all.
        blocks: of each text; None is `split_blocks` of it.
    """
    tokenizer = backbone.tokenizer
    before, after = tokenizer.ends
    spans: list[NDArray[np.int64]] = []
    windows: list[list[int]] = []
    owner: list[tuple[int, int]] = []  # of each window: its text, and its first token there
    for row, (ids, span) in enumerate(tokenizer.spanned(texts)):
        read = span[:, 1] > span[:, 0]
        if skim is not None:
            read &= _first_tokens(span, split_blocks(texts[row]) if blocks is None else blocks[row], skim)
        ids, span = ids[read], span[read]
        spans.append(span)
        for start, end in pairwise(tokenizer.cuts(len(ids)) or ([0, len(ids)] if len(ids) else [])):
            windows.append(tokenizer.around(ids[start:end].tolist()))
            owner.append((row, start))
    found = [np.zeros((len(span), backbone.state_size), np.float32) for span in spans]
    for batch in backbone.pack(windows, batch_tokens):
        states = backbone.states(batch, (layer,))
        for place, number in enumerate(batch.rows):
            row, start = owner[number]
            count = len(windows[number]) - len(before) - len(after)
            found[row][start : start + count] = states[place, len(before) : len(before) + count]
    return [TokenStates(*each) for each in zip(found, spans, strict=True)]


def _first_tokens(spans: NDArray[np.int64], blocks: Sequence[Block], most: int) -> NDArray[np.bool_]:
    """Which tokens are among the first of their block: (L,)."""
    starts = np.array([block.start for block in blocks], np.int64)
    home = np.searchsorted(starts, spans[:, 1] - 1, side="right")
    first: NDArray[np.bool_] = np.arange(len(home)) - np.searchsorted(home, home) < most
    return first
