from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation import MemoryCollection, NoiseSpec, Report, corrupt, evaluate, measure, search
from glot_rag.evaluation.baselines import BM25
from glot_rag.evaluation.report.results import recovery

Embed = Callable[[Sequence[str]], dict[str, Vectors]]
NOISES = [NoiseSpec("none"), NoiseSpec("words", 0.8), NoiseSpec("gibberish", 0.8)]


def unit(rng: np.random.Generator, rows: int, dimension: int = 16) -> Vectors:
    vectors = rng.normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_search_is_exact() -> None:
    rng = np.random.default_rng(0)
    documents, queries = unit(rng, 200), unit(rng, 7)
    document_ids, query_ids = [f"d{i}" for i in range(200)], [f"q{i}" for i in range(7)]
    run = search(document_ids, documents, query_ids, queries, k=10)
    scores = queries @ documents.T
    assert list(run) == query_ids
    for row, query in enumerate(query_ids):
        expected = np.argsort(-scores[row])[:10]
        assert list(run[query]) == [f"d{i}" for i in expected]
        assert list(run[query].values()) == pytest.approx(scores[row, expected].tolist(), abs=1e-5)


def test_search_among_fewer_than_k() -> None:
    rng = np.random.default_rng(0)
    assert len(search(["a", "b"], unit(rng, 2), ["q"], unit(rng, 1), k=10)["q"]) == 2


def test_search_refuses_what_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    two, one = unit(rng, 2), unit(rng, 1)
    with pytest.raises(InputError, match=r"3 document ids for vectors of shape \(2, 16\)"):
        search(["a", "b", "c"], two, ["q"], one)
    with pytest.raises(InputError, match=r"2 query ids"):
        search(["a", "b"], two, ["q", "r"], one)
    with pytest.raises(InputError, match="16 dimensions, queries 8"):
        search(["a", "b"], two, ["q"], one[:, :8])
    with pytest.raises(InputError, match="query vectors hold values that are not finite"):
        search(["a", "b"], two, ["q"], one * np.nan)
    with pytest.raises(InputError, match="k must be 1 or more, got 0"):
        search(["a", "b"], two, ["q"], one, k=0)


def test_evaluate_against_the_steps_by_hand(dataset: MemoryCollection, embedder: Embed) -> None:
    report = evaluate(dataset, embedder, embedder, ["mean", "oracle"], NOISES, seed=3, max_words=40)
    assert [(each.pooling, each.noise, each.ratio) for each in report.results] == [
        ("mean", "none", 0.0),
        ("oracle", "none", 0.0),
        ("mean", "words", 0.8),
        ("oracle", "words", 0.8),
        ("mean", "gibberish", 0.8),
        ("oracle", "gibberish", 0.8),
    ]
    texts = list(dataset.documents.values())
    queries = list(dataset.queries.values())

    def by_hand(documents: list[str], pooling: str) -> dict[str, float]:
        scores = embedder(queries)[pooling] @ embedder(documents)[pooling].T
        run = {
            query: dict(zip(dataset.documents, row, strict=True))
            for query, row in zip(dataset.queries, scores.tolist(), strict=True)
        }
        return measure(dataset.qrels, run)

    for each in report.results:
        noisy = corrupt(texts, NoiseSpec(each.noise, each.ratio), seed=3, max_words=40)
        assert each.metrics == pytest.approx(by_hand([n.text for n in noisy], each.pooling), abs=1e-3)
        assert each.ceiling == pytest.approx(by_hand([n.signal for n in noisy], "mean"), abs=1e-3)


def test_own_ceilings(dataset: MemoryCollection, embedder: Embed) -> None:
    """What each way makes of the signal alone: what it makes of a collection that is that, without noise."""
    ways: dict[str, Any] = {"systems": {"bm25": BM25}, "hybrids": {"hybrid": ("bm25", "oracle")}, "max_words": 40}
    words, names = NOISES[1], ["mean", "oracle"]
    report = evaluate(dataset, embedder, embedder, names, [NOISES[0], words], own_ceilings=True, **ways)
    signals = corrupt(list(dataset.documents.values()), words, seed=0, max_words=40)
    alone = replace(dataset, documents=dict(zip(dataset.documents, [each.signal for each in signals], strict=True)))
    expected = evaluate(alone, embedder, embedder, names, [NOISES[0]], **ways)
    assert report.poolings == ["mean", "oracle", "bm25", "hybrid"]
    for each in report.results:
        if each.noise == "none":
            assert each.own_ceiling == each.metrics
        else:
            found = expected.result(each.pooling, "none", 0.0)
            assert found is not None
            assert each.own_ceiling == pytest.approx(found.metrics)
    assert report.results[4].own_ceiling == report.results[4].ceiling  # mean's is the ceiling
    without = evaluate(dataset, embedder, embedder, names, [NOISES[0], words], **ways)
    assert [replace(each, own_ceiling=None) for each in report.results] == without.results


