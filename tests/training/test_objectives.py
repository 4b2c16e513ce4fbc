from __future__ import annotations

import math

import pytest
import torch

from glot_rag.training.objectives import contrastive_loss, denoising_loss, signal_costs, token_loss
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


def test_a_dear_token_costs_more_to_lose_and_no_more_to_keep() -> None:
    logits, costs = torch.tensor([[-1.0, -1.0]]), torch.tensor([[3.0, 3.0]])
    signal, noise = math.log(1 + math.exp(1)), math.log(1 + math.exp(-1))
    labels = torch.tensor([[SIGNAL, NOISE]])
    assert token_loss(logits, labels, costs).item() == pytest.approx((3 * signal + noise) / 2, abs=1e-6)


def test_costs_move_the_threshold_to_one_over_one_plus_the_cost() -> None:
    # Ten tokens that look the same, three of them signal: the best score for them all.
    labels = torch.tensor([[SIGNAL] * 3 + [NOISE] * 7])
    score = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([score], lr=0.5)
    for _ in range(500):
        optimiser.zero_grad()
        token_loss(score.expand(1, 10), labels, torch.full((1, 10), 4.0)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert score.item() == pytest.approx(math.log(4 * 0.3 / 0.7), abs=1e-4)  # above 0: kept, for 0.3 > 1 / (1 + 4)


def test_signal_costs_by_hand() -> None:
    counts = torch.tensor([999_999, 499, 0])  # of 10**6 + 498 tokens
    total = 1_000_498 + 3  # each counted once more
    costs = signal_costs(counts)
    assert costs[1].item() == pytest.approx((5e-4 * total / 500) ** 0.5, rel=1e-6)
    assert costs[0].item() == pytest.approx(0.05)
    assert costs[2].item() == 20.0
