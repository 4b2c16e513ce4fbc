from __future__ import annotations

import numpy as np
import pytest

from glot_rag.training.block_labels import noise_at, noise_of_page, spans_of_words


def marked(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_words_in_a_run_of_three_of_the_main_content_are_kept() -> None:
    page = "Home | About\nThe cat sat on the mat today.\nHome\nThe cat, © 2024"
    gold = "The Cat sat: on the mat today"
    assert marked(page, noise_of_page(page, gold)) == ["Home | About", "Home\nThe cat, © 2024"]


@pytest.mark.parametrize("gold", ["", "two words"])
def test_a_main_content_without_runs_makes_all_words_noise(gold: str) -> None:
    assert marked("one two words", noise_of_page("one two words", gold)) == ["one two words"]


def test_spans_join_neighbours() -> None:
    assert marked("a b c d e", spans_of_words("a b c d e", [False, False, True, False, True])) == ["a b", "d"]
    assert spans_of_words("a b", [True, True]) == []


def test_noise_at_looks_at_the_middle() -> None:
    noise = [(2, 6), (10, 12)]
    spans = np.array([[0, 2], [1, 4], [4, 6], [5, 9], [9, 12], [12, 20]])
    assert noise_at(noise, spans).tolist() == [False, True, True, False, True, False]
    assert noise_at([], spans).tolist() == [False] * 6
    assert noise_at(noise, np.zeros((0, 2), np.int64)).tolist() == []
