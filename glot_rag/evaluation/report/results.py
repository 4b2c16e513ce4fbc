"""What an evaluation found, and its JSON form."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from glot_rag.errors import DatasetError
from glot_rag.evaluation.significance import Comparison, Loss

PRIMARY_METRIC = "ndcg@10"
# Below one point between mean and ceiling there is nothing to recover, and the quotient would be noise.
MIN_GAP = 0.01


def recovery(values: Mapping[str, float], mean: Mapping[str, float], ceiling: Mapping[str, float]) -> float | None:
    """(method - mean) / (ceiling - mean) of nDCG@10: which share of what the noise took was won back.

    None where nDCG@10 was not measured or the noise took less than `MIN_GAP`.
    """
    if PRIMARY_METRIC not in values:
        return None
    gap = ceiling[PRIMARY_METRIC] - mean[PRIMARY_METRIC]
    return None if gap < MIN_GAP else (values[PRIMARY_METRIC] - mean[PRIMARY_METRIC]) / gap


@dataclass(frozen=True)
class Result:
    """One pooling on one noise setting; metrics are fractions in [0, 1].

    Args:
        pooling: its name.
        noise: kind of noise, with its placement and granularity; the parts of a mixture.
        ratio: noise words / all words; of OCR, damaged words / own words.
        metrics: metric -> value.
        ceiling: metric -> value of mean pooling over the surviving words alone.
        recovery: see `recovery`.
        interval: of nDCG@10, [low, high] at 95% over the queries; None where nDCG@10 was not measured.
        ceiling_interval: the same of the ceiling.
        against_mean: the paired comparison of nDCG@10; None for mean itself.
        own_ceiling: metric -> value of this pooling or system over the surviving words alone; None where not asked for.
    """

    pooling: str
    noise: str
    ratio: float
    metrics: dict[str, float]
    ceiling: dict[str, float]
    recovery: float | None
    interval: list[float] | None = None
    ceiling_interval: list[float] | None = None
    against_mean: Comparison | None = None
    own_ceiling: dict[str, float] | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """What `asdict` made, back."""
        compared = data.get("against_mean")
        if compared is not None:
            compared = Comparison(**{**compared, "worst": [Loss(**each) for each in compared["worst"]]})
        return cls(**{**data, "against_mean": compared})


@dataclass(frozen=True)
class Report:
    """All results of an evaluation and the settings that produced them.

    Args:
        dataset: its name.
        seed: of the noise.
        results: in the order of the noise settings, then of the poolings.
        max_words: words of a noisy document; 0: whole documents.
        k: documents a search returned.
        documents: how many.
        queries: how many.
        encoders: pooling -> fingerprint of the encoder.
        problems: what was left out of the dataset.
        versions: package -> version.
        costs: pooling or system -> milliseconds to make a document searchable, each timed alone (`measure_costs`).
        dataset_hash: of the documents, queries and judgements as they were used.
        queries_made: where no person wrote the queries, what they were made from: source -> how many.
        setup: what else the run was set to: backbone, dtype, device, noise, ….
    """

    dataset: str
    seed: int
    results: list[Result]
    max_words: int
    k: int
    documents: int
    queries: int
    encoders: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    dataset_hash: str = ""
    queries_made: dict[str, int] = field(default_factory=dict)
    setup: dict[str, str] = field(default_factory=dict)

    @property
    def poolings(self) -> list[str]:
        """In the order of their first result."""
        return list(dict.fromkeys(result.pooling for result in self.results))

    @property
    def queries_label(self) -> str:
        """What the queries were made from, in words; empty where they are a person's."""
        parts = [f"{count:,} {source}{'s' * (count != 1)}" for source, count in self.queries_made.items()]
        return f"Queries made from the documents ({', '.join(parts)}), not asked by people." if parts else ""

    @property
    def settings(self) -> list[tuple[str, float]]:
        """(kind, ratio) in the order of their first result."""
        return list(dict.fromkeys((result.noise, result.ratio) for result in self.results))

    @property
    def main_metric(self) -> str:
        """The metric that tables and pictures show: nDCG@10, or the first one where that was not measured."""
        measured = self.results[0].metrics
        return PRIMARY_METRIC if PRIMARY_METRIC in measured else next(iter(measured))

    def result(self, pooling: str, noise: str, ratio: float) -> Result | None:
        """The result of a pooling on a noise setting, or None."""
        key = (pooling, noise, ratio)
        return next((each for each in self.results if (each.pooling, each.noise, each.ratio) == key), None)

    def to_json(self) -> str:
        """One JSON object: the fields of this class, `results` as a list of the fields of `Result`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file cannot be read or is no such report.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(**{**data, "results": [Result.from_json(result) for result in data["results"]]})
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DatasetError(f"'{path}' is not an evaluation report: {error}.") from error


def library_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the figures; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in ("glot-rag", "numpy", "faiss-cpu", "ir-measures", "scipy", "bm25s", "torch", "transformers"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
