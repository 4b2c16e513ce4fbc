"""Look into a transformer between two of its layers: stop there, or let only some tokens go on.

One forward hook a layer, registered once. Without a run in progress in the calling thread the hooks do nothing.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# (B, L, D) states, (B, L) mask -> (B, L) boolean, the tokens that go on
Choose = Callable[[Tensor, Tensor], Tensor]


class _Stopped(Exception):
    """The layers that were wanted have been seen."""


@dataclass
class Run:
    """What one forward pass should do between the layers, and what it saw there.

    Attributes:
        wanted: layers whose input states are kept in `states`; layer n's input is transformers' `hidden_states[n]`.
        stop: the first layer that is not run any more; None to run all.
        drop_before: the layer that sees chosen tokens only, as all above do; None to drop none.
        mask: (B, L), the real tokens.
        choose: called once, with the states in `wanted`'s order side by side.
        shorten: True takes the dropped tokens out; False leaves them in place, where no token sees them any more. The
            others' states are the same; only the second is one graph of fixed shape, which ONNX needs.
        states: layer -> (B, L, D).
        kept: (B, L'), each remaining token's place among the L; L' is the largest number that any text keeps. None
            where nothing is taken out.
        kept_mask: (B, L'), False where a text keeps fewer; without `shorten` (B, L), True for what goes on.
    """

    wanted: Collection[int]
    stop: int | None = None
    drop_before: int | None = None
    mask: Tensor | None = None
    choose: Choose | None = None
    shorten: bool = True
    states: dict[int, Tensor] = field(default_factory=dict)
    kept: Tensor | None = None
    kept_mask: Tensor | None = None


class LayerTap:
    """Hooks on the layers of a transformer.

    Args:
        model: the transformer.
        num_layers: how many layers it has; the module list of that length is taken for them.

    Attributes:
        found: False where there is no such module list; runs are then not possible.
    """

    def __init__(self, model: nn.Module, num_layers: int) -> None:
        self._local = threading.local()
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == num_layers]
        self._layers: list[nn.Module] = list(lists[0]) if lists else []
        self.found = bool(self._layers)
        self._causal = any(getattr(module, "is_causal", False) for layer in self._layers for module in layer.modules())
        for number, layer in enumerate(self._layers):
            parameters = list(inspect.signature(layer.forward).parameters)
            layer.register_forward_pre_hook(partial(self._before, number, parameters), with_kwargs=True)
        if self.found:
            self._layers[-1].register_forward_hook(self._after_all)

    # Models are pickled, to other processes, with their hooks.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def run(self, run: Run, forward: Callable[[], Any]) -> Any:
        """Call `forward` as `run` says; its result, or None if it was stopped."""
        self.start(run)
        try:
            return forward()
        except _Stopped:
            return None
        finally:
            self.end()

    def start(self, run: Run) -> None:
        """Do as `run` says from now on, in this thread, for a caller that cannot wrap the forward pass."""
        self._local.run = run

    def end(self) -> Run | None:
        """Do nothing more; the run that was in progress."""
        run: Run | None = getattr(self._local, "run", None)
        self._local.run = None
        return run

    def _before(
        self, number: int, parameters: list[str], layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        run: Run | None = getattr(self._local, "run", None)
        if run is None:
            return None
        given = dict(zip(parameters, args, strict=False)) | kwargs
        if number in run.wanted:
            run.states[number] = given["hidden_states"]
        if number == run.stop:
            raise _Stopped
        if run.drop_before is None or number < run.drop_before:
            return None
        if number == run.drop_before:
            given["hidden_states"] = self._drop(run, given["hidden_states"])
        given["attention_mask"] = self._attention_mask(run, given["hidden_states"].dtype)
        for name in ("position_embeddings", "position_ids") if run.shorten else ():
            if given.get(name) is not None:
                given[name] = _at(given[name], run)
        return (), given

    def _after_all(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Put the kept tokens back in their places: some models count on the length that they were given."""
        run: Run | None = getattr(self._local, "run", None)
        if run is None or run.kept is None or run.mask is None:
            return None
        if isinstance(output, tuple):
            return (_put_back(output[0], run.kept, run.mask), *output[1:])
        return _put_back(output, run.kept, run.mask)

    @staticmethod
    def _drop(run: Run, states: Tensor) -> Tensor:
        assert run.choose is not None
        assert run.mask is not None
        keep = run.choose(torch.cat([run.states[n] for n in run.wanted], dim=-1), run.mask) & run.mask
        if not run.shorten:
            run.kept_mask = keep
            return states
        counts = keep.sum(dim=1)
        # The kept tokens first, in their order.
        order = torch.argsort((~keep).to(torch.uint8), dim=1, stable=True)
        longest = int(counts.max())
        run.kept = order[:, :longest]
        run.kept_mask = torch.arange(longest, device=states.device) < counts[:, None]
        return torch.take_along_dim(states, run.kept[..., None], dim=1)

    def _attention_mask(self, run: Run, dtype: torch.dtype) -> Tensor:
        """Additive, (B, 1, L', L'), as transformers' layers take it."""
        assert run.kept_mask is not None
        length = run.kept_mask.shape[1]
        seen = run.kept_mask[:, None, None, :].expand(-1, 1, length, -1)
        if self._causal:
            seen = seen & torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
        zero = torch.zeros((), dtype=dtype, device=seen.device)
        return torch.where(seen, zero, torch.finfo(dtype).min)


def _put_back(states: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    whole = states.new_zeros(*mask.shape, states.shape[-1])
    return whole.scatter(1, kept[..., None].expand_as(states), states)


def _at(value: Any, run: Run) -> Any:
    """A tensor (B or 1, L, …), or a tuple of such, at the kept tokens."""
    if isinstance(value, tuple):
        return tuple(_at(each, run) for each in value)
    assert run.kept is not None
    index = run.kept.view(*run.kept.shape, *[1] * (value.dim() - 2))
    return torch.take_along_dim(value.expand(len(run.kept), *value.shape[1:]), index, dim=1)
