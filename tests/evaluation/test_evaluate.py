from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation import (
    EvaluationSettings,
    GoldTexts,
    MemoryCollection,
    Noise,
    NoiseSpec,
    Report,
    corrupt,
    evaluate,
    measure,
    save_page,
    search,
)
from glot_rag.evaluation.methods import chunks_of
from glot_rag.evaluation.report.results import recovery

Encoders = dict[str, Any]
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


def settings(*noises: Noise | str, **changed: Any) -> EvaluationSettings:
    return EvaluationSettings(noises or NOISES, **{"max_words": 40, "costs": False, **changed})


def test_evaluate_against_the_steps_by_hand(collection: MemoryCollection, encoders: Encoders) -> None:
    report = evaluate(collection, encoders, settings(seed=3))
    assert [(each.pooling, each.noise, each.ratio) for each in report.results] == [
        ("mean", "none", 0.0),
        ("perfect", "none", 0.0),
        ("mean", "words", 0.8),
        ("perfect", "words", 0.8),
        ("mean", "gibberish", 0.8),
        ("perfect", "gibberish", 0.8),
    ]
    texts = list(collection.documents.values())
    queries = list(collection.queries.values())

    def by_hand(documents: list[str], pooling: str) -> dict[str, float]:
        encoder = encoders[pooling]
        scores = encoder.encode_queries(queries) @ encoder.encode_documents(documents).T
        run = {
            query: dict(zip(collection.documents, row, strict=True))
            for query, row in zip(collection.queries, scores.tolist(), strict=True)
        }
        return measure(collection.qrels, run)

    for each in report.results:
        noisy = corrupt(texts, NoiseSpec(each.noise, each.ratio), seed=3, max_words=40)
        assert each.metrics == pytest.approx(by_hand([n.text for n in noisy], each.pooling), abs=1e-3)
        assert each.oracle == pytest.approx(by_hand([n.signal for n in noisy], "mean"), abs=1e-3)
        assert not each.fitted
        assert not each.denoised
        assert each.kept_words is None  # nothing cleans


def test_own_oracles(collection: MemoryCollection, encoders: Encoders) -> None:
    """What each method makes of the own words alone: what it makes of a collection that is that, without noise."""
    words = NOISES[1]
    asked = {"baselines": ("bm25", "hybrid")}
    report = evaluate(collection, encoders, settings(NOISES[0], words, own_oracles=True, **asked))
    signals = corrupt(list(collection.documents.values()), words, seed=0, max_words=40)
    alone = replace(
        collection, documents=dict(zip(collection.documents, [each.signal for each in signals], strict=True))
    )
    expected = evaluate(alone, encoders, settings(NOISES[0], **asked))
    assert report.labels == ["mean", "perfect", "BM25", "hybrid"]
    for each in report.results:
        if each.noise == "none":
            assert each.own_oracle == each.metrics
        else:
            found = expected.result(each.label, "none", 0.0)
            assert found is not None
            assert each.own_oracle == pytest.approx(found.metrics)
    assert report.results[4].own_oracle == report.results[4].oracle  # mean's is the oracle
    without = evaluate(collection, encoders, settings(NOISES[0], words, **asked))
    assert [replace(each, own_oracle=None) for each in report.results] == without.results


def test_recovery_of_perfect_cleaning(collection: MemoryCollection, encoders: Encoders) -> None:
    report = evaluate(collection, encoders, settings())
    words, gibberish = ("words", 0.8), ("gibberish", 0.8)
    mean, perfect = report.result("mean", *words), report.result("perfect", *words)
    assert mean is not None
    assert perfect is not None
    assert mean.metrics["ndcg@10"] < perfect.metrics["ndcg@10"]
    # It takes out exactly the common words, so it reaches the oracle on them and wins nothing on gibberish.
    assert perfect.metrics == perfect.oracle
    assert perfect.recovery == pytest.approx(1.0)
    assert mean.recovery == 0.0
    blind = report.result("perfect", *gibberish)
    assert blind is not None
    assert blind.recovery == pytest.approx(0.0)
    clean = report.result("perfect", "none", 0.0)
    assert clean is not None
    assert clean.recovery is None


def test_recovery_needs_something_to_recover() -> None:
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.4}) == pytest.approx(0.5)
    assert recovery({"ndcg@10": 0.1}, {"ndcg@10": 0.2}, {"ndcg@10": 0.4}) == pytest.approx(-0.5)
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.205}) is None
    assert recovery({"ndcg@10": 0.3}, {"ndcg@10": 0.2}, {"ndcg@10": 0.1}) is None
    assert recovery({"mrr@10": 0.3}, {"mrr@10": 0.2}, {"mrr@10": 0.4}) is None


