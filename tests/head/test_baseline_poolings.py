from __future__ import annotations

import pytest
import torch

from glot_rag.errors import InputError
from glot_rag.head import BaselinePooling

# One text of three tokens, right-padded and left-padded, and one that fills the row. Padding holds garbage.
STATES = torch.tensor(
    [
        [[1.0, -8.0], [2.0, -2.0], [6.0, -5.0], [torch.nan, torch.nan]],
        [[torch.nan, torch.nan], [1.0, -8.0], [2.0, -2.0], [6.0, -5.0]],
        [[4.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]],
    ]
)
MASK = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
NONE = torch.zeros(1, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "vectors", "weights"),
    [
        (
            "mean",
            [[3.0, -5.0], [3.0, -5.0], [1.0, 1.0]],
            [[1 / 3, 1 / 3, 1 / 3, 0], [0, 1 / 3, 1 / 3, 1 / 3], [0.25, 0.25, 0.25, 0.25]],
        ),
        ("max", [[6.0, -2.0], [6.0, -2.0], [4.0, 4.0]], [[0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0]]),
        ("cls", [[1.0, -8.0], [1.0, -8.0], [4.0, 0.0]], [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]),
        ("last", [[6.0, -5.0], [6.0, -5.0], [0.0, 0.0]], [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_by_hand(name: str, vectors: list[list[float]], weights: list[list[float]], dtype: torch.dtype) -> None:
    pooled = BaselinePooling(name, 2)(STATES.to(dtype), MASK)
    assert torch.allclose(pooled.vector, torch.tensor(vectors), atol=1e-6)
    assert torch.allclose(pooled.weights, torch.tensor(weights, dtype=torch.float32), atol=1e-6)
    assert pooled.vector.dtype == torch.float32
    assert pooled.logits is None


@pytest.mark.parametrize("name", ["mean", "cls", "last"])
def test_nothing_but_padding_is_zero(name: str) -> None:
    pooled = BaselinePooling(name, 2)(STATES[:1], NONE)
    assert torch.equal(pooled.vector, torch.zeros(1, 2))
    assert torch.equal(pooled.weights, torch.zeros(1, 4))


def test_max_of_nothing_is_finite() -> None:
    assert BaselinePooling("max", 2)(STATES[:1], NONE).vector.isfinite().all()


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match="pooling must be one of mean, max, cls, last; got 'median'"):
        BaselinePooling("median", 2)


def test_it_says_which_it_is() -> None:
    assert repr(BaselinePooling("cls", 2)) == "BaselinePooling('cls')"
