from __future__ import annotations

import math

import pytest
import torch

from glot_rag.training.objectives import contrastive_loss, denoising_loss, token_loss
from glot_rag.training.views import NOISE, SIGNAL, SPECIAL


def test_denoising_by_hand() -> None:
    vectors = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    targets = torch.tensor([[5.0, 0.0], [0.0, 7.0], [1.0, 0.0]])
    # cosines 1, 1/sqrt(2) and -1
    assert denoising_loss(vectors, targets).item() == pytest.approx((0 + 1 - math.sqrt(0.5) + 2) / 3, abs=1e-6)


def test_contrastive_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    vectors = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    # cosines [[1, a], [0, a]] with a = 1/sqrt(2), over temperature 1/2
    a = math.sqrt(0.5)
    by_query = -math.log(math.exp(2) / (math.exp(2) + math.exp(2 * a))) - math.log(
        math.exp(2 * a) / (1 + math.exp(2 * a))
    )
    by_text = -math.log(math.exp(2) / (math.exp(2) + 1)) - math.log(0.5)
    expected = (by_query / 2 + by_text / 2) / 2
    assert contrastive_loss(queries, vectors, 0.5).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_contrastive_of_nothing_to_tell_apart_is_zero_with_a_gradient(count: int) -> None:
    vectors = torch.ones(count, 3, requires_grad=True)
    loss = contrastive_loss(torch.ones(count, 3), vectors, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(vectors.grad, torch.zeros(count, 3))


def test_token_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 9.0, 9.0], [0.5, 9.0, 9.0, 9.0]])
    labels = torch.tensor([[SIGNAL, NOISE, SPECIAL, SPECIAL], [NOISE, SPECIAL, SPECIAL, SPECIAL]])
    signal, noise = -math.log(1 / (1 + math.exp(-2))), -math.log(1 - 1 / (1 + math.exp(1)))
    other = -math.log(1 - 1 / (1 + math.exp(-0.5)))
    # Every text counts the same: two tokens of the first weigh as much as one of the second.
    assert token_loss(logits, labels).item() == pytest.approx(((signal + noise) / 2 + other) / 2, abs=1e-6)


def test_token_loss_of_special_tokens_only_is_zero() -> None:
    assert token_loss(torch.randn(2, 3), torch.full((2, 3), SPECIAL)).item() == 0
