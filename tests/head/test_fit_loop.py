"""The shared training loop, on a linear regression that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from random_state import global_random_state_unchanged
from torch import Tensor, nn
from transformers import get_cosine_schedule_with_warmup

from glot_rag.errors import InputError, TrainingError
from glot_rag.head.fit import Epoch, FitConfig, Fitting, Measured, best_epoch, fit, seeded

X = torch.linspace(-1, 1, 16)[:, None]
Y = 3 * X + 0.5


def regression(seed: int = 0) -> tuple[nn.Linear, Callable[[int], list[Tensor]], Callable[[Tensor], Tensor]]:
    with seeded(seed):
        net = nn.Linear(1, 1)

    def batches(number: int) -> list[Tensor]:
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(number))
        return list(order.split(4))

    return net, batches, lambda rows: ((net(X[rows]) - Y[rows]) ** 2).mean()


def test_it_learns_and_leaves_the_global_generators_alone() -> None:
    with global_random_state_unchanged():
        net, batches, loss = regression()
        history = fit(
            net, FitConfig(epochs=60, patience=60, learning_rate=0.2, weight_decay=0.0), batches, loss,
            lambda: Measured(float(loss(torch.arange(len(X))))),
        )  # fmt: skip
    assert net.weight.item() == pytest.approx(3, abs=1e-2)
    assert net.bias.item() == pytest.approx(0.5, abs=1e-2)
    assert not net.training
    assert best_epoch(history).validation < 1e-4 < history[0].validation


def test_first_parameters_depend_on_the_seed_alone() -> None:
    torch.manual_seed(77)
    one = regression(seed=5)[0].weight
    torch.manual_seed(78)
    assert torch.equal(one, regression(seed=5)[0].weight)
    assert not torch.equal(one, regression(seed=6)[0].weight)


def test_the_learning_rate_is_that_of_transformers_schedule() -> None:
    net = regression()[0]
    fitting = Fitting(net, FitConfig(epochs=10, learning_rate=0.01), steps_per_epoch=4)
    other = torch.optim.AdamW(net.parameters(), lr=0.01)
    expected = get_cosine_schedule_with_warmup(other, 2, 40)
    for _ in range(40):
        assert fitting.schedule.get_last_lr() == expected.get_last_lr()
        for each in (fitting.optimiser, fitting.schedule, other, expected):
            each.step()
    assert fitting.schedule.get_last_lr() == [0.0]


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    net, batches, loss = regression()
    scores, weights = iter([0.2, 0.9, 0.9, 0.1]), []

    def measure() -> Measured:
        assert not net.training
        assert not torch.is_grad_enabled()
        weights.append(net.weight.clone())
        return Measured(1.0 + len(weights), score=next(scores), parts={"half": 0.5})

    history = fit(net, FitConfig(epochs=9, patience=2), batches, loss, measure)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]
    assert best_epoch(history).number == 2  # among equal scores the lower loss
    assert history[1] == Epoch(2, history[1].train, 3.0, 0.9, {"half": 0.5})
    assert torch.equal(net.weight, weights[1])


def test_a_run_that_is_resumed_ends_with_the_same_bits() -> None:
    config = FitConfig(epochs=4, patience=4)
    whole, batches, loss = regression()
    one = Fitting(whole, config, 4)
    for number in range(1, 5):
        one.run_epoch(batches(number), loss, lambda: Measured(1.0))
        if number == 2:
            history, tensors = list(one.history), {name: value.clone() for name, value in one.tensors().items()}
    net, batches, loss = regression(seed=9)
    other = Fitting(net, config, 4)
    other.resume(history, tensors)
    while other.goes_on:
        other.run_epoch(batches(len(other.history) + 1), loss, lambda: Measured(1.0))
    assert torch.equal(net.weight, whole.weight)
    assert other.history == one.history


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_an_error(where: str) -> None:
    net, batches, loss = regression()
    nan = float("nan")
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1: lower the learning rate"):
        fit(
            net,
            FitConfig(),
            batches,
            (lambda rows: loss(rows) * nan) if where == "training" else loss,
            lambda: Measured(nan if where == "validation" else 1.0),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"patience": 0}, "patience must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0; got -0.1"),
        ({"seed": -1}, "seed must be from 0 to .* got -1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FitConfig(**settings)  # type: ignore[arg-type]
