"""Simulated corpora, and the noise classifier that is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from random_state import global_random_state_unchanged

from glot_rag.denoise.classifier import ClassifierNetwork
from glot_rag.errors import TrainingError
from glot_rag.training.classifier import train_classifier
from glot_rag.training.corpora import CorpusSimulator
from glot_rag.training.texts import TrainingText

if TYPE_CHECKING:
    from glot_rag.head import AdaPool, GlotHead
    from glot_rag.models.backbone import Backbone


@pytest.fixture(scope="module")
def texts(prose: list[tuple[str, str]]) -> list[TrainingText]:
    return [TrainingText(text, "", f"source {i % 2}") for i, (_, text) in enumerate(prose[:240])]


def test_documents_keep_their_own_words_in_order(texts: list[TrainingText]) -> None:
    simulator = CorpusSimulator(texts, 0)
    clean = [each.text.split() for each in texts]
    for number in range(6):
        for view in simulator.corpus(number):
            own = [word for word, noise in zip(view.words, view.is_noise, strict=True) if not noise]
            assert any(own == words[: len(own)] for words in clean)


def test_corpora_are_repeatable_and_of_one_source_mostly(texts: list[TrainingText]) -> None:
    first = CorpusSimulator(texts, 0).corpus(3)
    assert first == CorpusSimulator(texts, 0).corpus(3)
    assert first != CorpusSimulator(texts, 1).corpus(3)
    sizes = {len(CorpusSimulator(texts, 0).corpus(number)) for number in range(8)}
    assert sizes <= {60, 120, 240}
    assert len(sizes) > 1


def test_noise_recurs(texts: list[TrainingText]) -> None:
    """In some corpora a run of three noise words stands in many documents; in the clean texts none does."""
    simulator = CorpusSimulator(texts, 0)

    def most(number: int, noise: bool) -> float:
        counts: Counter[tuple[str, ...]] = Counter()
        views = simulator.corpus(number)
        for view in views:
            runs = zip(*(view.words[i:] for i in range(3)), *(view.is_noise[i:] for i in range(3)), strict=False)
            counts.update({run[:3] for run in runs if all(flag == noise for flag in run[3:])})
        return max(counts.values(), default=0) / len(views)

    assert max(most(number, True) for number in range(12)) > 0.3


def test_the_classifier_helps_where_noise_recurs(
    tiny: Callable[[str], Backbone],
    make_head: Callable[..., GlotHead | AdaPool],
    texts: list[TrainingText],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = tiny("bert")
    monkeypatch.setattr("glot_rag.training.classifier._STEPS", 20)  # of 20 epochs
    monkeypatch.setattr("glot_rag.training.corpora._SIZES", (60,))
    head = make_head(state_size=32, form="drop", layers=(1,), num_layers=1, hidden_size=16)
    with global_random_state_unchanged():
        classifier, report = train_classifier(head, backbone, texts, corpora=10)
    assert report.classifier < report.head
    # A phrase of every document, of words that the corpus has in excess and strewn about, is noise if anything is.
    recurring, unique = torch.tensor([5.0, 0.0, 3.0, 0.0, 0.0]), torch.tensor([0.0, -5.0, 0.0, 1.0, 0.0])
    scores, real = torch.zeros(1, 20), torch.ones(1, 20, dtype=torch.bool)
    a_notice = torch.where(torch.arange(20)[:, None] < 10, recurring, unique)[None]
    found = classifier(scores, a_notice, real)[0]
    assert found[:10].mean() < found[10:].mean()
    assert classifier.background.shape == (backbone.tokenizer.vocabulary_size,)
    assert np.isfinite(classifier.background.numpy()).all()


def test_padding_changes_no_score() -> None:
    torch.manual_seed(0)
    network = ClassifierNetwork()
    given = torch.randn(1, 30, 5)
    alone = network(given, torch.ones(1, 30, dtype=torch.bool))[0]
    for left, right in [(0, 40), (17, 3)]:
        padded = torch.full((2, left + 30 + right, 5), torch.nan)
        padded[0, left : left + 30] = given[0]
        mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
        mask[0, left : left + 30] = True
        assert torch.allclose(network(padded, mask)[0, left : left + 30], alone, atol=1e-6)


def test_too_little_to_simulate(
    minilm: Backbone, make_head: Callable[..., GlotHead | AdaPool], texts: list[TrainingText]
) -> None:
    with pytest.raises(TrainingError, match="got 50 and 300"):
        train_classifier(make_head(form="drop", layers=(2,)), minilm, texts[:50])
    with pytest.raises(TrainingError, match="at least 200 texts and 10 corpora"):
        train_classifier(make_head(form="drop", layers=(2,)), minilm, texts, corpora=3)
