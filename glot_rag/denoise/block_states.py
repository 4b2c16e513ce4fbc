"""Documents -> states of an early layer of the backbone, with the place of every token in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.networks import StateReader


class TokenStates(NamedTuple):
    """The tokens of one document, without special tokens and whatever its length.

    Attributes:
        states: (L, D) float32.
        spans: (L, 2) int64, the characters (start, end) of each token.
    """

    states: NDArray[np.float32]
    spans: NDArray[np.int64]


def early_states(
    backbone: StateReader, texts: Sequence[str], layer: int, batch_tokens: int | None = None
) -> list[TokenStates]:
    """Run the backbone up to `layer` over texts of any length.

    A text longer than the backbone reads comes as windows; a token that stands in two of them has its state from the
    first.

    Args:
        backbone: the frozen transformer.
        texts: N strings.
        layer: index into transformers' `hidden_states`.
        batch_tokens: tokens a batch may hold; None is `Backbone.batch_tokens`.
    """
    windows = [(row, window) for row, text in enumerate(texts) for window in backbone.tokenizer.windows(text)]
    new: list[NDArray[np.bool_]] = []  # of each window, the tokens that no earlier window of the text has
    spans: list[NDArray[np.int64]] = []
    seen = np.zeros(len(texts), np.int64)  # first character that is still to come
    for row, window in windows:
        span = np.array(window.spans, np.int64).reshape(-1, 2)
        new.append((span[:, 1] > span[:, 0]) & (span[:, 1] > seen[row]))
        spans.append(span[new[-1]])
        seen[row] = max(int(seen[row]), int(span[:, 1].max(initial=0)))
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(windows)
    for batch in backbone.pack([window.ids for _, window in windows], batch_tokens):
        states = backbone.states(batch, (layer,))
        for place, number in enumerate(batch.rows):
            found[number] = states[place, : len(new[number])][new[number]]
    out = []
    at = 0
    for row in range(len(texts)):
        until = at
        while until < len(windows) and windows[until][0] == row:
            until += 1
        if until == at:
            out.append(TokenStates(np.zeros((0, backbone.state_size), np.float32), np.zeros((0, 2), np.int64)))
        else:
            out.append(TokenStates(np.concatenate(found[at:until]), np.concatenate(spans[at:until])))
        at = until
    return out