def test_recovery_of_the_oracle(dataset: MemoryCollection, embedder: Embed) -> None:
    report = evaluate(dataset, embedder, embedder, ["mean", "oracle"], NOISES, max_words=40)
    words, gibberish = ("words", 0.8), ("gibberish", 0.8)
    mean, oracle = report.result("mean", *words), report.result("oracle", *words)
    assert mean is not None
    assert oracle is not None
    assert mean.metrics["ndcg@10"] < oracle.metrics["ndcg@10"]
    # It takes out exactly the common words, so it reaches the ceiling on them and wins nothing on gibberish.
    assert oracle.metrics == oracle.ceiling
    assert oracle.recovery == pytest.approx(1.0)
    assert mean.recovery == 0.0
    blind = report.result("oracle", *gibberish)
    assert blind is not None
    assert blind.recovery == pytest.approx(0.0)
    clean = report.result("oracle", "none", 0.0)
    assert clean is not None
    assert clean.recovery is None


def test_recovery_needs_something_to_recover() -> None:
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.4}) == pytest.approx(0.5)
    assert recovery({"ndcg@10": 0.1}, {"ndcg@10": 0.2}, {"ndcg@10": 0.4}) == pytest.approx(-0.5)
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.205}) is None
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.1}) is None
    assert recovery({"mrr@10": 0.3}, {"mrr@10": 0.2}, {"mrr@10": 0.4}) is None


def test_the_ceiling_is_there_without_mean_among_the_poolings(dataset: MemoryCollection, embedder: Embed) -> None:
    alone = evaluate(dataset, embedder, embedder, ["oracle"], NOISES, max_words=40)
    both = evaluate(dataset, embedder, embedder, ["mean", "oracle"], NOISES, max_words=40)
    assert alone.poolings == ["oracle"]
    assert alone.results == [each for each in both.results if each.pooling == "oracle"]


def test_the_backbone_runs_no_more_than_needed(dataset: MemoryCollection, embedder: Embed) -> None:
    calls: list[list[str]] = []
    ceilings: list[list[str]] = []

    def counted(texts: Sequence[str]) -> dict[str, Vectors]:
        calls.append(list(texts))
        return embedder(texts)

    def mean_only(texts: Sequence[str]) -> dict[str, Vectors]:
        ceilings.append(list(texts))
        return {"mean": embedder(texts)["mean"]}

    messages: list[str] = []
    evaluate(
        dataset,
        counted,
        embedder,
        ["mean", "oracle"],
        NOISES,
        max_words=40,
        embed_ceiling=mean_only,
        progress=messages.append,
    )
    # Once a setting for all poolings; both kinds at 80% leave the same signal, so one ceiling; none for clean text.
    assert len(calls) == 3
    assert len(ceilings) == 1
    assert messages == [
        "none (1 of 3)",
        "words:0.8 (2 of 3)",
        "words:0.8 (2 of 3): the ceiling",
        "gibberish:0.8 (3 of 3)",
    ]


def test_json(dataset: MemoryCollection, embedder: Embed, tmp_path: Path) -> None:
    report = evaluate(
        dataset, embedder, embedder, ["mean", "oracle"], NOISES, seed=5, max_words=40, encoders={"mean": "abc"}
    )
    data = json.loads(report.to_json())
    assert data["dataset"] == "toy"
    assert data["seed"] == 5
    assert (data["max_words"], data["documents"], data["queries"], data["k"]) == (40, 40, 40, 100)
    assert data["encoders"] == {"mean": "abc"}
    assert data["versions"].keys() >= {"python", "numpy", "ir-measures", "faiss-cpu"}
    assert len(data["results"]) == 6
    for result in data["results"]:
        assert result.keys() >= {"pooling", "noise", "ratio", "metrics", "ceiling", "recovery"}
        for values in (result["metrics"], result["ceiling"]):
            assert values.keys() == {"ndcg@10", "recall@10", "mrr@10", "recall@100", "map@100"}
            assert all(0.0 <= value <= 1.0 for value in values.values())
    assert "NaN" not in report.to_json()
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


@pytest.mark.parametrize("content", ["{", "[]", '{"results": []}', '{"results": [{"pooling": "mean"}]}'])
def test_load_refuses_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match="is not an evaluation report"):
        Report.load(tmp_path / "report.json")


def test_same_seed_same_report(dataset: MemoryCollection, embedder: Embed) -> None:
    first, second, other = (
        evaluate(dataset, embedder, embedder, ["mean"], NOISES[1:], seed=seed, max_words=40) for seed in (0, 0, 1)
    )
    assert first.to_json() == second.to_json()
    assert first.results != other.results


def test_bad_settings(dataset: MemoryCollection, embedder: Embed) -> None:
    with pytest.raises(InputError, match=r"No vectors of pooling 'glot'; there are: mean, oracle"):
        evaluate(dataset, embedder, embedder, ["glot"], NOISES)
    with pytest.raises(InputError, match="No vectors of pooling 'mean'"):
        evaluate(dataset, lambda texts: {"oracle": embedder(texts)["oracle"]}, embedder, ["oracle"], NOISES)
    with pytest.raises(InputError, match="at least one pooling"):
        evaluate(dataset, embedder, embedder, [], NOISES)
    with pytest.raises(InputError, match="at least one noise setting, each once"):
        evaluate(dataset, embedder, embedder, ["mean"], [NOISES[1], NOISES[1]])
