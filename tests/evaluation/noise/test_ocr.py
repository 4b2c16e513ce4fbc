from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.evaluation import NoiseSpec, corrupt
from glot_rag.evaluation.noise.ocr import CONFUSIONS, damage

PROSE = ("the flow around a slender wing at incidence, where vortices roll up behind its leading edge " * 20).split()


@settings(deadline=None, max_examples=50)
@given(
    words=st.lists(st.text(st.characters(exclude_categories=("Cs", "Z", "Cc")), min_size=1, max_size=9), max_size=60),
    ratio=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_exactly_the_share_is_damaged_and_the_rest_is_untouched(words: list[str], ratio: float, seed: int) -> None:
    read, damaged = damage(words, ratio, random.Random(seed))
    assert len(read) == len(damaged)
    # What is untouched stands in order; between two such words stands what became of the damaged ones.
    chosen = set(random.Random(seed).sample(range(len(words)), round(ratio * len(words))))
    assert [word for word, is_damaged in zip(read, damaged, strict=True) if not is_damaged] == [
        word for index, word in enumerate(words) if index not in chosen
    ]
    assert len(read) <= len(words) + len(chosen)
    assert any(damaged) == bool(chosen)


def test_every_damaged_word_differs() -> None:
    for seed in range(40):
        for word in ("wing", "a", "7", "—", "été", "minimum", "rn", "vvv"):
            read, damaged = damage([word], 1.0, random.Random(seed))
            assert read != [word]
            assert all(damaged)
            assert all(read)


def test_confused_broken_joined_and_specked() -> None:
    read, damaged = damage(PROSE, 0.6, random.Random(0))
    assert 0.55 < sum(damaged) / len(read) < 0.68
    bad = [word for word, is_damaged in zip(read, damaged, strict=True) if is_damaged]
    vocabulary = set(PROSE)
    joined = [w for w in bad if any(w == a + b for a in vocabulary for b in vocabulary)]
    broken = [a + b for a, b in itertools.pairwise(read) if a.rstrip("-") + b in vocabulary]
    assert len(joined) > 3
    assert len(broken) > 5
    assert sum(any(c in "0123456789" for c in word) for word in bad) > 5


def test_no_confusion_gives_the_glyph_itself() -> None:
    assert all(glyph not in read and len(glyph) <= 2 for glyph, read in CONFUSIONS.items())


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8])
def test_the_signal_is_the_undamaged_document(ratio: float) -> None:
    text = " ".join(PROSE)
    [noisy] = corrupt([text], NoiseSpec("ocr", ratio), seed=0)
    assert noisy.signal == " ".join(PROSE[:170])
    assert all(noisy.signal_mask)
    words = noisy.text.split()
    assert len(words) == len(noisy.signal_mask)
    untouched = [word for place, word in enumerate(words) if place not in set(noisy.damaged)]
    assert len(untouched) == 170 - round(170 * ratio)
    assert (noisy.text == noisy.signal) == (ratio == 0.0)
    assert corrupt([text], NoiseSpec("ocr", ratio), seed=0) == [noisy]
    if ratio:
        assert corrupt([text], NoiseSpec("ocr", ratio), seed=1) != [noisy]
