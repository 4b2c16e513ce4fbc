"""Corpus statistics against plain Python, by groups too, and the file they are kept in."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from glot_rag.denoise import corpus_statistics as module
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
    monkeypatch.setattr(module, "_CHUNK", 50)
    again = CorpusStatistics.count(iter(documents), V)
    assert again.fingerprint == statistics.fingerprint


def test_saved_and_read(statistics: CorpusStatistics, tmp_path: Path) -> None:
    statistics.save(tmp_path / "counts")
    again = CorpusStatistics.load(tmp_path / "counts")
    assert again.fingerprint == statistics.fingerprint
    assert again.documents == 60
    assert again.token_prior is None
    prior = np.linspace(-1, 1, V).astype(np.float32)
    judged = dataclasses.replace(statistics, token_prior=prior)
    assert judged.fingerprint != statistics.fingerprint
    judged.save(tmp_path / "judged")
    again = CorpusStatistics.load(tmp_path / "judged")
    assert (again.fingerprint, again.checksum) == (judged.fingerprint, judged.checksum)
    assert again.features(np.array([[3, 5]]), np.zeros(V, np.float32))[0, :, 4] == pytest.approx(prior[[3, 5]])


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.full(V, np.nan, np.float32), np.zeros(V)])
def test_a_token_prior_that_does_not_fit(wrong: np.ndarray, statistics: CorpusStatistics, tmp_path: Path) -> None:
    statistics.save(tmp_path / "counts")
    save_file({**load_file(tmp_path / "counts"), "token_prior": wrong}, tmp_path / "counts")
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
    with pytest.raises(BundleError, match="does not hold corpus statistics"):
        CorpusStatistics.load(path)


def test_what_is_serialised_otherwise_has_the_same_fingerprint(statistics: CorpusStatistics, tmp_path: Path) -> None:
    """The bytes of a file are no part of it: a library may write another header or order."""
    path = tmp_path / "counts"
    statistics.save(path)
    before = path.read_bytes()
    arrays = load_file(path)
    save_file(dict(reversed(arrays.items())), path, metadata={"written": "otherwise"})
    assert path.read_bytes() != before
    again = CorpusStatistics.load(path)
    assert (again.fingerprint, again.checksum) == (statistics.fingerprint, statistics.checksum)


def test_the_values_of_the_token_prior_are_no_part_of_the_fingerprint(statistics: CorpusStatistics) -> None:
    """They follow from the counts, and another processor rounds otherwise; the checksum of the files has them."""
    one = dataclasses.replace(statistics, token_prior=np.zeros(V, np.float32))
    other = dataclasses.replace(statistics, token_prior=np.full(V, 1 / 16, np.float32))
    assert one.fingerprint == other.fingerprint != statistics.fingerprint
    assert one.checksum != other.checksum


# ---- groups

BAR = [40, 41, 42, 43]


@pytest.fixture(scope="module")
def grouped() -> tuple[list[list[int]], list[str]]:
    """400 documents of random tokens, no three of which recur; a site of seven has a bar in each of its pages."""
    rng = np.random.default_rng(3)
    documents = [rng.integers(0, 40, size=6).tolist() for _ in range(400)]
    for row in range(7):
        documents[row] = [*BAR, *documents[row]]
    return documents, [*["small.example"] * 7, *["large.example"] * 392, "alone.example"]


def test_what_recurs_within_a_small_group_counts_for_its_documents(
    grouped: tuple[list[list[int]], list[str]],
) -> None:
    documents, groups = grouped
    statistics = CorpusStatistics.count(documents, V, groups)
    ids, background = np.array([BAR, BAR, BAR]), np.zeros(V, np.float32)
    features = statistics.features(ids, background, ["small.example", "large.example", "never.seen"])
    # In the corpus the bar stands in 7 of 400 documents. In its group it stands in 7 of 7, which counts as
    # (7 - 1) / (7 + 1) of the corpus.
    assert features[0, :, 0] == pytest.approx([math.log(400 * 6 / 8)] * 4, abs=1e-5)
    assert features[0, :, 1] == pytest.approx([math.log(6 / 8)] * 4, abs=1e-5)
    for row in (1, 2):
        assert features[row, :, 0] == pytest.approx([math.log(7)] * 4, abs=1e-5)
        assert features[row, :, 1] == pytest.approx([math.log(7 / 400)] * 4, abs=1e-5)
    # The other three features are those of the corpus, and without groups nothing changes.
    np.testing.assert_array_equal(features[0, :, 2:], features[1, :, 2:])
    plain = CorpusStatistics.count(documents, V)
    np.testing.assert_array_equal(statistics.features(ids, background), plain.features(ids, background))
    np.testing.assert_array_equal(plain.features(ids, background, groups[:3]), plain.features(ids, background))
    assert statistics.fingerprint != plain.fingerprint


def test_the_share_in_a_group_is_that_of_the_definition(grouped: tuple[list[list[int]], list[str]]) -> None:
    documents, groups = grouped
    by_group = CorpusStatistics.count(documents, V, groups).by_group
    assert by_group is not None
    assert sorted(by_group.documents_of_group) == [7, 392]  # a group of one document says nothing
    for name in ("small.example", "large.example"):
        own = [document for document, group in zip(documents, groups, strict=True) if group == name]
        counts = Counter(p for each in own for p in set(zip(each, each[1:], each[2:], strict=False)))
        phrases = list(counts)[:300]
        keys = np.array([(a * V + b) * V + c for a, b, c in phrases])
        expected = [(counts[phrase] - 1) / (len(own) + 1) for phrase in phrases]
        assert by_group.share(keys, name) == pytest.approx(expected)
    assert by_group.share(keys, "alone.example") == pytest.approx(np.zeros(len(keys)))


def test_groups_are_saved_without_their_names(grouped: tuple[list[list[int]], list[str]], tmp_path: Path) -> None:
    statistics = CorpusStatistics.count(*grouped[:1], V, grouped[1])
    statistics.save(tmp_path / "counts")
    assert b"small.example" not in (tmp_path / "counts").read_bytes()
    again = CorpusStatistics.load(tmp_path / "counts")
    assert again.fingerprint == statistics.fingerprint
    features = (
        each.features(np.array([BAR]), np.zeros(V, np.float32), ["small.example"]) for each in (statistics, again)
    )
    np.testing.assert_array_equal(*features)


@pytest.mark.parametrize("name", ["groups", "phrases_of_group", "documents_with_group_phrase", "documents_of_group"])
def test_groups_that_contradict_each_other(
    name: str, grouped: tuple[list[list[int]], list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "counts"
    CorpusStatistics.count(*grouped[:1], V, grouped[1]).save(path)
    arrays = load_file(path)
    save_file({**arrays, name: arrays[name][:-1]}, path)
    with pytest.raises(BundleError, match="contradict each other"):
        CorpusStatistics.load(path)
