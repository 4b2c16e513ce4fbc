"""The training loop that heads, the noise classifier and text classifiers share."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from glot_rag.errors import InputError, TrainingError
from glot_rag.progress import bar

_WARMUP = 0.05  # share of all steps in which the learning rate rises
_LARGEST_NORM = 1.0  # of a step's gradients
_log = logging.getLogger(__name__)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained: AdamW, a warm-up over the first twentieth of the steps, then cosine decay to 0.

    Args:
        seed: of every random choice. On a CPU the same seed gives the same network.
        epochs: at most so many.
        patience: stop after so many epochs without a better one.
        batch_size: examples a step.
        learning_rate: the peak, after the warm-up.
        weight_decay: AdamW's.

    Raises:
        InputError: a value out of its range.
    """

    seed: int = 0
    epochs: int = 10
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2**63 - 1; got {self.seed}")
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0; got {self.learning_rate}")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay must be at least 0; got {self.weight_decay}")


@dataclass(frozen=True)
class Measured:
    """What the held-out examples say of a network.

    Attributes:
        loss: their mean loss.
        score: what the best epoch is chosen by, higher is better; None chooses by the loss alone.
        parts: what the loss is made of, by name.
    """

    loss: float
    score: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Epoch:
    """An epoch's mean training loss, and what the held-out examples said after it (`Measured`)."""

    number: int
    train: float
    validation: float
    score: float
    parts: dict[str, float] = field(default_factory=dict)


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The highest score; among equals the lowest validation loss, and then the first."""
    return max(history, key=lambda epoch: (epoch.score, -epoch.validation))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make a network's first parameters depend on the seed alone, and leave torch's global generator as it was.

    Only the CPU's generator is set: build the network on the CPU, then move it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Fitting:
    """A network in training: its optimiser, its schedule, and the epochs so far.

    Args:
        net: trained in place, on its own device.
        config: how.
        steps_per_epoch: batches an epoch.
    """

    def __init__(self, net: nn.Module, config: FitConfig, steps_per_epoch: int) -> None:
        self.net, self.config, self.steps_per_epoch = net, config, steps_per_epoch
        self.history: list[Epoch] = []
        self.optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        steps = config.epochs * steps_per_epoch
        warmup = round(steps * _WARMUP)

        def factor(step: int) -> float:
            if step < warmup:
                return step / warmup
            return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / max(1, steps - warmup)))))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, factor)

    @property
    def goes_on(self) -> bool:
        """Whether there is another epoch: the limit is not reached, and patience not exhausted."""
        done = len(self.history)
        return done < self.config.epochs and (
            done == 0 or done - best_epoch(self.history).number < self.config.patience
        )

    def run_epoch(
        self,
        batches: Sequence[Batch],
        loss: Callable[[Batch], Tensor],
        measure: Callable[[], Measured],
        *,
        show_progress: bool = False,
    ) -> Epoch:
        """Train on every batch once, then measure.

        Args:
            batches: `steps_per_epoch` of them.
            loss: a batch's loss, a scalar with a gradient.
            measure: called without gradients, the network in evaluation mode.
            show_progress: draw a progress bar on stderr.

        Raises:
            TrainingError: a loss is not finite.
        """
        number, total = len(self.history) + 1, 0.0
        name = f"epoch {number}/{self.config.epochs}"
        self.net.train()
        with bar(disable=not show_progress) as progress:
            task = progress.add_task(name, total=len(batches))
            for done, batch in enumerate(batches, start=1):
                value = loss(batch)
                self.optimiser.zero_grad()
                torch.autograd.backward(value)
                torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LARGEST_NORM)
                self.optimiser.step()
                self.schedule.step()
                total += value.item()
                if not math.isfinite(total):
                    raise TrainingError(f"the loss is {value.item()} in epoch {number}: lower the learning rate")
                progress.update(task, advance=1, description=f"{name}  loss {total / done:.4f}")
            self.net.eval()
            with torch.no_grad():
                measured = measure()
            if not math.isfinite(measured.loss):
                raise TrainingError(
                    f"the validation loss is {measured.loss} in epoch {number}: lower the learning rate"
                )
            train = total / len(batches)
            progress.update(task, description=f"{name}  loss {train:.4f}  validation {measured.loss:.4f}")
        score = -measured.loss if measured.score is None else measured.score
        epoch = Epoch(number, train, measured.loss, score, dict(measured.parts))
        self.history.append(epoch)
        _log.debug("epoch %d: loss %.4f, validation %.4f, score %.4f", number, train, measured.loss, score)
        return epoch

    def tensors(self) -> dict[str, Tensor]:
        """The parameters and the optimiser's state, by name: what `resume` takes."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return {name: value.contiguous() for name, value in tensors.items()}

    def resume(self, history: Sequence[Epoch], tensors: Mapping[str, Tensor]) -> None:
        """Go on after the epochs of `history`, from what `tensors` gave after the last of them."""
        self.history = list(history)
        self.net.load_state_dict(
            {name.removeprefix("net."): value for name, value in tensors.items() if name.startswith("net.")}
        )
        optimiser = self.optimiser.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".")
                optimiser["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(optimiser)
        steps = len(self.history) * self.steps_per_epoch
        self.schedule.load_state_dict({**self.schedule.state_dict(), "last_epoch": steps})
        for group, base, factor in zip(
            self.optimiser.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(steps)


def fit(
    net: nn.Module,
    config: FitConfig,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[Batch], Tensor],
    measure: Callable[[], Measured],
    *,
    show_progress: bool = False,
) -> list[Epoch]:
    """Train a network in place, and leave it in evaluation mode with the parameters of its best epoch.

    Args:
        net: the network, on its device.
        config: how it is trained.
        batches: the batches of an epoch, by its number from 1; as many each time.
        loss: a batch's loss, a scalar with a gradient.
        measure: what the held-out examples say; called without gradients, the network in evaluation mode.
        show_progress: draw progress bars on stderr.

    Returns:
        One entry an epoch.

    Raises:
        TrainingError: a loss is not finite.
    """
    first = batches(1)
    fitting = Fitting(net, config, len(first))
    best: dict[str, Tensor] = {}
    while fitting.goes_on:
        number = len(fitting.history) + 1
        epoch = fitting.run_epoch(first if number == 1 else batches(number), loss, measure, show_progress=show_progress)
        if best_epoch(fitting.history) is epoch:
            best = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(best)
    net.eval()
    _log.info("%d epochs; the best was %d", len(fitting.history), best_epoch(fitting.history).number)
    return fitting.history
