from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from glot_rag.denoise.denoised import Denoised
from glot_rag.training.documents import NoisyDocument
from glot_rag.training.held_out import Gain, gain_on_documents, gain_on_texts
from glot_rag.training.texts import TrainingText

WORDS = [f"word{number}" for number in range(40)]
MENU = "home news sport"


class Counting:
    """A vector is the counts of known words, a menu's words counting for much; its own pooling ignores the menu."""

    def __init__(self, name: str = "glot", menu: float = 30.0) -> None:
        self.pooling = type("P", (), {"name": name})
        self._menu = menu

    def with_pooling(self, name: str, denoise: bool | None = None) -> Counting:
        return Counting(name, 30.0 if name == "mean" else 0.0)

    def encode_documents(self, texts: Sequence[str]) -> Any:
        rows = []
        for number, text in enumerate(texts):
            row = [float(text.split().count(word)) for word in WORDS]
            row[(number * 7) % 40] += self._menu * text.split().count("home")  # noise makes it look like another
            rows.append(row)
        return np.array(rows, np.float32)

    encode_queries = encode_documents


class Cleaner:
    def denoise(self, texts: Sequence[str]) -> list[Denoised]:
        return [Denoised(text.replace(MENU, " "), (), 1.0, ()) for text in texts]


def test_a_denoiser_that_drops_the_noise_reaches_the_oracle() -> None:
    documents = [
        NoisyDocument(f"{MENU}\n{word} {word} {word}", ((0, len(MENU)),), "site", f"{word} asked here")
        for word in WORDS
    ]
    gain = gain_on_documents(Counting("mean"), Cleaner(), documents)  # type: ignore[arg-type]
    assert (gain.queries, gain.head, gain.oracle) == (40, 100.0, 100.0)
    # The menu puts another document first, but for the two whose menu looks like their own word.
    assert gain.mean == pytest.approx((38 * 100 / np.log2(3) + 2 * 100) / 40)
    assert "it helps (+" in str(gain)


def test_clean_documents_are_not_asked_for() -> None:
    clean = [NoisyDocument("one two three four", (), "site", "one two three")]
    gain = gain_on_documents(Counting("mean"), Cleaner(), clean)  # type: ignore[arg-type]
    assert gain == Gain(0, 0.0, 0.0, 0.0, 0.0)
    assert "nothing to measure on" in str(gain)


def test_the_query_is_taken_out_of_its_text() -> None:
    # Only the query has the word that would find the text: with it in the text everything would be found.
    texts = [TrainingText(f"{word} is the one. " + "other words " * 30, f"{word} is the") for word in WORDS]
    gain = gain_on_texts(Counting("glot", 0.0), texts, seed=0)  # type: ignore[arg-type]
    assert gain.queries == 40
    assert gain.oracle == 0  # all texts are alike now, and a tie is no find


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (Gain(9, 50.0, 60.0, 70.0, 4.0), "it helps (+10.0, standard error 4.0)"),
        (Gain(9, 50.0, 57.0, 70.0, 4.0), "no difference can be told (+7.0, standard error 4.0)"),
        (Gain(9, 50.0, 40.0, 70.0, 4.0), "it harms (-10.0, standard error 4.0)"),
    ],
)
def test_the_verdict_needs_two_standard_errors(gain: Gain, verdict: str) -> None:
    assert str(gain).endswith(verdict)
