"""Where to draw the line in one document: noise probabilities of its blocks -> the threshold with the best expected F1.

One threshold for all documents is too high for an article, whose blocks are told apart with ease, and too low for a
product page, where a few lines of content stand among many like them. The best for a document follows from the F1 that
can be reached in it (Lipton, Elkan and Narayanaswamy 2014, arXiv 1402.1892): nothing but probabilities are needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_threshold(noise: NDArray[np.float32], words: NDArray[np.float32] | NDArray[np.int64]) -> float:
    """The noise probability at or below which a document's blocks should be kept.

    With s = 1 - noise, keeping the blocks K has the expected F1 2·Σ_K(s·words) / (Σ_K words + Σ(s·words)). The best K
    are the blocks of the lowest noise, so as many sums as there are blocks are compared.

    Args:
        noise: (N,) the noise probability of each block.
        words: (N,) words of each block.

    Returns:
        The highest noise probability of a kept block: at least one block is kept. 1.0 for a document without words.
    """
    if not words.sum():
        return 1.0
    order = np.argsort(noise, kind="stable")
    kept = words[order].astype(np.float64)
    signal = (1.0 - noise[order]) * kept
    expected = 2 * np.cumsum(signal) / (np.cumsum(kept) + max(float(signal.sum()), 1e-9))
    # Of equals the last: what is as good as dropped stays.
    best = len(expected) - 1 - int(np.argmax(expected[::-1]))
    return float(noise[order[best]])
