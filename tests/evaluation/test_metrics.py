from __future__ import annotations

import sys
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation import METRICS, measure, measure_per_query


def ranking(*documents: str) -> dict[str, float]:
    return {document: 1.0 - 0.01 * rank for rank, document in enumerate(documents)}


def test_hand_computed() -> None:
    qrels = {"q1": {"a": 1, "b": 1, "c": 0}, "q2": {"x": 1}}
    run = {"q1": ranking("c", "a", "e", "b"), "q2": ranking("x", "y")}
    values = measure_per_query(qrels, run, ["ndcg@10", "recall@10", "mrr@10", "recall@2"])
    ndcg = (1 / log2(3) + 1 / log2(5)) / (1 / log2(2) + 1 / log2(3))
    assert values["ndcg@10"] == pytest.approx({"q1": ndcg, "q2": 1.0})
    assert values["recall@10"] == {"q1": 1.0, "q2": 1.0}
    assert values["recall@2"] == {"q1": 0.5, "q2": 1.0}
    assert values["mrr@10"] == {"q1": 0.5, "q2": 1.0}
    assert measure(qrels, run)["ndcg@10"] == pytest.approx((ndcg + 1) / 2)


def test_graded_gains_are_the_grades_themselves() -> None:
    values = measure({"q": {"a": 1, "b": 3}}, {"q": ranking("a", "b")}, ["ndcg@10"])
    assert values["ndcg@10"] == pytest.approx((1 + 3 / log2(3)) / (3 + 1 / log2(3)))


@pytest.mark.parametrize(("rank", "value"), [(1, 1.0), (10, 0.1), (11, 0.0), (50, 0.0)])
def test_mrr_cuts_at_10(rank: int, value: float) -> None:
    run = ranking(*[f"d{i:02}" for i in range(1, 61)])
    assert measure({"q": {f"d{rank:02}": 1}}, {"q": run}, ["mrr@10"]) == {"mrr@10": pytest.approx(value)}


def test_other_cuts_of_the_same_measure() -> None:
    run = ranking(*[f"d{i:02}" for i in range(1, 61)])
    values = measure(
        {"q": {"d11": 1}}, {"q": run}, ["mrr@10", "mrr@20", "recall@10", "recall@11", "ndcg@10", "ndcg@11"]
    )
    assert values == pytest.approx(
        {"mrr@10": 0, "mrr@20": 1 / 11, "recall@10": 0, "recall@11": 1, "ndcg@10": 0, "ndcg@11": 1 / log2(12)}
    )


def test_ties_go_by_rising_document_id_in_every_measure() -> None:
    run = {"q": {"b": 0.5, "c": 0.5, "a": 0.5}}
    assert measure({"q": {"a": 1}}, run, METRICS[:3]) == {"ndcg@10": 1.0, "recall@10": 1.0, "mrr@10": 1.0}
    last = measure({"q": {"c": 1}}, run, ["mrr@10", "ndcg@10"])
    assert last == pytest.approx({"mrr@10": 1 / 3, "ndcg@10": 0.5})


def test_scores_closer_than_single_precision_are_no_tie() -> None:
    run = {"q": {"a": 0.5, "b": 0.5 + 1e-12}}
    assert measure({"q": {"b": 1}}, run, ["mrr@10", "ndcg@10"]) == {"mrr@10": 1.0, "ndcg@10": 1.0}


def test_a_query_that_the_run_lacks_counts_as_0() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    assert measure(qrels, {"q1": {"a": 1.0}, "other": {"a": 1.0}}) == dict.fromkeys(METRICS, 0.5)
    assert measure(qrels, {}) == dict.fromkeys(METRICS, 0.0)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(15)), st.sets(st.integers(0, 14), min_size=1))
def test_against_the_definitions(order: list[int], relevant: set[int]) -> None:
    run = ranking(*[f"d{i}" for i in order])
    hits = [rank for rank, i in enumerate(order[:10], start=1) if i in relevant]
    best = range(1, min(10, len(relevant)) + 1)
    values = measure({"q": {f"d{i}": 1 for i in relevant}}, {"q": run}, [*METRICS[:3], "map@10"])
    assert values == pytest.approx(
        {
            "ndcg@10": sum(1 / log2(rank + 1) for rank in hits) / sum(1 / log2(rank + 1) for rank in best),
            "recall@10": len(hits) / len(relevant),
            "mrr@10": 1 / hits[0] if hits else 0.0,
            "map@10": sum(found / rank for found, rank in enumerate(hits, start=1)) / len(relevant),
        }
    )


@pytest.mark.parametrize("name", ["ndcg", "bpref@10", "ndcg@0", "nDCG@10", "ndcg@ten"])
def test_unknown_metric(name: str) -> None:
    with pytest.raises(InputError, match=f"Unknown metric '{name}'.*ndcg@K, recall@K, mrr@K or map@K"):
        measure({"q": {"a": 1}}, {"q": {"a": 1.0}}, [name])


def test_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="no judged queries"):
        measure({}, {})


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r"ir_measures.*glot-rag\[eval\]"):
        measure({"q": {"a": 1}}, {"q": {"a": 1.0}})