def test_the_oracle_is_there_without_mean_among_the_poolings(collection: MemoryCollection, encoders: Encoders) -> None:
    alone = evaluate(collection, {"perfect": encoders["perfect"]}, settings(), oracle=encoders["mean"])
    both = evaluate(collection, encoders, settings())
    assert alone.labels == ["perfect"]
    assert alone.results[1].oracle == both.results[3].oracle
    assert [replace(each, against_mean=None) for each in alone.results] == [
        replace(each, against_mean=None) for each in both.results if each.pooling == "perfect"
    ]
    with pytest.raises(InputError, match="the oracle needs mean pooling: add 'mean' to perfect, or give oracle="):
        evaluate(collection, {"perfect": encoders["perfect"]}, settings())


def test_nothing_is_embedded_twice(collection: MemoryCollection, encoders: Encoders) -> None:
    stages: list[str] = []
    evaluate(
        collection,
        encoders,
        settings(),
        progress=lambda stage, done, total: stages.append(stage) if done == 0 else None,
    )
    # Once a setting; both kinds at 80% leave the same own words, so one oracle, of mean alone; none for clean text.
    assert len(encoders["mean"].asked) == 4
    assert len(encoders["perfect"].asked) == 3
    assert stages == [
        "none (1 of 3)",
        "words:0.8 (2 of 3)",
        "words:0.8 (2 of 3): oracle",
        "gibberish:0.8 (3 of 3)",
    ]


def test_gold_is_the_oracle_of_documents_that_are_noisy_already(
    collection: MemoryCollection, encoders: Encoders, tmp_path: Path
) -> None:
    noisy = corrupt(list(collection.documents.values()), NOISES[1], seed=0, max_words=40)
    given = replace(collection, documents=dict(zip(collection.documents, [n.text for n in noisy], strict=True)))
    signals = dict(zip(collection.documents, [n.signal for n in noisy], strict=True))
    lines = [json.dumps({"_id": key, "text": text}) for key, text in signals.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    expected = evaluate(collection, encoders, settings(NOISES[1])).results
    found = evaluate(given, encoders, settings(NOISES[0]), gold=GoldTexts(tmp_path)).results
    assert [(each.metrics, each.oracle, each.recovery) for each in found] == [
        (each.metrics, each.oracle, each.recovery) for each in expected
    ]
    (without,) = (each for each in evaluate(given, encoders, settings(NOISES[0])).results if each.pooling == "mean")
    assert without.oracle == without.metrics
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[:-1]))
    with pytest.raises(DatasetError, match=r"corpus\.jsonl lacks 1 of the 40 documents of toy \(the first: 'd39'\)"):
        evaluate(given, encoders, settings(NOISES[0]), gold=GoldTexts(tmp_path))


def test_documents_without_added_noise_stay_whole(encoders: Encoders) -> None:
    text = "Home | News\n\n" + "The wing lifts.\n" * 100
    given = MemoryCollection("pages", {"a": text, "b": "heat"}, {"q": "wing"}, {"q": {"a": 1}})
    evaluate(given, {"mean": encoders["mean"]}, settings("none", max_words=10))
    assert encoders["mean"].asked == [[text, "heat"]]


def test_chunks_rank_a_document_by_its_best_one(encoders: Encoders) -> None:
    mean = {"mean": encoders["mean"]}
    long = "filler words of a page. " * 60 + "kettle boils water " + "more of the rest of it. " * 60
    short = "kettle and other things " * 3
    given = MemoryCollection("pages", {"long": long, "short": short}, {"q": "kettle boils water"}, {"q": {"long": 1}})
    found = evaluate(given, mean, settings("none", chunk=True, metrics=["mrr@10"]))
    pieces = [chunks_of(text) for text in (long, short)]
    assert [len(each) for each in pieces] == [4, 1]
    assert encoders["mean"].asked == [[*pieces[0], *pieces[1]]]
    query = encoders["mean"].encode_queries(["kettle boils water"])[0]
    best = [max(encoders["mean"].encode_documents(each) @ query) for each in pieces]
    assert (best[0] > best[1]) == (found.results[0].metrics["mrr@10"] == 1.0)
    assert best[0] > encoders["mean"].encode_documents([long])[0] @ query


def test_chunks_hold_every_character_and_overlap() -> None:
    text = "".join(f"{number:05}" for number in range(700))
    pieces = chunks_of(text)
    assert [len(each) for each in pieces] == [1000, 1000, 1000, 1000, 300][: len(pieces)]
    assert pieces[0] + "".join(each[200:] for each in pieces[1:]) == text
    assert all(one[-200:] == other[:200] for one, other in pairwise(pieces))
    assert chunks_of("") == [""]
    assert chunks_of("short") == ["short"]


