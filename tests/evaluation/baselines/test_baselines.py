"""The systems beside the poolings, against what can be worked out by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation import MemoryCollection, NoiseSpec, evaluate
from glot_rag.evaluation.baselines import (
    BM25,
    BestChunk,
    StartSearch,
    fuse,
    load_stock,
    search_texts,
    strip_boilerplate,
)
from glot_rag.evaluation.baselines.best_chunk import sentence_windows

Embed = Callable[[Sequence[str]], dict[str, Vectors]]
Hash = Callable[[Sequence[str]], Vectors]

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


def test_fusion_by_hand() -> None:
    fused = fuse([{"q": {"a": 9.0, "b": 8.0}}, {"q": {"b": 0.9, "c": 0.1}, "r": {"c": 1.0}}], k=2)
    assert fused["q"] == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61})
    assert list(fused["q"]) == ["b", "a"]
    assert fused["r"] == {"c": 1 / 61}


def test_windows_hold_every_word_and_no_more_than_they_may() -> None:
    text = PARAGRAPH * 3 + " ".join(f"w{i}" for i in range(100))
    windows = sentence_windows(text, 48)
    assert all(len(window.split()) <= 48 for window in windows)
    assert {word for window in windows for word in window.split()} == set(text.split())
    assert sentence_windows("short text", 48) == ["short text"]
    assert sentence_windows("", 48) == [""]


def test_best_chunk_is_the_maximum_over_windows(hasher: Hash) -> None:
    texts = ["apple pear. " + "noise " * 200, "apple pear plum. " + "noise " * 50, "", "pear " * 30]
    queries = ["apple pear plum", "noise"]
    search = BestChunk(hasher, hasher, queries, 3, max_words=10)
    for text in texts:  # a batch each: what stays is the best of all
        search.add([text])
    found = search.found()
    for query, best in zip(queries, found, strict=True):
        scores = [float(max(hasher(sentence_windows(each, 10)) @ hasher([query])[0])) for each in texts]
        assert [score for _, score in best] == pytest.approx(sorted(scores, reverse=True)[:3], abs=1e-6)
    assert found[0][0][0] == 3  # a window of one word in common beats two among noise
    with pytest.raises(InputError, match="max_words=1"):
        BestChunk(hasher, hasher, queries, 3, max_words=1)


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
    ours = GlotEncoder.from_pretrained(pooling="mean", dtype="float32").encode_documents(texts)
    np.testing.assert_allclose(load_stock("minilm")(texts), ours, atol=1e-5)


def test_systems_and_hybrids_in_the_table(dataset: MemoryCollection, embedder: Embed, hasher: Hash) -> None:
    chunked = partial(BestChunk, hasher, hasher)
    report = evaluate(
        dataset,
        embedder,
        embedder,
        ["mean"],
        [NoiseSpec("words", 0.8)],
        max_words=40,
        systems={"bm25": BM25, "best-chunk": chunked},
        batch_size=7,
        hybrids={"hybrid": ["bm25", "oracle"]},
    )
    assert report.poolings == ["mean", "bm25", "best-chunk", "hybrid"]
    from glot_rag.evaluation import corrupt, measure, search

    texts = [n.text for n in corrupt(list(dataset.documents.values()), NoiseSpec("words", 0.8), seed=0, max_words=40)]
    ids, asked, queries = list(dataset.documents), list(dataset.queries), list(dataset.queries.values())

    def run(start: StartSearch) -> dict[str, dict[str, float]]:
        found = search_texts(start, texts, queries, 100)
        return {query: {ids[row]: score for row, score in each} for query, each in zip(asked, found, strict=True)}

    words = run(BM25)
    oracle = search(ids, embedder(texts)["oracle"], asked, embedder(queries)["oracle"], 100)
    expected = {
        "bm25": measure(dataset.qrels, words),
        "best-chunk": measure(dataset.qrels, run(chunked)),
        "hybrid": measure(dataset.qrels, fuse([words, oracle], 100)),
    }
    for name, metrics in expected.items():
        result = report.result(name, "words", 0.8)
        assert result is not None
        assert result.metrics == pytest.approx(metrics)


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("bm25s", lambda: BM25(["a"], 1)),
        ("trafilatura", lambda: strip_boilerplate("a")),
        ("sentence_transformers", lambda: load_stock("minilm")),
    ],
)
def test_missing_packages(monkeypatch: pytest.MonkeyPatch, package: str, call: Callable[[], object]) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="pip install 'glot-rag"):
        call()


def test_the_embedding_is_asked_once_for_all_windows(hasher: Hash) -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> Vectors:
        calls.append(len(texts))
        return hasher(texts)

    search_texts(partial(BestChunk, counted, hasher), [PARAGRAPH, PARAGRAPH], ["wing"], 1)
    assert calls == [2 * len(sentence_windows(PARAGRAPH))]
