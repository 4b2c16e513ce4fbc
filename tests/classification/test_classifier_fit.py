"""The classifier and its training loop, over the states of real texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glot_rag.classification.classifier import TextClassifier, build_pooling
from glot_rag.classification.fit import Examples, fit_classifier, hold_out, predict
from glot_rag.classification.states import CachedStates
from glot_rag.errors import InputError, TrainingError
from glot_rag.head import GlotHead
from glot_rag.head.config import POOLINGS, HeadConfig
from glot_rag.head.fit import FitConfig, best_epoch

CONFIG = FitConfig(epochs=6, batch_size=8, learning_rate=5e-3)
SMALL = {"hidden_size": 16}


def network(name: str, outputs: int = 2, texts: int = 1, seed: int = 0) -> TextClassifier:
    torch.manual_seed(seed)
    return TextClassifier(build_pooling(name, 384, **(SMALL if name in ("glot", "adapool") else {})), outputs, texts)


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_learns_what_is_easy(states: CachedStates, examples: Examples, name: str) -> None:
    train, validation = hold_out(examples, 0.3, seed=0)
    net = network(name)
    history = fit_classifier(net, states, train, validation, CONFIG, accuracy)
    assert history[-1].train < history[0].train
    assert accuracy(predict(net, states, validation.rows), validation.labels) == best_epoch(history).score > 0.7


def test_a_pair_is_read_as_both_vectors_their_distance_and_their_product(states: CachedStates) -> None:
    net = network("mean", outputs=3, texts=2)
    rows = np.array([[0, 40], [7, 7], [41, 3]])
    vectors = [net.pooling(*states.batch(rows[:, column])).vector.numpy() for column in (0, 1)]
    u, v = ((each - each.mean(1, keepdims=True)) / np.sqrt(each.var(1, keepdims=True) + 1e-5) for each in vectors)
    features = np.concatenate([u, v, np.abs(u - v), u * v], axis=1)
    expected = features @ net.output.weight.detach().numpy().T + net.output.bias.detach().numpy()
    np.testing.assert_allclose(predict(net, states, rows), expected, atol=1e-5)


def test_a_regression_learns_similarity(states: CachedStates, examples: Examples) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(examples), (400, 2))
    alike = (examples.labels[rows[:, 0]] == examples.labels[rows[:, 1]]).astype(np.float64)
    pairs = Examples(rows, alike)
    train, validation = hold_out(pairs, 0.25, seed=0)
    net = network("adapool", outputs=1, texts=2)
    history = fit_classifier(net, states, train, validation, FitConfig(epochs=15, batch_size=8))
    outputs = predict(net, states, validation.rows)
    assert outputs.shape == (len(validation), 1)
    # The loss is the mean squared error, and the best epoch's weights are the ones that are left.
    mse = float(np.mean((outputs[:, 0] - validation.labels) ** 2))
    assert mse == pytest.approx(min(epoch.validation for epoch in history), abs=1e-5)
    assert mse < 0.2 < np.var(validation.labels)


def test_the_weights_of_the_best_epoch_are_kept(states: CachedStates, examples: Examples) -> None:
    train, validation = hold_out(examples, 0.3, seed=0)
    scores, outputs = iter([0.1, 0.9, 0.3, 0.2]), []

    def score(values: np.ndarray, labels: np.ndarray) -> float:
        outputs.append(values)
        return next(scores)

    net = network("adapool")
    history = fit_classifier(net, states, train, validation, FitConfig(epochs=6, patience=2, learning_rate=1e-2), score)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]  # two without progress
    np.testing.assert_array_equal(predict(net, states, validation.rows), outputs[1])
    assert not np.allclose(outputs[1], outputs[3])


def test_the_same_seed_gives_the_same_classifier(states: CachedStates, examples: Examples) -> None:
    def outputs(seed: int) -> np.ndarray:
        net = network("glot", seed=seed)
        train, validation = hold_out(examples, 0.3, seed=seed)
        fit_classifier(net, states, train, validation, FitConfig(seed=seed, epochs=2))
        return predict(net, states, examples.rows)

    np.testing.assert_array_equal(outputs(1), outputs(1))
    assert not np.allclose(outputs(1), outputs(2))


def test_a_loss_that_is_not_finite_is_told(states: CachedStates, examples: Examples) -> None:
    net = network("mean")
    with torch.no_grad():
        net.output.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1: lower the learning rate"):
        fit_classifier(net, states, examples, examples, CONFIG)


def test_held_out_examples_are_of_every_class_and_in_one_part_only() -> None:
    labels = np.array([0] * 17 + [1] * 5 + [2] * 1)
    train, held = hold_out(Examples(np.arange(23)[:, None], labels), 0.2, seed=4)
    assert sorted([*train.rows[:, 0], *held.rows[:, 0]]) == list(range(23))
    assert np.bincount(held.labels, minlength=3).tolist() == [4, 1, 0]  # the only one of its class is trained on
    again = hold_out(Examples(np.arange(23)[:, None], labels), 0.2, seed=4)[1]
    other = hold_out(Examples(np.arange(23)[:, None], labels), 0.2, seed=5)[1]
    assert again.rows.tolist() == held.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [([0, 1], 0.5, "2 examples are too few"), ([0, 0, 1, 1], 1.0, "must be between 0 and 1; got 1.0")],
)
def test_what_cannot_be_held_out(labels: list[int], share: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hold_out(Examples(np.arange(len(labels))[:, None], np.array(labels)), share, seed=0)


def test_a_classifier_takes_a_text_or_a_pair_and_no_dropping_head() -> None:
    with pytest.raises(InputError, match="1 text or a pair, 2; got 3"):
        TextClassifier(build_pooling("mean", 8), 2, texts=3)
    with pytest.raises(InputError, match="the drop form works inside the backbone"):
        TextClassifier(GlotHead(HeadConfig(state_size=8, form="drop")), 2)
