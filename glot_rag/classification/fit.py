"""Training a classifier: AdamW over cached states; the epoch is chosen on examples held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup

from glot_rag.classification.classifier import TextClassifier
from glot_rag.classification.states import States, states_for
from glot_rag.errors import InputError, TrainingError

# (outputs (N, C), labels (N,)) -> higher is better.
Score = Callable[[NDArray[np.float32], NDArray[np.generic]], float]
_POOL = 16  # batches' worth of examples that are sorted by length together, so that padding stays small


@dataclass(frozen=True)
class FitConfig:
    """How a classifier is trained; the same for every pooling that is compared.

    Args:
        seed: of the first weights and the order. On a CPU the same seed gives the same classifier.
        epochs: at most so many.
        patience: stop after so many epochs without a better score.
        batch_size: examples a step.
        learning_rate: AdamW's peak, reached after the warm-up, then cosine decay to 0.
        weight_decay: AdamW's.
        warmup: share of all steps.

    Raises:
        InputError: a value out of its range.
    """

    seed: int = 0
    epochs: int = 10
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0; got {self.learning_rate}")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay must be at least 0; got {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup must be in [0, 1); got {self.warmup}")


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


@dataclass(frozen=True)
class FitEpoch:
    """Mean training loss, and loss and score on the examples held out, after an epoch."""

    number: int
    train: float
    validation: float
    score: float


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


def fit(
    net: TextClassifier,
    states: States,
    train: Examples,
    validation: Examples,
    config: FitConfig,
    score: Score | None = None,
) -> list[FitEpoch]:
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
        TrainingError: the loss is not finite.
    """
    states = states_for(net.pooling, states)
    generator = np.random.default_rng([config.seed, 4])
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * math.ceil(len(train) / config.batch_size)
    schedule = get_cosine_schedule_with_warmup(optimiser, round(steps * config.warmup), steps)
    history: list[FitEpoch] = []
    weights: dict[str, Tensor] = {}
    for number in range(1, config.epochs + 1):
        net.train()
        total = 0.0
        for part in _batches(train, states, config.batch_size, generator):
            loss = _loss(_forward(net, states, part), part)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(part)
        epoch = replace(_measure(net, states, validation, score), number=number, train=total / len(train))
        if not math.isfinite(epoch.train + epoch.validation):
            raise TrainingError(f"the loss is not finite in epoch {number}: lower the learning rate")
        history.append(epoch)
        best = best_epoch(history)
        if best is epoch:
            weights = {name: value.clone() for name, value in net.state_dict().items()}
        if number - best.number >= config.patience:
            break
    net.load_state_dict(weights)
    net.eval()
    return history


def best_epoch(history: Sequence[FitEpoch]) -> FitEpoch:
    """The highest score; among equals the lowest validation loss, and then the first."""
    return max(history, key=lambda epoch: (epoch.score, -epoch.validation))


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


def _measure(net: TextClassifier, states: States, examples: Examples, score: Score | None) -> FitEpoch:
    outputs = predict(net, states, examples.rows)
    loss = _loss(torch.from_numpy(outputs), examples).item()
    return FitEpoch(0, 0.0, loss, -loss if score is None else score(outputs, examples.labels))


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


def _batches(examples: Examples, states: States, size: int, generator: np.random.Generator) -> Iterator[Examples]:
    """Every example once, in random order; those of one batch are of like length."""
    lengths = states.lengths[examples.rows].sum(axis=1)
    order = generator.permutation(len(examples))
    batches = []
    for start in range(0, len(order), _POOL * size):
        pool = order[start : start + _POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    for chosen in generator.permutation(len(batches)):
        yield examples[batches[chosen]]
