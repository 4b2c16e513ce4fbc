from __future__ import annotations

import importlib
import itertools
import random
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.denoise.line_grammars import fill, log_format, page_line, templates
from glot_rag.denoise.noisy_views import CLEAN_SHARE, FAMILIES, LINE_FAMILIES, NoiseGenerator
from glot_rag.errors import InputError
from glot_rag.evaluation.noise import boilerplate, ocr
from glot_rag.evaluation.noise.families import LINE_FAMILIES as EVALUATION_FAMILIES
from glot_rag.evaluation.noise.families import chat, headers, languages, logs, markup, strings

words = st.text(st.characters(exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), min_size=1, max_size=8)
corpora = st.lists(st.lists(words, min_size=12, max_size=60).map(" ".join), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(corpus=corpora, seed=st.integers(0, 2**62), number=st.integers(0, 5))
def test_the_signal_is_the_text_in_order(corpus: list[str], seed: int, number: int) -> None:
    generator = NoiseGenerator(corpus, seed)
    for index, text in enumerate(corpus):
        view = generator.view(index, number)
        assert len(view.words) == len(view.is_noise)
        kept = view.signal.split()
        assert kept == text.split()[: len(kept)]
        assert len(kept) >= min(8, len(text.split()))
        assert view.text.split() == list(view.words)
        assert all(word and not word.isspace() for word in view.words)


@pytest.fixture(scope="module")
def corpus(prose: list[tuple[str, str]]) -> list[str]:
    return [text for _, text in prose[:150]]


def test_a_view_depends_on_seed_index_and_number_alone(corpus: list[str]) -> None:
    one, same, other = NoiseGenerator(corpus, 5), NoiseGenerator(corpus, 5), NoiseGenerator(corpus, 6)
    asked = [(i, n) for i in range(12) for n in range(3)]
    views = {key: one.view(*key) for key in asked}
    assert all(same.view(*key) == views[key] for key in reversed(asked))  # in another order
    assert len({view.text for view in views.values()}) > 20
    assert sum(other.view(*key) != views[key] for key in asked) > 20


def test_a_share_of_views_is_clean_and_the_rest_spans_all_noise_ratios(corpus: list[str]) -> None:
    generator = NoiseGenerator(corpus, 0)
    views = [generator.view(i, n) for i in range(len(corpus)) for n in range(4)]
    ratios = np.array([sum(view.is_noise) / len(view.words) for view in views])
    clean = (ratios == 0).mean()
    assert abs(clean - CLEAN_SHARE) < 4 * (CLEAN_SHARE * (1 - CLEAN_SHARE) / len(views)) ** 0.5
    assert np.quantile(ratios[ratios > 0], 0.1) < 0.3
    assert np.quantile(ratios[ratios > 0], 0.9) > 0.7
    assert max(len(view.words) for view in views) <= 180


def test_single_words_are_the_texts_own_common_and_rare(corpus: list[str]) -> None:
    generator = NoiseGenerator(corpus, 1)
    runs = [run for seed in range(40) for run in generator._words(np.random.default_rng(seed), wanted=50, index=0)]
    drawn = [word for run in runs for word in run]
    of_all = {word.strip(string.punctuation).lower() for text in corpus for word in text.split()}
    assert set(drawn) <= of_all
    assert len(set(drawn)) > 200


def evaluation_templates() -> list[str]:
    """Every template of the evaluation: its boilerplate, and the strings in the modules of its families."""
    found = list(boilerplate.templates())
    for module in (chat, headers, logs, markup, strings):
        for value in vars(module).values():
            if isinstance(value, tuple):
                found += [each for each in value if isinstance(each, str)]
    found += [" ".join(each) for slots in languages.grammars().values() for each in itertools.product(*slots)]
    return found


def plain(template: str) -> str:
    return " ".join(re.sub(r"[^a-z ]+", " ", re.sub(r"\{\w+\}", " ", template.lower())).split())


def test_evaluation_shares_no_template() -> None:
    own, evaluation = set(map(plain, templates())), {plain(each) for each in evaluation_templates()}
    assert len(own) > 60
    assert len(evaluation) > 10_000
    assert not (own & evaluation) - {""}


def test_evaluation_makes_no_line_that_training_makes() -> None:
    vocabulary = ["alpha", "beta", "gamma"]
    own = {
        plain(page_line(np.random.default_rng(seed), vocabulary, family))
        for family in ("page", "log", "markup", "header")
        for seed in range(150)
    }
    for family in EVALUATION_FAMILIES.values():
        for seed in range(10):
            made = {plain(line) for line in itertools.islice(family(random.Random(seed)), 20)}
            # One word (a lone page number, "sha") is no line that a head could memorise.
            assert not {line for line in made & own if len(line.split()) > 1}


def test_evaluation_confuses_other_characters() -> None:
    """No pair of characters that training confuses, in whatever table, is one that evaluation confuses."""
    tables = [
        value
        for name in ("denoise.noisy_views", "denoise.line_grammars", "training.views")
        for value in vars(importlib.import_module(f"glot_rag.{name}")).values()
        if isinstance(value, dict)
    ]
    pairs = {
        (glyph, read)
        for table in tables
        for glyph, reads in table.items()
        if isinstance(glyph, str) and len(glyph) <= 2 and isinstance(reads, (str, tuple, list))
        for read in reads
    }
    evaluation = {(glyph, read) for glyph, reads in ocr.CONFUSIONS.items() for read in reads}
    assert len(evaluation) > 80
    assert not pairs & evaluation


def test_passages_are_of_other_texts(corpus: list[str]) -> None:
    distinct = [" ".join(f"{letter}{i}" for i in range(40)) for letter in "abc"]
    generator = NoiseGenerator(distinct, 2)
    for seed in range(20):
        passage = [word for run in generator._offtopic(np.random.default_rng(seed), wanted=30, index=1) for word in run]
        assert len(passage) == 30
        assert {word[0] for word in passage} <= {"a", "c"}


LINES = {
    kind: [f"{kind} line number {i} of many" for i in range(20)] for kinds in LINE_FAMILIES.values() for kind in kinds
}


def test_every_family_gives_as_many_words_as_asked(corpus: list[str]) -> None:
    generator = NoiseGenerator(corpus, 3, LINES)
    assert tuple(generator._families) == FAMILIES
    for _, family in generator._families.values():
        for wanted in (1, 7, 60):
            runs = family(np.random.default_rng(wanted), wanted, 0)
            assert all(runs)
            assert sum(map(len, runs)) == wanted


def test_real_lines_are_in_the_noise_and_a_family_can_be_left_out(corpus: list[str]) -> None:
    def noise(generator: NoiseGenerator) -> str:
        views = [generator.view(i, 0) for i in range(len(corpus))]
        return " ".join(
            word for view in views for word, is_noise in zip(view.words, view.is_noise, strict=True) if is_noise
        )

    everything = noise(NoiseGenerator(corpus, 3, LINES))
    assert all(f"{kind} line number" in everything for kind in ("page", "code", "legal"))
    without = noise(NoiseGenerator(corpus, 3, LINES, without=["page"]))
    assert "page line number" not in without
    assert "code line number" in without
    assert "line number" not in noise(NoiseGenerator(corpus, 3))
    with pytest.raises(InputError, match="noise family must be one of words"):
        NoiseGenerator(corpus, 3, without=["pages"])


def test_log_formats_fill_every_slot() -> None:
    lines = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lines += [fill(rng, template, ["alpha", "beta", "gamma"]) for template in log_format(rng)]
    assert len(set(lines)) > 200
    assert not [line for line in lines if re.search(r"\{\w\}", line)]


def test_a_corpus_without_words_still_has_noise() -> None:
    view = NoiseGenerator(["1 2 3 4 5 6 7 8 9 10 11 12"], 0).view(0, 1)
    assert view.signal.split()[:8] == [str(i) for i in range(1, 9)]


def test_lines_fill_every_slot(corpus: list[str]) -> None:
    vocabulary = ["alpha", "beta", "gamma"]
    lines = [page_line(np.random.default_rng(seed), vocabulary) for seed in range(600)]
    assert len(set(lines)) > 450
    assert all(line.strip() for line in lines)
    for slot in "wWndthuevx":
        assert not [line for line in lines if "{" + slot + "}" in line]
    assert len(templates()) > 30
    for family in ("log", "markup", "header"):
        assert len({page_line(np.random.default_rng(seed), vocabulary, family) for seed in range(100)}) > 50
