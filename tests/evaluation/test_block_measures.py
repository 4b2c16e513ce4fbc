from __future__ import annotations

import numpy as np
import pytest

from glot_rag.evaluation.block_measures import calibration_bins, calibration_error, clean_loss, kept_f1


def test_kept_f1_and_clean_loss_of_blocks() -> None:
    words, noise = np.array([10, 4, 6], np.float32), np.array([0, 1, 0.5], np.float32)
    kept = np.array([True, True, False])
    assert kept_f1(words, noise, kept) == pytest.approx(2 * 10 / (14 + 13))
    assert clean_loss(words, kept) == (6, 20)


def test_calibration_is_weighted_by_words() -> None:
    probability = np.array([0.9, 0.9, 0.1, 1.0], np.float32)
    truth, weight = np.array([1, 0, 0, 1], np.float32), np.array([3, 1, 4, 2], np.float32)
    bins = calibration_bins(probability, truth, weight)
    assert [each[2] for each in bins] == [4, 6]
    assert bins[1][1] == pytest.approx(5 / 6)
    expected = (abs(0.1 - 0) * 4 + abs((0.9 * 4 + 2) / 6 - 5 / 6) * 6) / 10
    assert calibration_error(probability, truth, weight) == pytest.approx(expected, rel=1e-5)
