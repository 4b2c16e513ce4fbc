"""The token prior: what a head makes of each token over the whole corpus."""

from __future__ import annotations

import math

import numpy as np
import pytest

from glot_rag import TorchEncoder
from glot_rag.denoise.classifier import FittedClassifier
from glot_rag.denoise.fitting import prior_of_scores
from glot_rag.head import GlotHead


def test_a_word_that_is_noise_mostly_is_noise_where_the_score_says_nothing() -> None:
    ids = np.array([1] * 9 + [2] * 9 + [3])
    scores = np.array([-4.0] * 8 + [0.0] + [4.0] * 8 + [0.0] + [0.0], np.float32)
    prior = prior_of_scores(ids, scores, 5)
    assert prior[1] < prior[3] < prior[2]
    # One that was not read has the mean's prior: only the lenience is added.
    assert prior[0] == prior[4] == 1.0
    assert prior.dtype == np.float32


def test_one_round_is_the_shrunken_mean_in_log_odds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glot_rag.denoise.fitting._ROUNDS", 1)
    rng = np.random.default_rng(0)
    ids, scores = rng.integers(0, 20, 400), rng.normal(0, 3, 400).astype(np.float32)
    got = prior_of_scores(ids, scores, 20)
    signal = 1 / (1 + np.exp(-scores))
    for word in range(20):
        mine = signal[ids == word]
        share = (mine.sum() + 3 * signal.mean()) / (len(mine) + 3)
        expected = math.log(share / (1 - share)) - math.log(signal.mean() / (1 - signal.mean())) + 1
        assert got[word] == pytest.approx(expected, abs=1 / 32 + 1e-6)


@pytest.mark.parametrize("score", [-1e4, 0.0, 1e4])
def test_scores_out_of_all_bounds(score: float) -> None:
    assert np.isfinite(prior_of_scores(np.zeros(5, np.int64), np.full(5, score, np.float32), 2)).all()
    assert (prior_of_scores(np.zeros(0, np.int64), np.zeros(0, np.float32), 2) == 1).all()


def test_the_bar_of_every_page_has_a_bad_name(pages: list[str]) -> None:
    shipped = TorchEncoder.from_pretrained("minilm", dtype="float32")
    fitted = shipped.fit(pages)
    assert isinstance(fitted.pooling, GlotHead)
    assert isinstance(fitted.pooling.adjustment, FittedClassifier)
    prior = fitted.pooling.adjustment.statistics.token_prior
    assert prior is not None
    backbone = shipped.backbone
    (cookies,) = (prior[ids[1:-1]] for ids in backbone.tokenizer(["cookies preferences pricing"]))
    assert cookies.max() < 0
    # The same again, of the same documents: fitting has no random part.
    assert shipped.fit(pages).fingerprint == fitted.fingerprint
