"""Intervals, test and correction, against enumeration, theory and worked examples."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate, measure_per_query
from glot_rag.evaluation.significance import compare, holm, interval

Encoders = dict[str, Any]


def queries(values: list[float]) -> dict[str, float]:
    return {f"q{i}": value for i, value in enumerate(values)}


def test_p_is_that_of_every_swap() -> None:
    values, mean = [0.9, 0.4, 0.7, 0.8, 0.2, 0.6], [0.5, 0.3, 0.8, 0.3, 0.1, 0.4]
    differences = np.subtract(values, mean)
    swapped = [abs(np.mean(differences * signs)) for signs in itertools.product([1, -1], repeat=6)]
    exact = np.mean(np.array(swapped) >= abs(differences.mean()) - 1e-12)
    found = compare(queries(values), queries(mean))
    assert found.p == pytest.approx(exact)
    assert found.difference == pytest.approx(differences.mean())
    assert (found.wins, found.losses, found.ties) == (5, 1, 0)


def test_no_difference() -> None:
    same = queries([0.1, 0.5, 0.9])
    found = compare(same, same)
    assert (found.p, found.difference, found.interval) == (1.0, 0.0, [0.0, 0.0])
    assert (found.wins, found.losses, found.ties) == (0, 0, 3)


def test_interval_is_near_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).uniform(size=400)
    error = values.std() / 20
    assert interval(values) == pytest.approx([values.mean() - 1.96 * error, values.mean() + 1.96 * error], abs=0.003)
    assert interval(values) == interval(values)
    assert interval([0.25]) == [0.25, 0.25]


def test_holm_by_hand() -> None:
    # Sorted: 0.001·4, 0.01·3, 0.02·2, 0.8·1; never falling, never above 1.
    assert holm([0.02, 0.8, 0.001, 0.01]) == pytest.approx([0.04, 0.8, 0.004, 0.03])
    assert holm([0.03, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    random = np.random.default_rng(0).uniform(size=20).tolist()
    order = np.argsort(random)
    stepped = np.minimum(1, np.maximum.accumulate(np.array(random)[order] * np.arange(20, 0, -1)))
    assert np.array(holm(random))[order] == pytest.approx(stepped)


def test_refuses_what_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="the same queries, got 2 and 1"):
        compare(queries([0.1, 0.2]), queries([0.1]))
    with pytest.raises(InputError, match="no values"):
        interval([])
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match="scipy"):
        interval([0.1, 0.2])


def test_a_report_carries_them(collection: MemoryCollection, encoders: Encoders) -> None:
    settings = EvaluationSettings(["words:0.5", "words:0.9"], max_words=40, costs=False)
    report = evaluate(collection, encoders, settings)
    compared = [each.against_mean for each in report.results]
    assert [each is None for each in compared] == [True, False, True, False]
    found = [each for each in compared if each is not None]
    assert [each.p_holm for each in found] == holm([each.p for each in found])
    for result in report.results:
        assert result.interval is not None
        assert result.interval[0] <= result.metrics["ndcg@10"] <= result.interval[1]
    for each in found:
        assert each.wins + each.losses + each.ties == len(collection.queries)
    assert found[1].interval[0] > 0
    assert found[1].p_holm is not None
    assert found[1].p_holm < 0.01


def test_the_worst_queries_come_with_their_texts(collection: MemoryCollection, encoders: Encoders) -> None:
    # Turned round, so that the good one is called mean and the other loses.
    turned = {"mean": encoders["perfect"], "blind": encoders["mean"]}
    report = evaluate(collection, turned, EvaluationSettings(["words:0.9"], max_words=40, costs=False))
    blind = report.result("blind", "words", 0.9)
    assert blind is not None
    assert blind.against_mean is not None
    worst = blind.against_mean.worst
    assert 0 < len(worst) <= 10
    losses = [each.value - each.mean for each in worst]
    assert losses == sorted(losses)
    assert losses[0] < 0
    assert len(worst) == min(10, blind.against_mean.losses)
    for each in worst:
        assert each.query == collection.queries[each.query_id]
        assert list(collection.qrels[each.query_id]) == [each.relevant_id]
        assert collection.documents[each.relevant_id].split()[0] in each.relevant.split()


def test_measures_against_pytrec_eval() -> None:
    import pytrec_eval

    rng = np.random.default_rng(0)
    qrels = {f"q{i}": {f"d{j}": int(rng.integers(0, 4)) for j in rng.permutation(80)[:20]} for i in range(20)}
    run = {f"q{i}": {f"d{j}": float(rng.random()) for j in range(80)} for i in range(20)}
    oracle = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10,50", "map_cut.50"}).evaluate(run)
    ours = measure_per_query(qrels, run, ["ndcg@10", "recall@10", "recall@50", "map@50", "mrr@10"])
    names = {"ndcg@10": "ndcg_cut_10", "recall@10": "recall_10", "recall@50": "recall_50", "map@50": "map_cut_50"}
    for name, theirs in names.items():
        assert ours[name] == pytest.approx({query: values[theirs] for query, values in oracle.items()})
    ranks = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    cut = {query: v["recip_rank"] if v["recip_rank"] >= 0.1 else 0.0 for query, v in ranks.items()}
    assert ours["mrr@10"] == pytest.approx(cut)
