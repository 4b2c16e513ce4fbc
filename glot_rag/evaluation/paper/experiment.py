"""The loop of both experiments: per seed, every pooling is trained as a classifier on the same states and budget."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from glot_rag.checks import choose
from glot_rag.classification.classifier import TextClassifier, build_pooling
from glot_rag.classification.fit import Examples, Score, fit_classifier, predict
from glot_rag.classification.states import States, states_for
from glot_rag.errors import InputError
from glot_rag.evaluation.paper.results import ExperimentResult
from glot_rag.head.config import POOLINGS, TRAINED_POOLINGS, HeadConfig
from glot_rag.head.fit import Epoch, FitConfig, best_epoch, seeded
from glot_rag.models.backbone import Backbone

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ExperimentSettings:
    """What is compared, and with which budget.

    Args:
        poolings: of `glot_rag.head.config.POOLINGS`.
        seeds: how many times everything is repeated.
        seed: the first of them.
        fit: the budget, for every pooling the same; its seed is replaced.
        learning_rates: each pooling is trained with each of them, and the best on the validation examples counts. A
            linear layer over a fixed pooling may need another rate than a graph network. Empty: that of `fit`.
        layers: of the backbone, for the trained poolings' states; the fixed ones pool the last of them.
        head: settings of `HeadConfig` for GLOT: convolution, num_layers, hidden_size, threshold, norm.

    Raises:
        InputError: an unknown or repeated pooling, a number below 1, or settings that no head has.
    """

    poolings: tuple[str, ...] = ("mean", "adapool", "glot")
    seeds: int = 3
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)
    learning_rates: tuple[float, ...] = (1e-3, 1e-2)
    layers: tuple[int, ...] = (-1,)
    head: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.poolings:
            choose("pooling", name, POOLINGS)
        if not self.poolings or len(set(self.poolings)) < len(self.poolings):
            raise InputError(f"poolings must be different names; got {', '.join(self.poolings) or 'none'}")
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1; got {self.seeds}")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0; got {self.seed}")
        for rate in self.learning_rates:
            replace(self.fit, learning_rate=rate)  # checks it
        HeadConfig.from_dict({"state_size": 1, "form": "paper", **self.head})  # checks them before a model is loaded
        if len(self.layers) > 1 and set(self.poolings) - set(TRAINED_POOLINGS):
            raise InputError(f"several layers are for {' and '.join(TRAINED_POOLINGS)} alone; the others read one")


@dataclass(frozen=True)
class Repetition:
    """One seed's examples, and the states that they are rows of."""

    states: States
    train: Examples
    validation: Examples
    test: Examples


def run_experiment(
    repetitions: Sequence[AbstractContextManager[Repetition]],
    backbone: Backbone,
    settings: ExperimentSettings,
    metric: str,
    score: Score,
    *,
    outputs: int,
    place: dict[str, Any],
    progress: Progress,
) -> list[ExperimentResult]:
    """Train and measure every pooling on every repetition.

    Args:
        repetitions: one a seed, opened when its turn comes and then closed.
        backbone: the transformer that made the states.
        settings: what is compared.
        metric: the score's name.
        score: chooses epoch and learning rate on the validation examples, and is measured on the test examples.
        outputs: classes, or 1 for a regression.
        place: see `ExperimentResult`.
        progress: is called with a line after each training.
    """
    found: dict[str, list[_Fitted]] = {name: [] for name in settings.poolings}
    for seed, opened in enumerate(repetitions, start=settings.seed):
        with opened as repetition:
            for name in settings.poolings:
                fitted = _fit_best(name, repetition, backbone, settings, seed, score, outputs)
                found[name].append(fitted)
                where = ", ".join(str(each) for each in place.values())
                progress(f"{where}: seed {seed}, {name}: {metric} {100 * fitted.value:.1f} (epoch {fitted.epoch})")
    return [_result(name, metric, each, place) for name, each in found.items()]


@dataclass(frozen=True)
class _Fitted:
    """The values of one seed's best training."""

    value: float
    validation: float
    epoch: int
    learning_rate: float
    parameters: int


def _fit_best(
    name: str,
    repetition: Repetition,
    backbone: Backbone,
    settings: ExperimentSettings,
    seed: int,
    score: Score,
    outputs: int,
) -> _Fitted:
    """Train with each learning rate; only the best on the validation examples sees the test examples."""
    head = {"layers": settings.layers, **(settings.head if name == "glot" else {})}
    best: tuple[Epoch, TextClassifier, float] | None = None
    for rate in settings.learning_rates or (settings.fit.learning_rate,):
        config = replace(settings.fit, seed=seed, learning_rate=rate)
        with seeded(seed):
            pooling = build_pooling(name, backbone.state_size, **(head if name in TRAINED_POOLINGS else {}))
            net = TextClassifier(pooling, outputs, repetition.train.rows.shape[1]).to(backbone.device)
            states = states_for(net.pooling, repetition.states)
            epoch = best_epoch(fit_classifier(net, states, repetition.train, repetition.validation, config, score))
        if best is None or best_epoch([best[0], epoch]) is epoch:
            best = epoch, net, rate
    assert best is not None
    epoch, net, rate = best
    value = score(predict(net, states, repetition.test.rows), repetition.test.labels)
    return _Fitted(
        value, epoch.score, epoch.number, rate, sum(parameter.numel() for parameter in net.pooling.parameters())
    )


def _result(name: str, metric: str, fitted: list[_Fitted], place: dict[str, Any]) -> ExperimentResult:
    values = [each.value for each in fitted]
    return ExperimentResult(
        pooling=name,
        metric=metric,
        value=statistics.fmean(values),
        spread=statistics.stdev(values) if len(values) > 1 else 0.0,
        values=values,
        epochs=[each.epoch for each in fitted],
        learning_rates=[each.learning_rate for each in fitted],
        parameters=fitted[0].parameters,
        place=place,
        validation=[each.validation for each in fitted],
    )


def settings_record(settings: ExperimentSettings, backbone: Backbone) -> dict[str, Any]:
    """The settings and the backbone as JSON values."""
    return {
        "backbone": backbone.source.name,
        "backbone_fingerprint": backbone.fingerprint,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        **json.loads(json.dumps(asdict(settings))),
    }
