from __future__ import annotations

import numpy as np
import pytest

from glot_rag.denoise.recurrence import RECURRENCE_FEATURES, recurrence_features
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import InputError


def features(texts: list[str], groups: list[str] | None = None) -> list[np.ndarray]:
    return recurrence_features(texts, [split_blocks(text) for text in texts], groups)


def test_hand_worked_example() -> None:
    texts = ["Home | Search now\nCats eat fish here", "home search NOW\nDogs eat bones", "Cats eat fish often\nnothing"]
    first = features(texts)[0]
    # The line stands in two of three documents, and so does its only run.
    np.testing.assert_allclose(first[0], [np.log(3), 2 / 3, 2 / 3, 1], rtol=1e-6)
    # The line stands here alone; one of its two runs ("cats eat fish") in two documents.
    np.testing.assert_allclose(first[1], [np.log(2), 1 / 3, (2 / 3 + 1 / 3) / 2, 0.5], rtol=1e-6)


def test_numbers_count_as_alike() -> None:
    found = features(["Page 1 of 9\na b c", "Page 2 of 9\nd e f", "Page 3 of 9\ng h i"])
    assert [each[0, 1] for each in found] == [1.0, 1.0, 1.0]


def test_only_the_own_group_is_counted() -> None:
    texts = ["menu\nx"] * 3 + ["menu\ny"] * 4 + ["menu\nz"] * 2
    found = features(texts, ["a"] * 3 + ["b"] * 4 + ["c"] * 2)
    assert np.exp(found[0][0, 0]) - 1 == pytest.approx(3)
    assert np.exp(found[3][0, 0]) - 1 == pytest.approx(4)
    assert not found[8].any(), "two documents are too few"
    assert found[8].shape == (2, len(RECURRENCE_FEATURES))


def test_a_line_twice_in_one_document_is_in_one_document() -> None:
    found = features(["menu\nmenu", "b", "c"])
    assert found[0][0, 1] == pytest.approx(1 / 3)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="got 2 texts, 1 lists of blocks and 2 groups"):
        recurrence_features(["a", "b"], [[]])
