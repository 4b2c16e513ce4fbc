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
LABELS = {
    **{"glot": "GLOT", "adapool": "AdaPool", "cls": "CLS", "bm25": "BM25", "best-chunk": "best chunk"},
    **{"sif": "SIF", "sif-weights": "SIF, weights alone", "whole": "mean, whole"},
}
# Python's names -> those of the JSON, which other programs read
_JSON_NAMES = {
    **{"oracle": "ceiling", "oracle_interval": "ceiling_interval", "own_oracle": "own_ceiling"},
    **{"collection": "dataset", "collection_hash": "dataset_hash"},
}
_PYTHON_NAMES = {json_name: name for name, json_name in _JSON_NAMES.items()}
# Below one point between mean and oracle there is nothing to recover, and the quotient would be noise.
MIN_GAP = 0.01


def recovery(values: Mapping[str, float], mean: Mapping[str, float], oracle: Mapping[str, float]) -> float | None:
    """(method - mean) / (oracle - mean) of nDCG@10: which share of what the noise took was won back.

    None where nDCG@10 was not measured or the noise took less than `MIN_GAP`.
    """
    if PRIMARY_METRIC not in values:
        return None
    gap = oracle[PRIMARY_METRIC] - mean[PRIMARY_METRIC]
    return None if gap < MIN_GAP else (values[PRIMARY_METRIC] - mean[PRIMARY_METRIC]) / gap


def method_label(pooling: str, *, fitted: bool = False, denoised: bool = False) -> str:
    """A pooling or baseline as tables name it.

    >>> method_label("glot", fitted=True, denoised=True), method_label("bm25")
    ('GLOT, fitted, denoised', 'BM25')
    """
    return LABELS.get(pooling, pooling) + ", fitted" * fitted + ", denoised" * denoised


def noise_label(noise: str, ratio: float) -> str:
    """A noise setting in words.

    >>> noise_label("words", 0.8), noise_label("none", 0.0)
    ('words 80%', 'no noise added')
    """
    return "no noise added" if noise == "none" else f"{noise} {ratio:.0%}"


def metric_label(metric: str) -> str:
    """A metric as it is written.

    >>> metric_label("ndcg@10"), metric_label("map@100")
    ('nDCG@10', 'MAP@100')
    """
    return metric.replace("ndcg", "nDCG").replace("mrr", "MRR").replace("map", "MAP")


@dataclass(frozen=True)
class Result:
    """One pooling or baseline on one noise setting; metrics are fractions in [0, 1].

    Args:
        pooling: its name.
        noise: kind of noise, with its placement and granularity; the parts of a mixture.
        ratio: noise words / all words; of OCR, damaged words / own words.
        metrics: metric -> value.
        oracle: metric -> value of mean pooling over the documents' own words alone ("ceiling" in JSON).
        recovery: see `recovery`.
        fitted: whether the pooling was fitted to the noisy documents.
        denoised: whether the documents were denoised first.
        interval: of nDCG@10, [low, high] at 95% over the queries; None where nDCG@10 was not measured.
        oracle_interval: the same of the oracle ("ceiling_interval" in JSON).
        against_mean: the paired comparison of nDCG@10; None for mean itself.
        own_oracle: metric -> value of this pooling or baseline over the documents' own words alone ("own_ceiling" in
            JSON); None where not asked for.
        kept_words: precision, recall and F1 of the words that were embedded, against the documents' own words; None
            where nothing cleans the documents.
    """

    pooling: str
    noise: str
    ratio: float
    metrics: dict[str, float]
    oracle: dict[str, float]
    recovery: float | None
    fitted: bool = False
    denoised: bool = False
    interval: list[float] | None = None
    oracle_interval: list[float] | None = None
    against_mean: Comparison | None = None
    own_oracle: dict[str, float] | None = None
    kept_words: dict[str, float] | None = None

    @property
    def label(self) -> str:
        """How tables name the pooling or baseline."""
        return method_label(self.pooling, fitted=self.fitted, denoised=self.denoised)

    @property
    def setting(self) -> tuple[str, float]:
        """(noise, ratio)."""
        return self.noise, self.ratio

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {_JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """What `to_dict` made, back."""
        fields = {_PYTHON_NAMES.get(name, name): value for name, value in data.items()}
        compared = fields.get("against_mean")
        if compared is not None:
            compared = Comparison(**{**compared, "worst": [Loss(**each) for each in compared["worst"]]})
        return cls(**{**fields, "against_mean": compared})


@dataclass(frozen=True)
class Report:
    """All results of an evaluation and the settings that produced them. A notebook shows it as a table.

    Args:
        collection: its name ("dataset" in JSON).
        seed: of the noise.
        results: in the order of the noise settings, then of the poolings and baselines.
        max_words: words of a document that a generator put noise into; 0: whole documents.
        k: documents a search returned.
        documents: how many.
        queries: how many.
        encoders: label -> fingerprint of the encoder, as it was fitted last.
        problems: what was left out of the collection.
        versions: package -> version.
        costs: label -> milliseconds to make a document searchable, each way timed alone (`measure_costs`).
        collection_hash: of the documents, queries and judgements as they were used ("dataset_hash" in JSON).
        queries_made: where no person wrote the queries, what they were made from: source -> how many.
        setup: what else the run was set to: backbone, dtype, device, noise, ….
    """

    collection: str
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
    collection_hash: str = ""
    queries_made: dict[str, int] = field(default_factory=dict)
    setup: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The poolings and baselines, in the order of their first result."""
        return list(dict.fromkeys(result.label for result in self.results))

    @property
    def queries_label(self) -> str:
        """What the queries were made from, in words; empty where people wrote them."""
        parts = [f"{count:,} {source}{'s' * (count != 1)}" for source, count in self.queries_made.items()]
        return f"Queries made from the documents ({', '.join(parts)}), not asked by people." if parts else ""

    @property
    def settings(self) -> list[tuple[str, float]]:
        """(kind of noise, ratio) in the order of their first result."""
        return list(dict.fromkeys(result.setting for result in self.results))

    @property
    def main_metric(self) -> str:
        """The metric that tables and pictures show: nDCG@10, or the first one where that was not measured."""
        measured = self.results[0].metrics
        return PRIMARY_METRIC if PRIMARY_METRIC in measured else next(iter(measured))

    def result(self, label: str, noise: str, ratio: float) -> Result | None:
        """One row of the report; None where there is none.

        Args:
            label: of the pooling or baseline, as the table shows it: "mean", "GLOT, fitted", "BM25".
            noise: the kind of noise: "words", "none".
            ratio: its share of a document's words, 0 to 1.
        """
        key = (label, noise, ratio)
        return next((each for each in self.results if (each.label, each.noise, each.ratio) == key), None)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, `results` as a list of `Result.to_dict`."""
        fields = {**self.__dict__, "results": [result.to_dict() for result in self.results]}
        return {_JSON_NAMES.get(name, name): value for name, value in fields.items()}

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

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
            fields = {_PYTHON_NAMES.get(name, name): value for name, value in data.items()}
            return cls(**{**fields, "results": [Result.from_dict(result) for result in data["results"]]})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DatasetError(f"'{path}' is not an evaluation report: {error}.") from error

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        from glot_rag.evaluation.report.page import table

        return table(self)


def library_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the figures; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in (
        "glot-rag",
        "numpy",
        "faiss-cpu",
        "ir-measures",
        "scipy",
        "statsmodels",
        "bm25s",
        "torch",
        "transformers",
    ):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
