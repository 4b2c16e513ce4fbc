"""What a document costs, by a clock that stands still unless work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate
from glot_rag.evaluation.costs import measure_costs
from glot_rag.models.tokenizer import sample_positions

Encoders = dict[str, Any]


class Worker:
    """Takes so many seconds a text, and remembers how many texts came at a time."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.batches: list[int] = []

    def __call__(self, texts: Sequence[str]) -> None:
        self.batches.append(len(texts))
        self.clock[0] += self.seconds * len(texts)


def test_each_way_is_timed_alone_and_not_for_long() -> None:
    clock = [0.0]
    fast, slow = Worker(clock, 0.001), Worker(clock, 0.05)
    costs = measure_costs({"fast": fast, "slow": slow}, [""] * 100, lambda: clock[0])
    assert costs == pytest.approx({"fast": 1.0, "slow": 50.0})
    assert fast.batches == [32, 32, 32, 32, 4]  # the first warms up and does not count
    assert slow.batches == [32, 32, 32]  # two seconds are over after 64


def test_the_report_has_the_costs_of_the_noisiest_documents(collection: MemoryCollection, encoders: Encoders) -> None:
    noises = ["words:0.5", "gibberish:0.8", "none"]
    settings = EvaluationSettings(noises, max_words=40, baselines=["hybrid", "best-chunk"])
    report = evaluate(collection, encoders, settings)
    assert list(report.costs) == ["mean", "perfect", "BM25", "hybrid", "best chunk"]
    assert all(cost > 0 for cost in report.costs.values())
    assert report.costs["hybrid"] == report.costs["BM25"] + report.costs["perfect"]
    # Of the clean documents, which come last, nothing is timed: the noisiest ones were asked for again.
    texts = encoders["mean"].asked[-3]
    assert len(texts) in (32, 8)
    encoders["mean"].asked.clear()
    assert evaluate(collection, encoders, replace(settings, costs=False)).costs == {}


def test_as_many_documents_are_fitted_to_as_are_counted() -> None:
    assert sample_positions(3, 5) == [0, 1, 2]
    assert sample_positions(45, 20) == [int(i * 45 / 20) for i in range(20)]
