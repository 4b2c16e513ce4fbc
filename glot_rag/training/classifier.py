"""Trains the noise classifier: it weighs a head's scores against corpus statistics (`glot_rag.denoise.classifier`)."""

from __future__ import annotations

import logging
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
from glot_rag.denoise.noisy_views import View
from glot_rag.errors import TrainingError
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.fit import FitConfig, Measured, best_epoch, fit, seeded
from glot_rag.models.backbone import Backbone
from glot_rag.progress import bar
from glot_rag.training.corpora import CorpusSimulator
from glot_rag.training.objectives import signal_costs
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import SIGNAL, SPECIAL, token_labels

FEWEST_TEXTS = 200
_BACKGROUND_TEXTS = 40_000
_READ = 80  # documents of a corpus that the head reads; the statistics count all of them
_EPOCHS, _STEPS, _BATCH, _RATE = 20, 100, 64, 5e-3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifierReport:
    """The token loss on simulated corpora that were held out: of the head's scores, and of the classifier's."""

    head: float
    classifier: float


class _Example(NamedTuple):
    """A text of L tokens.

    Attributes:
        given: (L, 5), the head's score and the corpus features.
        signal: (L,), 1 for signal.
        cost: (L,), what a mistake costs; 0 for special tokens.
    """

    given: Tensor
    signal: Tensor
    cost: Tensor


def train_classifier(
    head: GlotHead | AdaPool,
    backbone: Backbone,
    texts: Sequence[TrainingText],
    *,
    corpora: int = 300,
    seed: int = 0,
    lines: Mapping[str, Sequence[str]] | None = None,
    show_progress: bool = False,
) -> tuple[NoiseClassifier, ClassifierReport]:
    """Train the network that weighs a head's scores against the statistics of a corpus.

    Args:
        head: a trained head over this backbone.
        backbone: the frozen transformer.
        texts: clean texts with their sources, usually those that the head was trained on.
        corpora: how many to simulate; a tenth of them is held out, and the epoch is chosen on these.
        seed: of every random choice.
        lines: real lines for the noise, by kind.
        show_progress: draw progress bars on stderr.

    Returns:
        The classifier, and its loss on the corpora held out.

    Raises:
        TrainingError: fewer than 200 texts, or fewer than 10 corpora.
    """
    if len(texts) < FEWEST_TEXTS or corpora < 10:
        raise TrainingError(
            f"the noise classifier learns from simulated corpora: expected at least {FEWEST_TEXTS} texts and 10 "
            f"corpora, got {len(texts)} and {corpora}"
        )
    counts = _token_counts(backbone, texts, seed)
    background = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts))).log().half()
    costs = signal_costs(counts).clamp(max=1.0).numpy()
    simulator = CorpusSimulator(texts, seed, lines)
    held_out: list[_Example] = []
    training: list[_Example] = []
    with bar(disable=not show_progress) as progress:
        for number in progress.track(range(corpora), description="simulating corpora"):
            examples = held_out if number % 10 == 9 else training
            examples += _examples(head, backbone, simulator.corpus(number), background, costs)
    network, loss = _fit(training, held_out, seed, show_progress)
    with torch.no_grad():
        report = ClassifierReport(_mean_loss(held_out, lambda given, _: given[..., 0]), loss)
    _log.info("noise classifier: loss %.4f on corpora held out, of the head alone %.4f", loss, report.head)
    return NoiseClassifier(network, background), report


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
    """The tokens of a corpus's first documents, with the head's scores and the statistics of the whole corpus."""
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


Score = Callable[[Tensor, Tensor], Tensor]  # (given (B, L, 5), mask (B, L)) -> scores (B, L)


def _loss(score: Score, examples: Sequence[_Example]) -> Tensor:
    """The mean over the tokens of some texts of the binary cross-entropy, weighted by the costs."""
    lengths = torch.tensor([len(each.signal) for each in examples])
    given, signal, cost = (pad_sequence(list(column), batch_first=True) for column in zip(*examples, strict=True))
    mask = torch.arange(given.shape[1]) < lengths[:, None]
    return functional.binary_cross_entropy_with_logits(score(given, mask), signal, weight=cost, reduction="sum") / (
        (cost > 0).sum()
    )


def _mean_loss(examples: Sequence[_Example], score: Score) -> float:
    parts = [examples[start : start + _BATCH] for start in range(0, len(examples), _BATCH)]
    weights = [sum(int((each.cost > 0).sum()) for each in part) for part in parts]
    return float(np.average([float(_loss(score, part)) for part in parts], weights=weights))


def _fit(
    training: Sequence[_Example], held_out: Sequence[_Example], seed: int, show_progress: bool
) -> tuple[ClassifierNetwork, float]:
    """The trained network, and its loss on the examples held out. An epoch is 100 batches of texts drawn at random."""
    with seeded(seed):
        network = ClassifierNetwork()

    def batches(number: int) -> list[list[_Example]]:
        rng = np.random.default_rng([seed, 4, number])
        return [[training[row] for row in rng.integers(len(training), size=_BATCH)] for _ in range(_STEPS)]

    history = fit(
        network,
        FitConfig(seed=seed, epochs=_EPOCHS, patience=_EPOCHS, batch_size=_BATCH, learning_rate=_RATE),
        batches,
        lambda batch: _loss(network, batch),
        lambda: Measured(_mean_loss(held_out, network)),
        show_progress=show_progress,
    )
    return network.requires_grad_(False), best_epoch(history).validation
