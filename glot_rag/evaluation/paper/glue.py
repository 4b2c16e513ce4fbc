"""GLUE tasks (Wang et al. 2019) over frozen states: which pooling makes the best classifier.

The paper's metrics, measured on GLUE's validation files; the epoch is chosen on a part of the training file.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glot_rag.checks import choose
from glot_rag.classification.fit import Examples, Score, hold_out
from glot_rag.classification.states import CachedStates, states_fingerprint
from glot_rag.errors import DatasetError, InputError, MissingExtraError
from glot_rag.evaluation.paper.experiment import ExperimentSettings, Repetition, run_experiment, settings_record
from glot_rag.evaluation.paper.results import ExperimentReport
from glot_rag.evaluation.paper.stress import accuracy
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone

MAX_TOKENS = 128  # of a text
_HIGHEST_SIMILARITY = 5.0  # of STS-B's labels, which are scaled to [0, 1]


def _mcc(outputs: NDArray[np.float32], labels: NDArray[np.generic]) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, outputs.argmax(axis=1)))


def _f1(outputs: NDArray[np.float32], labels: NDArray[np.generic]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, outputs.argmax(axis=1), zero_division=0.0))


def _spearman(outputs: NDArray[np.float32], labels: NDArray[np.generic]) -> float:
    from scipy.stats import spearmanr

    found = float(spearmanr(outputs[:, 0], labels).statistic)
    return found if np.isfinite(found) else 0.0  # the same output for all


@dataclass(frozen=True)
class GlueTask:
    """What a task asks.

    Args:
        texts: 1, or 2 for pairs.
        metric: the paper's.
        score: computes it.
        outputs: classes, or 1 for a regression.
    """

    texts: int
    metric: str
    score: Score
    outputs: int = 2


GLUE_TASKS = {
    "cola": GlueTask(1, "MCC", _mcc),
    "sst2": GlueTask(1, "accuracy", accuracy),
    "stsb": GlueTask(2, "Spearman", _spearman, outputs=1),
    "mrpc": GlueTask(2, "F1", _f1),
    "rte": GlueTask(2, "accuracy", accuracy),
}


@dataclass(frozen=True)
class GlueSettings:
    """Which tasks, and how.

    Args:
        tasks: of `GLUE_TASKS`.
        limit: examples of a training file, drawn at random; None takes all.
        held_out: share of the training examples that the epoch is chosen on.
        experiment: poolings, seeds and budget.

    Raises:
        InputError: an unknown or repeated task, or a value out of its range.
    """

    tasks: tuple[str, ...]
    limit: int | None = None
    held_out: float = 0.1
    experiment: ExperimentSettings = field(
        default_factory=lambda: ExperimentSettings(fit=FitConfig(epochs=10, patience=10))
    )

    def __post_init__(self) -> None:
        for task in self.tasks:
            choose("task", task, tuple(GLUE_TASKS))
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise InputError(f"tasks must be different names; got {', '.join(self.tasks) or 'none'}")
        if self.limit is not None and self.limit < 10:
            raise InputError(f"limit must be at least 10; got {self.limit}")
        if not 0 < self.held_out < 1:
            raise InputError(f"the share held out must be between 0 and 1; got {self.held_out}")


@dataclass(frozen=True)
class GlueExamples:
    """One file: texts (N, 1 or 2) and labels (N,), whole numbers for classes and floats in [0, 1] for STS-B."""

    texts: list[tuple[str, ...]]
    labels: NDArray[np.generic]


def read_glue(data: str | Path, task: str, part: str) -> GlueExamples:
    """Read `data`/TASK/PART.tsv or .tsv.gz: tab-separated with CSV quoting, columns text_a, text_b and label.

    Args:
        data: the directory of all tasks.
        task: one of `GLUE_TASKS`.
        part: "train" or "validation".

    Raises:
        DatasetError: no such file, another header, or a malformed line, by its number.
    """
    kind = GLUE_TASKS[choose("task", task, tuple(GLUE_TASKS))]
    candidates = [Path(data) / task / f"{part}.tsv{suffix}" for suffix in (".gz", "")]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DatasetError(f"there is neither {candidates[0]} nor {candidates[1].name}")
    try:
        raw = path.read_bytes()
        content = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter="\t")
    columns = ("text_a", "text_b", "label")
    if missing := set(columns) - set(reader.fieldnames or ()):
        raise DatasetError(f"{path}:1: no column {', '.join(sorted(missing))}; found {reader.fieldnames}")
    texts, labels = [], []
    try:
        for row in reader:
            found = tuple(row[name] for name in columns[: kind.texts])
            labels.append(_label(row["label"], kind, f"{path}:{reader.line_num}"))
            if not all(found):
                raise DatasetError(f"{path}:{reader.line_num}: expected {kind.texts} texts, got {found}")
            texts.append(found)
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: {error}") from error
    if len(texts) < 2:
        raise DatasetError(f"{path} holds {len(texts)} examples: expected at least 2")
    return GlueExamples(texts, np.array(labels))


def _label(text: str | None, kind: GlueTask, where: str) -> int | float:
    try:
        if kind.outputs == 1:
            value = float(text or "")
            if not 0 <= value <= _HIGHEST_SIMILARITY:
                raise ValueError
            return value / _HIGHEST_SIMILARITY
        label = int(text or "")
        if not 0 <= label < kind.outputs:
            raise ValueError
    except ValueError:
        expected = f"a number from 0 to {_HIGHEST_SIMILARITY:g}" if kind.outputs == 1 else "0 or 1"
        raise DatasetError(f"{where}: label must be {expected}; got {text!r}") from None
    return label


def run_glue(
    backbone: Backbone,
    data: str | Path,
    settings: GlueSettings,
    *,
    cache: str | Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
    show_progress: bool = False,
) -> ExperimentReport:
    """Train and measure on GLUE tasks.

    Args:
        backbone: the frozen transformer.
        data: see `read_glue`.
        settings: what is measured.
        cache: keeps the hidden states for further runs; None is a temporary directory.
        progress: is called with a line after each training.
        show_progress: draw a progress bar of the hidden states.

    Raises:
        DatasetError: a file is missing or malformed; all of them are read before anything is computed.
        MissingExtraError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:  # which brings SciPy
        raise MissingExtraError("scikit-learn", "eval")
    experiment = settings.experiment
    for layer in experiment.layers:
        backbone.layer_number(layer)
    files = {task: [read_glue(data, task, part) for part in ("train", "validation")] for task in settings.tasks}
    results = []
    for name, (train, test) in files.items():
        train = _sample(train, settings.limit, experiment.seed)
        task = GLUE_TASKS[name]
        # Many pairs share a text; it is encoded once.
        row = {text: number for number, text in enumerate(dict.fromkeys(_all_texts(train, test)))}
        rows = [np.array([[row[text] for text in texts] for texts in part.texts]) for part in (train, test)]
        with tempfile.TemporaryDirectory(prefix="glot-rag-glue-") as temporary:
            texts = list(row)
            # A folder for each backbone, limit and so on, so that one directory serves all runs.
            decides = json.dumps(states_fingerprint(texts, backbone, experiment.layers))
            folder = Path(cache or temporary) / f"{name}-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"
            states = CachedStates(folder, texts, backbone, layers=experiment.layers, show_progress=show_progress)
            learned, measured = Examples(rows[0], train.labels), Examples(rows[1], test.labels)
            splits = [
                hold_out(learned, settings.held_out, experiment.seed + number) for number in range(experiment.seeds)
            ]
            results += run_experiment(
                [nullcontext(Repetition(states, *split, measured)) for split in splits],
                backbone,
                experiment,
                task.metric,
                task.score,
                outputs=task.outputs,
                place={"task": name, "train": len(learned), "test": len(measured)},
                progress=progress,
            )
    record = {**settings_record(experiment, backbone), "limit": settings.limit, "held_out": settings.held_out}
    limited = "" if settings.limit is None else f", at most {settings.limit:,} training examples"
    title = f"GLUE on its validation files, frozen {backbone.source.name}{limited}, epoch chosen on a part of train"
    return ExperimentReport(title, "task", record, results)


def _all_texts(*parts: GlueExamples) -> Sequence[str]:
    return [text for part in parts for texts in part.texts for text in texts]


def _sample(examples: GlueExamples, limit: int | None, seed: int) -> GlueExamples:
    if limit is None or len(examples.texts) <= limit:
        return examples
    chosen = np.sort(np.random.default_rng([seed, 0]).choice(len(examples.texts), limit, replace=False))
    return GlueExamples([examples.texts[i] for i in chosen], examples.labels[chosen])
