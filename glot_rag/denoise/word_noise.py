"""Texts -> words with noise probabilities, by a head that scores tokens: for texts whose layout says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.denoised import WORD, Span
from glot_rag.denoise.networks import StateReader, WordScorer

_LARGEST_SCORE = 30.0  # beyond, the exponential would overflow


class NoisyWords(NamedTuple):
    """The words of a text with the noise probability of each.

    Attributes:
        spans: N words, (first character, end).
        noise: (N,) float32; 1 for a word without tokens.
    """

    spans: list[Span]
    noise: NDArray[np.float32]


def find_noisy_words(
    backbone: StateReader,
    head: WordScorer,
    texts: Sequence[str],
    groups: Sequence[str] | None = None,
    batch_tokens: int | None = None,
) -> list[NoisyWords]:
    """Noise probabilities of the words of each text, of any length.

    Every token is scored in windows over the whole text, through the backbone's layers up to the last one that the head
    reads. A word's score is the mean of its tokens', not the highest: a random string comes to pieces some of which are
    words.

    Args:
        backbone: the frozen transformer.
        head: a trained head over it, fitted to a corpus or not.
        texts: N strings without surrogates.
        groups: the name of each text's group, for a fitted head.
        batch_tokens: tokens a batch may hold; None is `Backbone.batch_tokens`.
    """
    words = [[match.span() for match in WORD.finditer(text)] for text in texts]
    starts = [np.array([start for start, _ in spans], np.int64) for spans in words]
    windows = [(row, window) for row, text in enumerate(texts) for window in backbone.tokenizer.windows(text)]
    sums, counts = ([np.zeros(len(spans)) for spans in words] for _ in range(2))
    for batch in backbone.pack([window.ids for _, window in windows], batch_tokens):
        names = None if groups is None else [groups[windows[row][0]] for row in batch.rows]
        values = head.score(backbone.states(batch, head.layers), batch, names)
        for place, number in enumerate(batch.rows):
            row, window = windows[number]
            word = window.words(starts[row])
            np.add.at(sums[row], word[word >= 0], values[place, : len(word)][word >= 0])
            np.add.at(counts[row], word[word >= 0], 1)
    return [NoisyWords(spans, _noise(total, count)) for spans, total, count in zip(words, sums, counts, strict=True)]


def _noise(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float32]:
    mean = np.divide(total, count, out=np.full(len(total), -np.inf), where=count > 0)
    noise: NDArray[np.float32] = (1 / (1 + np.exp(np.clip(mean, -_LARGEST_SCORE, _LARGEST_SCORE)))).astype(np.float32)
    return noise
