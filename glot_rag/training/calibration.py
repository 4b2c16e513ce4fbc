"""Trains the noise classifier: it weighs a head's scores against corpus statistics (`glot_rag.denoise.classifier`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from glot_rag.denoise.classifier import ClassifierNetwork, NoiseClassifier
from glot_rag.denoise.corpus_statistics import COUNTED, CorpusStatistics
from glot_rag.errors import TrainingError
from glot_rag.head import AdaPool, GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.progress import bar
from glot_rag.training.collections import CollectionSimulator
from glot_rag.training.noise import View
from glot_rag.training.objectives import signal_costs
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import SIGNAL, SPECIAL, token_labels

FEWEST_TEXTS = 200
_BACKGROUND_TEXTS = 40_000
_READ = 80  # documents of a collection that the head reads; all are counted
_STEPS, _BATCH, _RATE = 2_000, 64, 5e-3


@dataclass(frozen=True)
class CalibrationReport:
    """The token loss on collections that were held out: of the head's scores, and of the calibrated ones."""

    head: float
    calibrated: float


class _Example(NamedTuple):
    """A text of L tokens: score and features (L, 5), 1 for signal (L,), a mistake's cost (L,), 0 for special tokens."""

    given: Tensor
    signal: Tensor
    cost: Tensor


def calibrate(
    head: GlotHead | AdaPool,
    backbone: Backbone,
    texts: Sequence[TrainingText],
    *,
    collections: int = 300,
    seed: int = 0,
    rarity: float = 0.5,
    mix_weight: float = 1.0,
    min_drop_ratio: float = 0.15,
    lines: Mapping[str, Sequence[str]] | None = None,
    show_progress: bool = False,
) -> tuple[NoiseClassifier, CalibrationReport]:
    """Train the network that weighs a head's scores against a collection's repetitions.

    Args:
        head: a trained head over this backbone.
        backbone: the frozen transformer.
        texts: clean texts, those the head was trained on, say, with their sources.
        collections: how many to simulate; a tenth of them is held out.
        seed: of every random choice.
        rarity: how much less it costs to lose a frequent token (`signal_costs`, here at most 1).
        mix_weight: `NoiseClassifier.mix_weight`.
        min_drop_ratio: `NoiseClassifier.min_drop_ratio`.
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
    held_out: list[_Example] = []
    training: list[_Example] = []
    with bar(disable=not show_progress) as progress:
        for number in progress.track(range(collections), description="simulating collections"):
            examples = held_out if number % 10 == 9 else training
            examples += _examples(head, backbone, simulator.collection(number), background, costs)
    network = _fit(training, seed)
    before = _mean_loss(held_out, lambda given, _: given[..., 0])
    return NoiseClassifier(network, background, mix_weight, min_drop_ratio), CalibrationReport(
        before, _mean_loss(held_out, network)
    )


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
) -> list[_Example]:
    size = backbone.tokenizer.vocabulary_size
    statistics = CorpusStatistics.count(backbone.tokenizer.whole([view.text for view in views]), size)
    read = views[:_READ]
    tokenised = backbone.tokenizer.with_offsets([view.text for view in read])
    log_share = background.float().numpy()
    found = []
    for batch in backbone.pack([each.ids for each in tokenised]):
        states, mask = backbone.hidden_states(batch, head.layers)
        logits = head(torch.cat(states, dim=-1), mask).logits
        assert logits is not None
        features = statistics.features(batch.ids, log_share)[..., : len(COUNTED)]
        given = torch.cat([logits.float().cpu()[..., None], torch.from_numpy(features)], dim=-1)
        for place, row in enumerate(batch.rows):
            labels = token_labels(tokenised[row], read[row])
            cost = np.where(labels == SPECIAL, 0, costs[batch.ids[place, : len(labels)]]).astype(np.float32)
            signal = torch.from_numpy((labels == SIGNAL).astype(np.float32))
            found.append(_Example(given[place, : len(labels)].clone(), signal, torch.from_numpy(cost)))
    return found


def _loss(score: Callable[[Tensor, Tensor], Tensor], examples: Sequence[_Example]) -> Tensor:
    """Of some texts together, weighted by the costs, a token."""
    lengths = torch.tensor([len(each.signal) for each in examples])
    given, signal, cost = (pad_sequence(list(column), batch_first=True) for column in zip(*examples, strict=True))
    mask = torch.arange(given.shape[1]) < lengths[:, None]
    return functional.binary_cross_entropy_with_logits(score(given, mask), signal, weight=cost, reduction="sum") / (
        (cost > 0).sum()
    )


@torch.no_grad()
def _mean_loss(examples: Sequence[_Example], score: Callable[[Tensor, Tensor], Tensor]) -> float:
    parts = [examples[start : start + _BATCH] for start in range(0, len(examples), _BATCH)]
    weights = [sum(int((each.cost > 0).sum()) for each in part) for part in parts]
    return float(np.average([float(_loss(score, part)) for part in parts], weights=weights))


def _fit(examples: Sequence[_Example], seed: int) -> ClassifierNetwork:
    """AdamW with one cycle of the learning rate over texts drawn at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ClassifierNetwork()
    rng = np.random.default_rng([seed, 4])
    optimiser = torch.optim.AdamW(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        loss = _loss(network, [examples[row] for row in rng.integers(len(examples), size=_BATCH)])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)
