"""Counts of what a collection repeats, against plain Python, and the file they are kept in."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from glot_rag.denoise import corpus_statistics as collection
from glot_rag.denoise.corpus_statistics import CorpusStatistics
from glot_rag.errors import BundleError, InputError

V = 50


@pytest.fixture(scope="module")
def documents() -> list[list[int]]:
    """60 documents of 0 to 60 random tokens; most of them hold the same eight in a row."""
    rng = np.random.default_rng(0)
    found = [rng.integers(8, V, size=int(n)).tolist() for n in rng.integers(0, 60, size=60)]
    for row in range(0, 60, 2):
        at = len(found[row]) // 2
        found[row][at:at] = list(range(8))
    return found


@pytest.fixture(scope="module")
def statistics(documents: list[list[int]]) -> CorpusStatistics:
    return CorpusStatistics.count(documents, V)


def test_features_are_those_of_the_definitions(documents: list[list[int]], statistics: CorpusStatistics) -> None:
    rng = np.random.default_rng(1)
    background = np.log(rng.dirichlet(np.ones(V))).astype(np.float32)
    occurrences = Counter(token for each in documents for token in each)
    having = Counter(token for each in documents for token in set(each))
    phrases = Counter(p for each in documents for p in set(zip(each, each[1:], each[2:], strict=False)))
    for document in documents[:10]:
        if not document:
            continue
        (got,) = statistics.features(np.array([document]), background)
        for place, token in enumerate(document):
            around = [tuple(document[i : i + 3]) for i in range(place - 2, place + 1) if i >= 0]
            phrase = max((phrases[p] for p in around if len(p) == 3), default=1)
            excess = math.log(occurrences[token] / sum(occurrences.values())) - background[token]
            by_chance = 60 * (1 - math.exp(-occurrences[token] / 60))
            assert got[place] == pytest.approx(
                [math.log(phrase), math.log(phrase / 60), excess, math.log(by_chance / having[token]), 0.0], abs=1e-5
            )
    assert max(phrases.values()) >= 30


def test_what_was_not_counted_stands_once(statistics: CorpusStatistics) -> None:
    unseen = CorpusStatistics.count([[1]] * 50, V)
    got = unseen.features(np.array([[7, 8]]), np.zeros(V, np.float32))[0]
    by_chance = math.log(50 * (1 - math.exp(-1 / 50)))
    assert got[0] == pytest.approx([0.0, -math.log(50), math.log(1 / 50), by_chance, 0.0], abs=1e-6)


def test_merging_in_parts_counts_the_same(
    documents: list[list[int]], statistics: CorpusStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_CHUNK", 50)
    again = CorpusStatistics.count(iter(documents), V)
    assert again.fingerprint == statistics.fingerprint


def test_saved_and_read(statistics: CorpusStatistics, tmp_path: Path) -> None:
    statistics.save(tmp_path / "counts")
    again = CorpusStatistics.load(tmp_path / "counts")
    assert again.fingerprint == statistics.fingerprint
    assert again.documents == 60
    assert again.opinion is None
    opinion = np.linspace(-1, 1, V).astype(np.float32)
    judged = dataclasses.replace(statistics, opinion=opinion)
    assert judged.fingerprint != statistics.fingerprint
    judged.save(tmp_path / "judged")
    again = CorpusStatistics.load(tmp_path / "judged", judged.fingerprint)
    assert again.features(np.array([[3, 5]]), np.zeros(V, np.float32))[0, :, 4] == pytest.approx(opinion[[3, 5]])


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.full(V, np.nan, np.float32), np.zeros(V)])
def test_an_opinion_that_does_not_fit(wrong: np.ndarray, statistics: CorpusStatistics, tmp_path: Path) -> None:
    statistics.save(tmp_path / "counts")
    save_file({**load_file(tmp_path / "counts"), "opinion": wrong}, tmp_path / "counts")
    with pytest.raises(BundleError, match="contradict each other"):
        CorpusStatistics.load(tmp_path / "counts")


@pytest.mark.parametrize("number", [0, 49])
def test_too_few_documents(number: int) -> None:
    with pytest.raises(InputError, match=f"cannot be told from {number} documents: expected at least 50"):
        CorpusStatistics.count([[1, 2]] * number, V)


def test_a_vocabulary_whose_phrases_would_not_fit_a_number() -> None:
    with pytest.raises(InputError, match="a vocabulary of 3,000,000 is too large"):
        CorpusStatistics.count([[1]] * 50, 3_000_000)


@pytest.mark.parametrize("name", ["occurrences", "documents_with_phrase", "phrases", "documents"])
def test_counts_that_contradict_each_other(name: str, statistics: CorpusStatistics, tmp_path: Path) -> None:
    path = tmp_path / "counts"
    statistics.save(path)
    arrays = load_file(path)
    arrays[name] = -arrays[name][:-1] if name != "phrases" else arrays[name][::-1].copy()
    save_file(arrays, path)
    with pytest.raises(BundleError, match="contradict each other"):
        CorpusStatistics.load(path)


def test_damaged_files(statistics: CorpusStatistics, tmp_path: Path) -> None:
    path = tmp_path / "counts"
    with pytest.raises(BundleError, match="cannot be read"):
        CorpusStatistics.load(path)
    statistics.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="is damaged"):
            CorpusStatistics.load(path)
    save_file({"occurrences": np.zeros(3, np.float32)}, path)
    with pytest.raises(BundleError, match="does not hold a collection's counts"):
        CorpusStatistics.load(path)
