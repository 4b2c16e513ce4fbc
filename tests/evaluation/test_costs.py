"""What a document costs, by a clock that stands still unless work is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from glot_rag.embedder import Vectors
from glot_rag.evaluation import MemoryCollection, NoiseSpec, evaluate
from glot_rag.evaluation.costs import measure_costs
from glot_rag.models.tokenizer import sample_positions

Embed = Callable[[Sequence[str]], dict[str, Vectors]]


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


def test_positions_are_those_that_adapt_counts() -> None:
    assert sample_positions(3, 5) == [0, 1, 2]
    assert sample_positions(45, 20) == [int(i * 45 / 20) for i in range(20)]
    from glot_rag.denoise.fitting import MOST_COUNTED
    from glot_rag.evaluation.run import PREPARED

    assert PREPARED == MOST_COUNTED


def test_the_report_has_the_costs_of_the_noisiest_documents(dataset: MemoryCollection, embedder: Embed) -> None:
    seen: list[str] = []
    report = evaluate(
        dataset,
        embedder,
        embedder,
        ["mean", "oracle"],
        [NoiseSpec("words", 0.5), NoiseSpec("gibberish", 0.8), NoiseSpec("none")],
        max_words=40,
        timed={"mean": seen.extend, "oracle": len, "unused": len},
        hybrids={"both": ["mean", "oracle"], "not timed": ["mean", "other"]},
        systems={"other": lambda queries, k: _Nothing(len(queries))},
    )
    assert list(report.costs) == ["mean", "oracle", "both"]
    assert all(cost > 0 for cost in report.costs.values())
    assert report.costs["both"] == report.costs["mean"] + report.costs["oracle"]
    own = [sum(word.startswith("w") and "x" in word for word in text.split()) for text in seen]
    assert max(own) <= 8  # a fifth of 40 words is the document's own


class _Nothing:
    """A system that finds nothing."""

    def __init__(self, queries: int) -> None:
        self.queries = queries

    def add(self, texts: Sequence[str]) -> None:
        pass

    def found(self) -> list[list[tuple[int, float]]]:
        return [[] for _ in range(self.queries)]
