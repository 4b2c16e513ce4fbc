"""Measures of cleaning: which words or blocks of a document were kept, against its main content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WEB = ("article", "blog", "collection", "documentation", "forum", "listing", "product", "service")


def kept_f1(words: NDArray[np.float32], noise: NDArray[np.float32], kept: NDArray[np.bool_]) -> float:
    """F1 of the words kept against the signal, from each block's words, their share of noise, whether it is kept."""
    signal = words * (1 - noise)
    return float(2 * signal[kept].sum() / max(1.0, words[kept].sum() + signal.sum()))


def clean_loss(words: NDArray[np.float32], kept: NDArray[np.bool_]) -> tuple[float, float]:
    """Words of a clean document that are dropped, and all of them."""
    return float(words[~kept].sum()), float(words.sum())


def calibration_bins(
    probability: NDArray[np.float32], truth: NDArray[np.float32], weight: NDArray[np.float32], bins: int = 10
) -> list[tuple[float, float, float]]:
    """(mean probability, share that is noise, weight) of each tenth of the probabilities that holds anything."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    out = []
    for number in range(bins):
        inside = place == number
        total = float(weight[inside].sum())
        if total:
            out.append(
                (
                    float((probability * weight)[inside].sum() / total),
                    float((truth * weight)[inside].sum() / total),
                    total,
                )
            )
    return out


def calibration_error(
    probability: NDArray[np.float32], truth: NDArray[np.float32], weight: NDArray[np.float32]
) -> float:
    """Expected calibration error over ten bins, weighted by words."""
    bins: Sequence[tuple[float, float, float]] = calibration_bins(probability, truth, weight)
    return sum(abs(p - t) * w for p, t, w in bins) / sum(w for *_, w in bins)
