"""Naive rules against what can be worked out by hand, and SIF against its formula in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glot_rag import TorchEncoder
from glot_rag.errors import InputError
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, NoiseSpec, corrupt, evaluate, measure, search
from glot_rag.evaluation.baselines import count_frequent_words, count_recurring_runs
from glot_rag.evaluation.baselines.sif import sif_over
from glot_rag.evaluation.kept_words import kept_words
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone

Encoders = dict[str, Any]


def test_words_of_more_than_a_tenth_of_the_documents_go() -> None:
    documents = [f"a{i} b{i}" for i in range(20)]
    documents[0] = "Home, wings HOME (wings) twice twice"
    documents[1] += " home"
    documents[2] += "\n«lift» | home"
    documents[3] += " wings"
    drop = count_frequent_words(documents)
    # Of 20 documents three have "home" and two "wings", which is a tenth and no more; "twice" stands in one, twice.
    assert drop(documents[:4]) == ["wings (wings) twice twice", "a1 b1", "a2 b2 «lift» |", "a3 b3 wings"]
    assert drop(["home", "Home home", "", "nothing of it", "home run"]) == [
        "home",  # what would go whole stays
        "Home home",
        "",
        "nothing of it",
        "run",
    ]


def test_runs_of_four_words_in_four_documents_go() -> None:
    documents = [f"a{i} we use cookies here b{i}" for i in range(4)] + ["read more about wings now"] * 3
    documents[0] = "We use cookies, here today. We use cookies"
    drop = count_recurring_runs(documents)
    assert drop(documents) == ["today. We use cookies", *(f"a{i} b{i}" for i in range(1, 4)), *documents[4:]]
    # Runs may overlap; shorter texts have none; what would go whole stays.
    overlapping = count_recurring_runs(["x one two three four five"] * 4)
    assert overlapping(["one two three four five six", "two three four", "one two three four"]) == [
        "six",
        "two three four",
        "one two three four",
    ]
    assert count_recurring_runs(["", "a"])(["a b c d", ""]) == ["a b c d", ""]


def test_naive_rules_count_the_noisy_documents_of_each_setting(
    collection: MemoryCollection, encoders: Encoders
) -> None:
    noises = [NoiseSpec("words", 0.8), NoiseSpec("gibberish", 0.5)]
    settings = EvaluationSettings(noises, max_words=40, baselines=["df-drop", "ngram-drop"], batch_size=7, costs=False)
    report = evaluate(collection, {"mean": encoders["mean"]}, settings)
    assert report.labels == ["mean", "df-drop", "ngram-drop"]
    ids, queries = list(collection.documents), list(collection.queries)
    asked = encoders["mean"].encode_queries(list(collection.queries.values()))
    for noise in noises:
        noisy = corrupt(list(collection.documents.values()), noise, seed=0, max_words=40)
        texts = [each.text for each in noisy]
        for name, count in (("df-drop", count_frequent_words), ("ngram-drop", count_recurring_runs)):
            read = count(texts)(texts)
            found = search(ids, encoders["mean"].encode_documents(read), queries, asked, 100)
            result = report.result(name, noise.label, noise.ratio)
            assert result is not None
            assert result.metrics == pytest.approx(measure(collection.qrels, found))
            each = [kept_words(text, own.signal) for text, own in zip(read, noisy, strict=True)]
            assert result.kept_words is not None
            assert list(result.kept_words.values()) == pytest.approx(np.mean(each, axis=0).tolist())


@pytest.mark.parametrize("common_component", [False, True])
def test_sif_is_the_papers_formula(minilm: Backbone, common_component: bool) -> None:
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384), query_prompt="query: ")
    texts = [
        "The kettle boils water",
        "The wing carries the weight of the aircraft",
        "The the the of",
        "A bicycle chain of steel",
    ]
    sequences = minilm.tokenizer(texts)
    tokens = np.concatenate(sequences)
    share = np.bincount(tokens, minlength=30_522) / len(tokens)

    def weighted(ids: list[int]) -> Any:
        (batch,) = minilm.pack([ids])
        states = minilm.hidden_states(batch)[0][0][0].numpy()
        return ((0.001 / (0.001 + share[ids]))[:, None] * states).mean(axis=0)

    expected = np.stack([weighted(ids) for ids in sequences])
    asked = np.stack([weighted(ids) for ids in minilm.tokenizer(["query: boiling"])])
    if common_component:
        first = np.linalg.svd(expected.astype(np.float64), full_matrices=False)[2][0]
        expected, asked = (each - np.outer(each @ first, first) for each in (expected, asked))
    sif = sif_over(mean, common_component=common_component)(texts)
    for ours, theirs in ((sif.encode_documents(texts), expected), (sif.encode_queries(["boiling"]), asked)):
        np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-5)


def test_sif_in_the_table_has_fingerprints_of_its_own(minilm: Backbone) -> None:
    documents = {f"d{i}": f"The kettle number {i} boils water for {name}" for i, name in enumerate("abcdefgh")}
    given = MemoryCollection("toy", documents, {"q": "kettle 3"}, {"q": {"d3": 1}})
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    settings = EvaluationSettings(["none"], baselines=["sif", "sif-weights"], costs=False, metrics=["mrr@10"])
    report = evaluate(given, {"mean": mean}, settings)
    assert report.labels == ["mean", "SIF", "SIF, weights alone"]
    made = [sif_over(mean, common_component=each)(texts) for each in (True, False) for texts in (["a"], ["a b"])]
    assert len({mean.fingerprint, *(each.fingerprint for each in made)}) == 5


def test_sif_without_torch_is_refused(collection: MemoryCollection, encoders: Encoders) -> None:
    settings = EvaluationSettings(["none"], baselines=["sif"], costs=False)
    with pytest.raises(InputError, match="The baseline 'sif' needs an encoder that runs torch: leave it out"):
        evaluate(collection, {"mean": encoders["mean"]}, settings)
