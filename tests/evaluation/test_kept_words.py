from __future__ import annotations

import pytest

from glot_rag.evaluation.kept_words import KeptWords, kept_words


@pytest.mark.parametrize(
    ("kept", "gold", "expected"),
    [
        ("the wing lifts", "The wing lifts.", (1.0, 1.0, 1.0)),
        ("home news the wing", "the wing lifts a plane", (0.5, 0.4, 4 / 9)),
        ("wing wing wing", "wing", (1 / 3, 1.0, 0.5)),  # a multiset: the word counts as often as it stands there
        ("home", "wing", (0.0, 0.0, 0.0)),
        ("", "wing", (0.0, 0.0, 0.0)),
        ("wing", "", (0.0, 0.0, 0.0)),
        ("", " - ", (1.0, 1.0, 1.0)),
    ],
)
def test_by_hand(kept: str, gold: str, expected: tuple[float, float, float]) -> None:
    assert kept_words(kept, gold) == pytest.approx(expected)


def test_averages_over_documents() -> None:
    counted = KeptWords()
    counted.add(["home news the wing", "a"], ["the wing lifts a plane", "a"])
    counted.add(["home"], ["wing"])
    assert counted.averages() == pytest.approx({"precision": 0.5, "recall": 1.4 / 3, "f1": (4 / 9 + 1) / 3})
