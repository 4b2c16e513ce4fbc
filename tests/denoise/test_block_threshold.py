from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from glot_rag.denoise.block_threshold import best_threshold


def best_by_trying_all(noise: np.ndarray, words: np.ndarray) -> float:
    """The best expected F1 of any choice of blocks."""
    signal = (1 - noise) * words
    rows = range(len(noise))
    choices = (list(kept) for size in range(1, len(noise) + 1) for kept in combinations(rows, size))
    return max(float(2 * signal[kept].sum() / (words[kept].sum() + signal.sum())) for kept in choices)


@pytest.mark.parametrize("seed", range(5))
def test_no_choice_of_blocks_has_a_higher_expected_f1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise, words = rng.random(8).astype(np.float32), rng.integers(0, 30, 8)
    kept = noise <= best_threshold(noise, words)
    signal = (1 - noise) * words
    assert 2 * signal[kept].sum() / (words[kept].sum() + signal.sum()) == pytest.approx(
        best_by_trying_all(noise, words)
    )


def test_worked_by_hand() -> None:
    # Ten words each. Keeping one: 2·9 / (10 + 18) = .643; two: 2·15 / (20 + 18) = .789; three: 2·18 / (30 + 18) = .75.
    assert best_threshold(np.array([0.4, 0.7, 0.1], np.float32), np.array([10, 10, 10])) == pytest.approx(0.4)


def test_a_clean_document_keeps_all_and_a_document_of_noise_too() -> None:
    words = np.full(5, 8)
    assert best_threshold(np.full(5, 0.05, np.float32), words) == pytest.approx(0.05)
    assert best_threshold(np.full(5, 0.95, np.float32), words) == pytest.approx(0.95)


def test_without_words_nothing_is_dropped() -> None:
    assert best_threshold(np.zeros(0, np.float32), np.zeros(0, np.int64)) == 1.0
    assert best_threshold(np.array([0.9], np.float32), np.array([0])) == 1.0
