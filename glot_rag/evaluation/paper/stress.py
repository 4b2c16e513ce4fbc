"""The stress test: which pooling still finds a negation among 20% to 90% distractors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from glot_rag.checks import choose
from glot_rag.classification.fit import Examples
from glot_rag.classification.states import CachedStates
from glot_rag.errors import InputError
from glot_rag.evaluation.paper.experiment import ExperimentSettings, Repetition, run_experiment, settings_record
from glot_rag.evaluation.paper.results import ExperimentReport
from glot_rag.evaluation.paper.stress_texts import PROTOCOLS, RATIOS, TASKS, stress_texts
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone


@dataclass(frozen=True)
class StressSettings:
    """A stress test.

    Args:
        ratios: shares of distractors.
        protocol: "strict" or "paper" (`glot_rag.evaluation.paper.stress_texts`).
        task: "negation" or "binding".
        train: texts to train on, drawn anew for each seed, as the others are.
        validation: texts to choose the epoch on; the paper's protocol has none and uses the test texts.
        test: texts to measure on.
        experiment: poolings, seeds and budget.

    Raises:
        InputError: a value out of its range.
    """

    ratios: tuple[float, ...] = RATIOS
    protocol: str = "strict"
    task: str = "negation"
    train: int = 2_000
    validation: int = 500
    test: int = 1_000
    experiment: ExperimentSettings = field(
        default_factory=lambda: ExperimentSettings(fit=FitConfig(epochs=8, patience=8))
    )

    def __post_init__(self) -> None:
        choose("protocol", self.protocol, PROTOCOLS)
        choose("task", self.task, TASKS)
        if not self.ratios or len(set(self.ratios)) < len(self.ratios):
            raise InputError(f"distractors must be different ratios; got {self.ratios}")
        for ratio in self.ratios:
            for count in (self.train, self.validation, self.test):
                stress_texts(min(count, 2), ratio, seed=0, protocol=self.protocol, task=self.task)  # checks its ranges


def accuracy(outputs: NDArray[np.float32], labels: NDArray[np.generic]) -> float:
    """The share of labels that the highest output names."""
    return float((outputs.argmax(axis=1) == labels).mean())


def run_stress(
    backbone: Backbone, settings: StressSettings, *, progress: Callable[[str], None] = lambda message: None
) -> ExperimentReport:
    """Run the stress test. Hidden states lie in a temporary directory, one seed's at a time.

    Args:
        backbone: the frozen transformer.
        settings: what is measured.
        progress: is called with a line after each training.
    """
    results = []
    experiment = settings.experiment
    for layer in experiment.layers:
        backbone.layer_number(layer)
    for ratio in settings.ratios:
        results += run_experiment(
            [_repetition(backbone, settings, ratio, experiment.seed + number) for number in range(experiment.seeds)],
            backbone,
            experiment,
            "accuracy",
            accuracy,
            outputs=2,
            place={"ratio": ratio},
            progress=progress,
        )
    record = {
        **settings_record(experiment, backbone),
        **{name: getattr(settings, name) for name in ("protocol", "task", "train", "validation", "test")},
    }
    chosen = "the test texts" if settings.protocol == "paper" else f"{settings.validation:,} texts"
    title = (
        f"Stress test, {settings.task}, {settings.protocol} protocol, {backbone.source.name}: trained on "
        f"{settings.train:,} texts, epoch chosen on {chosen}, measured on {settings.test:,}"
    )
    return ExperimentReport(title, "ratio", record, results)


@contextmanager
def _repetition(backbone: Backbone, settings: StressSettings, ratio: float, seed: int) -> Iterator[Repetition]:
    paper = settings.protocol == "paper"
    sizes = {"train": settings.train, **({} if paper else {"validation": settings.validation}), "test": settings.test}
    texts: list[str] = []
    examples: dict[str, Examples] = {}
    for part, count in sizes.items():
        drawn = stress_texts(count, ratio, seed=f"{seed} {part}", protocol=settings.protocol, task=settings.task)
        rows = np.arange(len(texts), len(texts) + count)
        examples[part] = Examples(rows[:, None], np.array(drawn.labels))
        texts += drawn.texts
    with tempfile.TemporaryDirectory(prefix="glot-rag-stress-") as folder:
        states = CachedStates(folder, texts, backbone, layers=settings.experiment.layers)
        yield Repetition(states, examples["train"], examples["test" if paper else "validation"], examples["test"])
