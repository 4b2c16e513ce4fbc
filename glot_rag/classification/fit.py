"""Training a text classifier over cached states; the epoch is chosen on examples held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glot_rag.classification.classifier import TextClassifier
from glot_rag.classification.states import States, states_for
from glot_rag.errors import InputError
from glot_rag.head.fit import Epoch, FitConfig, Measured, fit

# (outputs (N, C), labels (N,)) -> higher is better.
Score = Callable[[NDArray[np.float32], NDArray[np.generic]], float]
_POOL = 16  # batches' worth of examples that are sorted by length together, so that padding stays small


@dataclass(frozen=True)
class Examples:
    """Labelled texts, or pairs of them, by their rows among the states.

    Args:
        rows: (N, T) int64; T is 1, or 2 for pairs.
        labels: (N,) whole numbers from 0 for classes, floats for a regression.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.int64]) -> Examples:
        return Examples(self.rows[chosen], self.labels[chosen])


def hold_out(examples: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """Split into training and validation examples, at random, class by class where the labels are classes.

    Every class keeps at least one example to train on. A class of one example is trained on, not held out.

    Raises:
        InputError: the share is not between 0 and 1, or there are too few examples to hold any out.
    """
    if not 0 < share < 1:
        raise InputError(f"the share held out must be between 0 and 1; got {share}")
    rng = np.random.default_rng([seed, 3])
    classes = examples.labels.dtype.kind in "iu"
    groups = [np.flatnonzero(examples.labels == label) for label in np.unique(examples.labels)] if classes else []
    held: list[NDArray[np.int64]] = []
    for group in groups or [np.arange(len(examples))]:
        # Rounded up, so that small classes are seen in validation, too.
        count = min(math.ceil(len(group) * share), len(group) - 1)
        held.append(rng.permutation(group)[:count])
    chosen = np.sort(np.concatenate(held))
    if not len(chosen):
        raise InputError(f"{len(examples)} examples are too few to train on and hold some out")
    return examples[np.setdiff1d(np.arange(len(examples)), chosen)], examples[chosen]


def fit_classifier(
    net: TextClassifier,
    states: States,
    train: Examples,
    validation: Examples,
    config: FitConfig,
    score: Score | None = None,
) -> list[Epoch]:
    """Train in place, and leave the network with the weights of its best epoch.

    Args:
        net: the pooling and its linear layer; its device is used.
        states: of all texts that the examples name.
        train: what is learned.
        validation: what the epoch is chosen on: the highest score, among equals the lowest loss.
        config: how to train.
        score: of the outputs on `validation`; None chooses by the loss alone.

    Returns:
        One entry an epoch.

    Raises:
        TrainingError: a loss is not finite.
    """
    states = states_for(net.pooling, states)
    generator = np.random.default_rng([config.seed, 4])
    return fit(
        net,
        config,
        lambda _: _batches(train, states, config.batch_size, generator),
        lambda part: _loss(_forward(net, states, part), part),
        lambda: _measure(net, states, validation, score),
    )


@torch.no_grad()
def predict(net: TextClassifier, states: States, rows: NDArray[np.int64], batch_size: int = 64) -> NDArray[np.float32]:
    """Outputs of a trained network for rows (N, T): (N, C), in their order."""
    states = states_for(net.pooling, states)
    net.eval()
    out = np.empty((len(rows), net.output.out_features), np.float32)
    order = np.argsort(states.lengths[rows].sum(axis=1), kind="stable")
    for start in range(0, len(rows), batch_size):
        chosen = order[start : start + batch_size]
        part = Examples(rows[chosen], np.zeros(len(chosen)))
        out[chosen] = _forward(net, states, part).cpu().numpy()
    return out


def _measure(net: TextClassifier, states: States, examples: Examples, score: Score | None) -> Measured:
    outputs = predict(net, states, examples.rows)
    loss = _loss(torch.from_numpy(outputs), examples).item()
    return Measured(loss, None if score is None else score(outputs, examples.labels))


def _forward(net: TextClassifier, states: States, part: Examples) -> Tensor:
    device = net.output.weight.device
    texts = [states.batch(part.rows[:, column]) for column in range(part.rows.shape[1])]
    out: Tensor = net(*((values.to(device), mask.to(device)) for values, mask in texts))
    return out


def _loss(outputs: Tensor, part: Examples) -> Tensor:
    """The logistic loss for classes, the mean squared error for a regression."""
    labels = torch.from_numpy(np.ascontiguousarray(part.labels)).to(outputs.device)
    if labels.is_floating_point():
        return functional.mse_loss(outputs[:, 0], labels.float())
    return functional.cross_entropy(outputs, labels.long())


def _batches(examples: Examples, states: States, size: int, generator: np.random.Generator) -> list[Examples]:
    """Every example once, in random order; the texts of a batch have similar lengths."""
    lengths = states.lengths[examples.rows].sum(axis=1)
    order = generator.permutation(len(examples))
    batches = []
    for start in range(0, len(order), _POOL * size):
        pool = order[start : start + _POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [examples[batches[chosen]] for chosen in generator.permutation(len(batches))]
