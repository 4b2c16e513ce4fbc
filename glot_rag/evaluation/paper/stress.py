"""The stress test: which pooling still finds a negation among 20% to 90% distractors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.checks import choose
from glot_rag.classification.fit import Examples
from glot_rag.classification.states import CachedStates
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation.paper.experiment import Trial, TrialSettings, run_trials, settings_record
from glot_rag.evaluation.paper.results import TrialReport
from glot_rag.evaluation.paper.stress_texts import PROTOCOLS, RATIOS, TASKS, stress_texts
from glot_rag.models.backbone import Backbone


@dataclass(frozen=True)
class StressConfig:
    """A stress test.

    Args:
        ratios: shares of distractors.
        protocol: "strict" or "paper" (`glot_rag.evaluation.paper.stress_texts`).
        task: "negation" or "binding".
        train: texts to train on, drawn anew for each seed, as the others are.
        validation: texts to choose the epoch on; the paper's protocol has none and uses the test texts.
        test: texts to measure on.
        trials: poolings, seeds and budget.

    Raises:
        InputError: a value out of its range.
    """

    ratios: tuple[float, ...] = RATIOS
    protocol: str = "strict"
    task: str = "negation"
    train: int = 2_000
    validation: int = 500
    test: int = 1_000
    trials: TrialSettings = field(default_factory=TrialSettings)

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
    backbone: Backbone, config: StressConfig, *, progress: Callable[[str], None] = lambda message: None
) -> TrialReport:
    """Run the stress test. Hidden states lie in a temporary directory, one seed's at a time.

    Args:
        backbone: the frozen transformer.
        config: what is measured.
        progress: gets a line a training.
    """
    results = []
    settings = config.trials
    for layer in settings.layers:
        backbone.layer_number(layer)
    for ratio in config.ratios:
        results += run_trials(
            [_trial(backbone, config, ratio, settings.seed + number) for number in range(settings.seeds)],
            backbone,
            settings,
            "accuracy",
            accuracy,
            outputs=2,
            place={"ratio": ratio},
            progress=progress,
        )
    record = {
        **settings_record(settings, backbone),
        **{name: getattr(config, name) for name in ("protocol", "task", "train", "validation", "test")},
    }
    chosen = "the test texts" if config.protocol == "paper" else f"{config.validation:,} texts"
    title = (
        f"Stress test, {config.task}, {config.protocol} protocol, {backbone.source.name}: trained on "
        f"{config.train:,} texts, epoch chosen on {chosen}, measured on {config.test:,}"
    )
    return TrialReport(title, "ratio", record, results)


@contextmanager
def _trial(backbone: Backbone, config: StressConfig, ratio: float, seed: int) -> Iterator[Trial]:
    paper = config.protocol == "paper"
    sizes = {"train": config.train, **({} if paper else {"validation": config.validation}), "test": config.test}
    texts: list[str] = []
    examples: dict[str, Examples] = {}
    for part, count in sizes.items():
        drawn = stress_texts(count, ratio, seed=f"{seed} {part}", protocol=config.protocol, task=config.task)
        rows = np.arange(len(texts), len(texts) + count)
        examples[part] = Examples(rows[:, None], np.array(drawn.labels))
        texts += drawn.texts
    with tempfile.TemporaryDirectory(prefix="glot-rag-stress-") as folder:
        states = CachedStates(folder, texts, backbone, layers=config.trials.layers)
        yield Trial(states, examples["train"], examples["test" if paper else "validation"], examples["test"])


# Okabe and Ito's palette, told apart by every kind of colour vision; mean is the grey that others are held against.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY = "#6B6B6B"
_MARKERS = ("o", "s", "^", "D", "v", "P")


def save_stress_picture(reports: Sequence[TrialReport], path: str | Path) -> None:
    """Draw accuracy against the share of distractors, one panel a report (a backbone), one line a pooling.

    Raises:
        InputError: neither .png nor .svg.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    check_picture(path)
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "eval") from None
    figure = Figure(figsize=(max(4.8, 3.4 * len(reports)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(reports), sharey=True, squeeze=False)[0]
    for axes, report in zip(panels, reports, strict=True):
        _panel(axes, report)
    panels[0].set_ylabel("accuracy, %")
    figure.supxlabel("distractors", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = min(len(labels), 3 * len(reports))  # more do not fit over so many panels
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    # Without the date and with fixed ids, the same results give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "glot-rag"}):
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def check_picture(path: Path) -> None:
    """Raise InputError where a picture cannot be of that kind of file."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"A picture is saved as .png or .svg, got '{path}'.")


def _panel(axes: Any, report: TrialReport) -> None:
    settings = report.settings
    axes.set_title(f"{settings['backbone']}, {settings['task']}, {settings['protocol']}", fontsize=10)
    axes.axhline(50, color="black", linestyle=(0, (4, 3)), linewidth=1.0, label="chance")
    colours = iter(_COLOURS * 2)
    for number, pooling in enumerate(report.poolings):
        found = [report.result(pooling, ratio) for ratio in sorted(report.places)]
        axes.errorbar(
            [100 * each.place["ratio"] for each in found],
            [100 * each.value for each in found],
            yerr=[100 * each.spread for each in found],
            color=_GREY if pooling == "mean" else next(colours),
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1.8,
            capsize=2,
            label=pooling,
        )
    axes.set_xticks([100 * ratio for ratio in sorted(report.places)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.set_ylim(40, 102)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
