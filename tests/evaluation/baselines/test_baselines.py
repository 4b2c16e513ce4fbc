"""The baselines beside the poolings, against what can be worked out by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag.errors import MissingExtraError
from glot_rag.evaluation import (
    EvaluationSettings,
    MemoryCollection,
    NoiseSpec,
    corrupt,
    evaluate,
    measure,
    search,
)
from glot_rag.evaluation.baselines import BM25, StartSearch, load_stock, search_texts, strip_boilerplate
from glot_rag.evaluation.baselines.best_chunk import sentence_windows
from glot_rag.evaluation.kept_words import kept_words
from glot_rag.evaluation.methods import Methods, make_methods
from glot_rag.evaluation.streaming_search import NearestDocuments
from glot_rag.index import Document, GlotIndex

Encoders = dict[str, Any]

PARAGRAPH = (
    "The wing of a small aircraft carries its weight because the air above it moves faster than the air below, and "
    "the pressure there is lower. How much it carries depends on its area, its shape and the angle of attack, which "
    "the pilot chooses by moving the stick. "
)


def found_by(start: StartSearch, texts: list[str], queries: list[str], k: int) -> list[dict[int, float]]:
    return [dict(found) for found in search_texts(start, texts, queries, k)]


def test_bm25_scores_by_the_formula() -> None:
    texts = ["kettle boils water", "kettle kettle steel handle", "bicycle chain"]
    kettle, zebra = found_by(BM25, texts, ["kettle", "zebra"], 10)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))

    def expected(count: int, length: int) -> float:
        return idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * length / 3))

    assert kettle == pytest.approx({0: expected(1, 3), 1: expected(2, 4)}, abs=1e-5)
    assert list(kettle) == [1, 0]
    assert zebra == {}
    assert list(found_by(BM25, texts, ["kettle"], 1)[0]) == [1]


def test_bm25_in_batches_is_that_of_bm25s_over_all_texts_at_once() -> None:
    import bm25s

    words = [f"w{i}" for i in range(50)]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(40)]
    search = BM25(["w3 w7 the", "w1 W2 unknown"], 40)
    for start in range(0, 40, 7):
        search.add(texts[start : start + 7])
    whole = bm25s.BM25()
    whole.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    for found, tokens in zip(search.found(), (["w3", "w7"], ["w1", "w2"]), strict=True):
        scores = whole.get_scores(tokens)
        assert dict(found) == pytest.approx({row: float(score) for row, score in enumerate(scores) if score > 0})


def test_bm25_of_documents_without_words() -> None:
    assert found_by(BM25, ["...", "the"], ["kettle"], 10) == [{}]


def test_windows_hold_every_word_and_no_more_than_they_may() -> None:
    text = PARAGRAPH * 3 + " ".join(f"w{i}" for i in range(100))
    windows = sentence_windows(text, 48)
    assert all(len(window.split()) <= 48 for window in windows)
    assert {word for window in windows for word in window.split()} == set(text.split())
    assert sentence_windows("short text", 48) == ["short text"]
    assert sentence_windows("", 48) == [""]


def test_best_chunk_is_the_maximum_over_windows(encoders: Encoders) -> None:
    texts = ["apple pear. " + "noise " * 200, "apple pear plum. " + "noise " * 50, "pear " * 30]
    queries = ["apple pear plum", "noise"]
    mean = encoders["mean"]
    given = MemoryCollection("toy", dict(zip("abc", texts, strict=True)), {"0": queries[0]}, {"0": {"b": 1}})
    settings = EvaluationSettings(["none"], baselines=["best-chunk"], costs=False, metrics=["mrr@10"])
    methods = Methods(make_methods({"mean": mean}, settings))
    read = methods.documents(texts)["best chunk"]
    nearest = NearestDocuments(methods.queries(queries)["best chunk"], 3)
    for start in range(3):  # a batch each: what stays is the best of all
        one = methods.documents(texts[start : start + 1])["best chunk"]
        nearest.add(one.vectors, one.starts)
    for query, best in zip(queries, nearest.found(), strict=True):
        asked = mean.encode_queries([query])[0]
        scores = [float(max(mean.encode_documents(sentence_windows(each)) @ asked)) for each in texts]
        assert dict(best) == pytest.approx(dict(enumerate(scores)), abs=1e-6)
    assert len(read.vectors) == sum(len(sentence_windows(text)) for text in texts)
    assert evaluate(given, {"mean": mean}, settings).labels == ["mean", "best chunk"]


def test_the_stripper_takes_the_article_out_of_a_page() -> None:
    links = "".join(f"<li><a href='/{i}'>Link {i}</a></li>" for i in range(20))
    page = (
        f"<html><body><nav><ul>{links}</ul></nav><article><p>{PARAGRAPH}</p><p>{PARAGRAPH}</p></article></body></html>"
    )
    found = strip_boilerplate(page)
    assert "angle of attack" in found
    assert "Link 7" not in found


@pytest.mark.parametrize("text", ["", "kettle", "a < b & c"])
def test_a_text_in_which_the_stripper_finds_nothing_stays(text: str) -> None:
    assert strip_boilerplate(text).split() == text.split()


def test_the_stock_model_is_mean_pooling_of_the_same_files() -> None:
    pytest.importorskip("sentence_transformers")
    from glot_rag import GlotEncoder

    texts = [PARAGRAPH, "kettle"]
    ours = GlotEncoder.from_pretrained(pooling="mean", dtype="float32")
    stock = load_stock(ours)
    np.testing.assert_allclose(stock.encode_documents(texts), ours.encode_documents(texts), atol=1e-5)
    assert stock.dimension == 384


def test_baselines_in_the_table(collection: MemoryCollection, encoders: Encoders, tmp_path: Path) -> None:
    noise, names = NoiseSpec("words", 0.8), ["bm25", "hybrid", "stripped"]
    settings = EvaluationSettings([noise], max_words=40, baselines=names, batch_size=7, costs=False)
    report = evaluate(collection, encoders, settings)
    assert report.labels == ["mean", "perfect", "BM25", "hybrid", "stripped"]
    assert [each.pooling for each in report.results] == ["mean", "perfect", *names]
    texts = [n.text for n in corrupt(list(collection.documents.values()), noise, seed=0, max_words=40)]
    ids, asked, queries = list(collection.documents), list(collection.queries), list(collection.queries.values())

    def nearest(encoder: Any, documents: list[str]) -> dict[str, dict[str, float]]:
        return search(ids, encoder.encode_documents(documents), asked, encoder.encode_queries(queries), 100)

    found = search_texts(BM25, texts, queries, 100)
    words = {query: {ids[row]: score for row, score in each} for query, each in zip(asked, found, strict=True)}
    stripped = [strip_boilerplate(text) for text in texts]
    with GlotIndex.create(tmp_path / "index", encoders["perfect"]) as index:
        index.add([Document(text, id) for id, text in zip(ids, texts, strict=True)])
        hits = index.search_batch(queries, 100, mode="hybrid")
    both = {query: {hit.id: hit.score for hit in each} for query, each in zip(asked, hits, strict=True)}
    expected = {
        "BM25": measure(collection.qrels, words),
        "hybrid": measure(collection.qrels, both),
        "stripped": measure(collection.qrels, nearest(encoders["mean"], stripped)),
    }
    for name, metrics in expected.items():
        result = report.result(name, "words", 0.8)
        assert result is not None
        assert result.metrics == pytest.approx(metrics)
    signals = [n.signal for n in corrupt(list(collection.documents.values()), noise, seed=0, max_words=40)]
    for name, kept in (("mean", texts), ("stripped", stripped)):
        result = report.result(name, "words", 0.8)
        assert result is not None
        assert result.kept_words is not None
        each = [kept_words(text, gold) for text, gold in zip(kept, signals, strict=True)]
        assert list(result.kept_words.values()) == pytest.approx(np.mean(each, axis=0).tolist())


class _WithBackbone:
    """As far as `load_stock` looks at an encoder."""

    class backbone:
        class source:
            is_local = False


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("trafilatura", lambda: strip_boilerplate("a")),
        ("sentence_transformers", lambda: load_stock(_WithBackbone())),  # type: ignore[arg-type]
    ],
)
def test_missing_packages(monkeypatch: pytest.MonkeyPatch, package: str, call: Callable[[], object]) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="pip install 'glot-rag"):
        call()