def test_json(collection: MemoryCollection, encoders: Encoders, tmp_path: Path) -> None:
    report = evaluate(collection, encoders, settings(seed=5))
    data = json.loads(report.to_json())
    assert data["dataset"] == "toy"
    assert data["seed"] == 5
    assert (data["max_words"], data["documents"], data["queries"], data["k"]) == (40, 40, 40, 100)
    assert data["encoders"] == {"mean": "hash", "perfect": "perfect"}
    assert data["versions"].keys() >= {"python", "numpy", "ir-measures", "faiss-cpu"}
    assert data["setup"]["noise"] == "none words:0.8 gibberish:0.8"
    assert len(data["results"]) == 6
    for result in data["results"]:
        assert result.keys() >= {"pooling", "noise", "ratio", "metrics", "ceiling", "recovery", "fitted", "denoised"}
        assert "oracle" not in result
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


def test_same_seed_same_report(collection: MemoryCollection, encoders: Encoders) -> None:
    first, second, other = (evaluate(collection, encoders, settings(NOISES[1], seed=seed)) for seed in (0, 0, 1))
    assert first.to_json() == second.to_json()
    assert first.results != other.results


def test_without_ndcg_another_metric_is_the_main_one(
    collection: MemoryCollection, encoders: Encoders, tmp_path: Path
) -> None:
    report = evaluate(collection, encoders, settings(metrics=["mrr@10", "recall@10"]))
    assert report.main_metric == "mrr@10"
    assert all(each.interval is None and each.against_mean is None for each in report.results)
    save_page(report, tmp_path / "page.html")
    assert "MRR@10 × 100" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"noises": []}, "at least one noise setting, each once"),
        ({"noises": ["words:0.5", NoiseSpec("words", 0.5)]}, "noise setting, each once; got words:0.5, words:0.5"),
        ({"noises": "words:0.5"}, "lists of names, not one string"),
        ({"noises": ["rain:0.5"]}, "Unknown kind of noise 'rain'"),
        ({"baselines": ["google"]}, "baseline must be one of bm25, .*; got 'google'"),
        ({"baselines": ["bm25", "bm25"]}, "baseline, each once"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"max_words": -1}, "max_words must be a whole number of at least 0"),
        ({"k": 0}, "k must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"metrics": ["ndcg"]}, "Unknown metric 'ndcg'"),
        ({"metrics": []}, "at least one metric"),
    ],
)
def test_bad_settings(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EvaluationSettings(**changed)


def test_hybrid_brings_bm25_along() -> None:
    assert EvaluationSettings(baselines=["hybrid"]).baselines == ("bm25", "hybrid")


def test_encoders_that_denoise_are_fitted_too(minilm_folder: Path) -> None:
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.evaluation.methods import make_methods

    mean = TorchEncoder.from_pretrained(pooling="mean", denoise=False)
    methods = make_methods({"mean": mean, "glot": TorchEncoder.from_pretrained()}, settings(fit=True, denoise=True))
    found = {method.label: (method.refit, method.denoised) for method in methods}
    assert found == {
        "mean": (False, False),
        "GLOT, denoised": (False, True),
        "GLOT, fitted, denoised": (True, True),
    }


def test_whole_documents_are_read_to_their_end(minilm_folder: Path) -> None:
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.evaluation.methods import Methods, make_methods

    mean = TorchEncoder.from_pretrained(pooling="mean", denoise=False, dtype="float32")
    short = "A kettle boils water."
    long = f"{'A kettle boils water. ' * 60}The end is about bees and their honey."
    found = Methods(make_methods({"mean": mean}, settings(baselines=["whole"]))).documents([short, long])
    np.testing.assert_allclose(found["mean, whole"].vectors[0], found["mean"].vectors[0], atol=1e-6)
    (bees,) = mean.encode_queries(["bees and their honey"])
    assert found["mean, whole"].vectors[1] @ bees > found["mean"].vectors[1] @ bees + 0.02


def test_encoders_that_do_not_fit_the_settings(collection: MemoryCollection, encoders: Encoders) -> None:
    with pytest.raises(InputError, match="at least one pooling"):
        evaluate(collection, {}, settings())
    with pytest.raises(InputError, match="fit has no effect on mean, perfect"):
        evaluate(collection, encoders, settings(fit=True))
    with pytest.raises(InputError, match="denoise has no effect on mean, perfect"):
        evaluate(collection, encoders, settings(denoise=True))
    with pytest.raises(InputError, match="'stock' needs an encoder that runs torch"):
        evaluate(collection, encoders, settings(baselines=["stock"]))
    with pytest.raises(InputError, match="'whole' needs an encoder that runs torch"):
        evaluate(collection, encoders, settings(baselines=["whole"]))

    class Short(type(encoders["mean"])):  # type: ignore[misc]
        def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
            return np.zeros((1, 512), np.float32)

    with pytest.raises(InputError, match="Got 1 vectors of pooling 'mean' for 40 texts"):
        evaluate(collection, {"mean": Short()}, settings())
