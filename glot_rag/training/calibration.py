"""Calibration: how far to follow a head's scores, how far what a collection repeats (`glot_rag.head.adaptation`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glot_rag.backbone import Backbone
from glot_rag.collection import CollectionStatistics
from glot_rag.errors import TrainingError
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.adaptation import Calibration, weighing_network
from glot_rag.progress import bar
from glot_rag.tokens import pack
from glot_rag.training.collections import CollectionSimulator
from glot_rag.training.noise import View
from glot_rag.training.objectives import signal_costs
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import SIGNAL, SPECIAL, token_labels

FEWEST_TEXTS = 200
_BACKGROUND_TEXTS = 40_000
_STEPS, _BATCH, _RATE = 3_000, 8_192, 5e-3


@dataclass(frozen=True)
class CalibrationReport:
    """The token loss on collections that were held out: of the head's scores, and of the calibrated ones."""

    head: float
    calibrated: float


class _Examples:
    """Tokens of one simulated collection: score and features (T, 5), label (T,) 1 for signal, cost (T,)."""

    def __init__(self) -> None:
        self.parts: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]] = []

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        x, y, cost = (torch.from_numpy(np.concatenate(column)) for column in zip(*self.parts, strict=True))
        return x, y, cost


def calibrate(
    head: GlotHead | AdaPool,
    backbone: Backbone,
    texts: Sequence[TrainingText],
    *,
    collections: int = 80,
    seed: int = 0,
    rarity: float = 0.5,
    trust: float = 1.0,
    gate: float = 0.15,
    lines: Mapping[str, Sequence[str]] | None = None,
    show_progress: bool = False,
) -> tuple[Calibration, CalibrationReport]:
    """Train the network that weighs a head's scores against a collection's repetitions.

    Args:
        head: a trained head over this backbone.
        backbone: the frozen transformer.
        texts: clean texts, those the head was trained on, say, with their sources.
        collections: how many to simulate; a tenth of them is held out.
        seed: of every random choice.
        rarity: how much less it costs to lose a frequent token (`signal_costs`, here at most 1).
        trust: `Calibration.trust`.
        gate: `Calibration.gate`.
        lines: real lines for the noise, by kind.
        show_progress: draw a progress bar on stderr.

    Returns:
        The calibration, and what it is worth on the collections held out.

    Raises:
        TrainingError: fewer than 200 texts, or fewer than 10 collections.
    """
    if len(texts) < FEWEST_TEXTS or collections < 10:
        raise TrainingError(
            f"calibration simulates whole collections: expected at least {FEWEST_TEXTS} texts and 10 collections, got "
            f"{len(texts)} and {collections}"
        )
    counts = _token_counts(backbone, texts, seed)
    background = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts))).log().half()
    costs = signal_costs(counts, rarity).clamp(max=1.0).numpy()
    simulator = CollectionSimulator(texts, seed, lines)
    held_out, training = _Examples(), _Examples()
    with bar(disable=not show_progress) as progress:
        for number in progress.track(range(collections), description="simulating collections"):
            examples = held_out if number % 10 == 9 else training
            examples.parts += _examples(head, backbone, simulator.collection(number), background, costs)
    calibration = Calibration(weighing_network(), background, trust, gate)
    _fit(calibration, *training.tensors(), seed)
    x, y, cost = held_out.tensors()
    with torch.no_grad():
        after = float(_loss(calibration(x[:, 0], x[:, 1:]), y, cost))
    return calibration, CalibrationReport(float(_loss(x[:, 0], y, cost)), after)


def _token_counts(backbone: Backbone, texts: Sequence[TrainingText], seed: int) -> Tensor:
    """(V,): how often each token stands in clean text."""
    chosen = np.random.default_rng([seed, 3]).permutation(len(texts))[:_BACKGROUND_TEXTS]
    counts = np.zeros(backbone.tokenizer.vocabulary_size, np.int64)
    for start in range(0, len(chosen), 1024):
        for ids in backbone.tokenizer.whole([texts[i].text for i in chosen[start : start + 1024]]):
            np.add.at(counts, ids, 1)
    return torch.from_numpy(counts)


@torch.inference_mode()
def _examples(
    head: GlotHead | AdaPool, backbone: Backbone, views: Sequence[View], background: Tensor, costs: NDArray[np.float32]
) -> list[tuple[Any, Any, Any]]:
    texts = [view.text for view in views]
    size = backbone.tokenizer.vocabulary_size
    statistics = CollectionStatistics.count(backbone.tokenizer.whole(texts), size)
    tokenised = backbone.tokenizer.with_offsets(texts)
    log_share = background.float().numpy()
    found = []
    for batch in pack([each.ids for each in tokenised], backbone.tokenizer.pad_id):
        states, mask = backbone.hidden_states(batch, head.layers)
        logits = head(torch.cat(states, dim=-1), mask).logits
        assert logits is not None
        features = statistics.features(batch.ids, log_share)
        x = np.concatenate([logits.float().cpu().numpy()[..., None], features], axis=-1)
        for place, row in enumerate(batch.rows):
            labels = token_labels(tokenised[row], views[row])
            counted = labels != SPECIAL
            ids = batch.ids[place, : len(labels)][counted]
            signal = (labels[counted] == SIGNAL).astype(np.float32)
            found.append((x[place, : len(labels)][counted], signal, costs[ids]))
    return found


def _loss(scores: Tensor, signal: Tensor, cost: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores, signal, weight=cost)


def _fit(calibration: Calibration, x: Tensor, signal: Tensor, cost: Tensor, seed: int) -> None:
    """AdamW with one cycle of the learning rate over tokens drawn at random."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in calibration.network.parameters():
        bound = parameter.shape[-1] ** -0.5
        torch.nn.init.uniform_(parameter, -bound, bound, generator=rng)
    optimiser = torch.optim.AdamW(calibration.network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        rows = torch.randint(len(x), (_BATCH,), generator=rng)
        loss = _loss(calibration(x[rows, 0], x[rows, 1:]), signal[rows], cost[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    calibration.network.eval().requires_grad_(False)
