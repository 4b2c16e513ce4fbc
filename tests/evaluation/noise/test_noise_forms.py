"""Placements, granularities and mixtures of noise."""

from __future__ import annotations

import itertools
import random

import pytest

from glot_rag.errors import InputError
from glot_rag.evaluation import Corrupted, NoiseMixture, NoiseSpec, corrupt, parse_noise
from glot_rag.evaluation.noise.generators import evaluation_words
from glot_rag.evaluation.noise.layout import pieces

OWN = [f"π{i}" for i in range(300)]


def noisy(text: str, length: int = 300, max_words: int = 170, seed: int = 0) -> Corrupted:
    return corrupt([" ".join(OWN[:length]), "ω " * 200], parse_noise(text), seed=seed, max_words=max_words)[0]


def runs(each: Corrupted) -> list[list[str]]:
    """The words between two neighbours of the signal, before the first and after the last."""
    gaps: list[list[str]] = [[]]
    for word, own in zip(each.text.split(), each.signal_mask, strict=True):
        if own:
            gaps.append([])
        else:
            gaps[-1].append(word)
    return gaps


@pytest.mark.parametrize(
    ("text", "noise", "label"),
    [
        ("words:0.8", NoiseSpec("words", 0.8), "words"),
        ("boilerplate:0.8@end", NoiseSpec("boilerplate", 0.8, "end"), "boilerplate@end"),
        ("log:.5/lines", NoiseSpec("log", 0.5, "random", "lines"), "log/lines"),
        ("log:0.5@start/words", NoiseSpec("log", 0.5, "start", "words"), "log@start/words"),
        (
            "words:0.4 + log:0.4@end",
            NoiseMixture((NoiseSpec("words", 0.4), NoiseSpec("log", 0.4, "end"))),
            "words+log@end",
        ),
        (
            "words:0.2+log:0.4",
            NoiseMixture((NoiseSpec("words", 0.2), NoiseSpec("log", 0.4))),
            "words:0.2+log:0.4",
        ),
        (
            "ocr:0.4+log:0.4",
            NoiseMixture((NoiseSpec("ocr", 0.4), NoiseSpec("log", 0.4))),
            "ocr:0.4+log:0.4",
        ),
    ],
)
def test_parse(text: str, noise: NoiseSpec | NoiseMixture, label: str) -> None:
    assert parse_noise(text) == noise
    assert noise.label == label
    assert parse_noise(str(noise)) == noise


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words:0.8@middle", r"Unknown placement of noise 'middle'.*random, start, end, interleaved"),
        ("words:0.8/pages", r"Unknown granularity of noise 'pages'.*own, words, lines, paragraphs"),
        ("words@end:0.8", "Unknown kind of noise 'words@end'"),
        ("words:@end", "Cannot read the noise setting 'words:@end'"),
        ("words:0.8@", "Unknown placement of noise ''"),
        ("ocr:0.5@end", "'ocr' adds no words, so it takes no placement"),
        ("words:0.5+log:0.5", r"'words:0.5\+log:0.5' add up to 1: expected less than 1"),
        ("words:0.5+none", "none of them 'none'"),
        ("ocr:0.5+ocr:0.2", "one 'ocr' at most"),
        ("words:0.5+", "Cannot read the noise setting ''"),
    ],
)
def test_bad_settings(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_noise(text)


@pytest.mark.parametrize("kind", ["words", "boilerplate", "log", "offtopic"])
def test_a_placement_moves_the_same_pieces(kind: str) -> None:
    anywhere = noisy(f"{kind}:0.5")
    for placement, place in (("start", 0), ("end", -1)):
        moved = noisy(f"{kind}:0.5@{placement}")
        gaps = runs(moved)
        assert len(gaps.pop(place)) == 85
        assert not any(gaps)
        assert moved.signal == anywhere.signal == " ".join(OWN[:85])
        assert sorted(moved.text.split()) == sorted(anywhere.text.split())


def test_interleaved_is_spread_evenly() -> None:
    # 34 words survive, 136 common words one by one: 35 gaps, the k-th of 136 after 34 k / 137 of the signal.
    sizes = [len(run) for run in runs(noisy("words:0.8@interleaved"))]
    expected = [0] * 35
    for k in range(1, 137):
        expected[round(k * 34 / 137)] += 1
    assert sizes == expected
    assert max(sizes) - min(sizes[1:-1]) <= 2


@pytest.mark.parametrize(
    ("granularity", "fewest", "most"), [("words", 1, 3), ("lines", 5, 20), ("paragraphs", 40, 120)]
)
@pytest.mark.parametrize("kind", ["words", "boilerplate", "markup"])
def test_granularity(kind: str, granularity: str, fewest: int, most: int) -> None:
    # One piece a gap at most, as there are far more gaps: the pieces are what stands between two words of the signal.
    each = noisy(f"{kind}:0.5@interleaved/{granularity}", max_words=0)
    pieces = [len(run) for run in runs(each) if run]
    assert sum(pieces) == 300
    cut = pieces.pop()  # the last one is cut so that the count is exact
    assert cut <= most
    if granularity != "words":  # those may share a gap
        assert all(fewest <= piece <= most for piece in pieces)
    else:
        assert len(pieces) > 100


def test_paragraphs_are_of_whole_lines() -> None:
    lines = ([f"{number}.{i}" for i in range(8)] for number in itertools.count())
    paragraphs = list(itertools.islice(pieces(lines, "paragraphs", random.Random(0)), 50))
    assert all(40 <= len(words) <= 120 and len(words) % 8 == 0 for words in paragraphs)
    assert len({len(words) for words in paragraphs}) > 5
    assert [word for words in paragraphs for word in words][:17] == [f"{i // 8}.{i % 8}" for i in range(17)]


def test_a_mixture_has_each_part_at_its_ratio() -> None:
    each = noisy("words:0.4+offtopic:0.3@end")
    gaps = runs(each)
    assert [len(each.text.split()), each.signal_mask.count(True)] == [170, 51]
    noise = [word for gap in gaps for word in gap]
    assert (len(noise), noise.count("ω")) == (119, 51)
    assert gaps[-1].count("ω") == 51  # all of it at the end
    assert {word for gap in gaps for word in gap} - {"ω"} <= set(evaluation_words())
    assert sum(bool(gap) for gap in gaps) > 20  # the other part is not


def test_the_same_kind_twice_is_not_the_same_noise_twice() -> None:
    gaps = runs(noisy("gibberish:0.3@start+gibberish:0.3@end"))
    assert (len(gaps[0]), len(gaps[-1])) == (51, 51)
    assert not set(gaps[0]) & set(gaps[-1])


def test_a_mixture_is_seeded() -> None:
    text = "words:0.2+log:0.3@interleaved+ocr:0.5"
    assert noisy(text, seed=4) == noisy(text, seed=4)
    assert noisy(text, seed=4).text != noisy(text, seed=5).text
    assert noisy(text, seed=4).signal == noisy(text, seed=5).signal


def test_ocr_in_a_mixture_damages_the_words_that_are_left() -> None:
    each = noisy("words:0.5+ocr:0.4")
    words = each.text.split()
    assert each.signal == " ".join(OWN[:85])
    assert each.signal_mask.count(False) == 85
    assert all(each.signal_mask[place] for place in each.damaged)
    undamaged = [word for i, word in enumerate(words) if each.signal_mask[i] and i not in set(each.damaged)]
    assert len(undamaged) == 85 - 34
    assert set(undamaged) <= set(OWN[:85])
