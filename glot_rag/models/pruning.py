"""Look into a transformer between two of its layers: stop there, or let only some tokens go on.

One forward hook a layer, registered once. Without a run in progress in the calling thread the hooks do nothing.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
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
class Drop:
    """Chosen tokens that go on from one of the layers as if the others were not there.

    Attributes:
        layers: whose input states `choose` sees, side by side; from the highest of them on only chosen tokens are seen.
        choose: called once.
        shorten: True takes the dropped tokens out; False leaves them in place, where no token sees them any more. The
            others' states are the same; only the second is one graph of fixed shape, which ONNX needs.
        stays: (B, L) boolean, the tokens that went on.
        states: (B, L, D), the model's last states of those; what stands in the other places means nothing.
    """

    layers: Sequence[int]
    choose: Choose
    shorten: bool = True
    stays: Tensor = field(init=False)
    states: Tensor = field(init=False)
    _rows: Tensor | None = field(default=None, init=False)  # the texts that go on; None for all
    _kept: Tensor | None = field(default=None, init=False)  # (B', L') the places of what is kept; None for all
    _seen: Tensor = field(init=False)  # (B', L') boolean, False where a text keeps fewer

    @property
    def before(self) -> int:
        """The first layer that sees chosen tokens only."""
        return max(self.layers)

    @property
    def goes_nowhere(self) -> bool:
        """Whether every text has gone on as a whole already."""
        return self._rows is not None and self._rows.shape[0] == 0

    def begin(self, by_layer: Mapping[int, Tensor], mask: Tensor, *, whole: bool) -> Tensor:
        """Choose the tokens. Returns their states (B', L', D), which go on.

        Where the whole texts go on, too, a text of which everything stays need not go on a second time.
        """
        states = by_layer[self.before]
        joined = torch.cat([by_layer[number] for number in self.layers], dim=-1)
        self.stays = self._seen = self.choose(joined, mask) & mask
        if not self.shorten:
            return states
        stays = self.stays
        if whole:
            self._rows = (mask & ~stays).any(dim=1).nonzero()[:, 0]
            states, stays = states[self._rows], stays[self._rows]
        counts = stays.sum(dim=1)
        # The kept tokens first, in their order.
        order = torch.argsort((~stays).to(torch.uint8), dim=1, stable=True)
        longest = max(counts.tolist(), default=0)
        self._kept = order[:, :longest]
        self._seen = torch.arange(longest, device=states.device) < counts[:, None]
        return torch.take_along_dim(states, self._kept[..., None], dim=1)

    def narrow(self, given: Mapping[str, Any], causal: bool) -> dict[str, Any]:
        """A layer's arguments, as they are for whole texts, for the chosen tokens alone."""
        narrowed = {**given, "attention_mask": _attention_mask(self._seen, causal, given["hidden_states"].dtype)}
        # A decoder's cache holds the whole texts' keys: these tokens are not to be added to them.
        narrowed |= {name: None for name in given if name in ("past_key_values", "past_key_value", "layer_past")}
        for name in ("position_embeddings", "position_ids"):
            if given.get(name) is not None:
                narrowed[name] = self._at_kept(given[name])
        return narrowed

    def put_back(self, states: Tensor, length: int) -> Tensor:
        """(B', L', D) -> (B', L, D): some models count on the length that they were given."""
        if self._kept is None:
            return states
        places = self._kept[..., None].expand_as(states)
        return states.new_zeros(states.shape[0], length, states.shape[-1]).scatter(1, places, states)

    def end(self, last: Tensor, whole: Tensor | None) -> None:
        """Take the model's last states (B', L, D); a text that did not go on has those of the whole text."""
        self.states = last if self._rows is None or whole is None else whole.index_copy(0, self._rows, last)

    def _at_kept(self, value: Any) -> Any:
        """A tensor (B or 1, L, …), or a tuple of such, at the kept tokens."""
        if isinstance(value, tuple):
            return tuple(self._at_kept(each) for each in value)
        if self._kept is None:
            return value
        if self._rows is not None and value.shape[0] > 1:
            value = value[self._rows]
        index = self._kept.view(*self._kept.shape, *[1] * (value.dim() - 2))
        return torch.take_along_dim(value.expand(self._kept.shape[0], *value.shape[1:]), index, dim=1)


@dataclass
class Run:
    """What one forward pass should do between the layers, and what it saw there.

    Attributes:
        wanted: layers whose input states are kept in `states`; layer n's input is transformers' `hidden_states[n]`.
        stop: the first layer that is not run any more; None to run all.
        mask: (B, L), the real tokens; for `drops`.
        drops: chosen tokens that go on by themselves. Layers below are run once for all of them.
        whole: whether all tokens go on, too; without them there can be one drop only.
        states: layer -> (B, L, D).
        above: layer -> its arguments for whole texts, but the states, where a drop has to run it as well.
    """

    wanted: Collection[int]
    stop: int | None = None
    mask: Tensor | None = None
    drops: Sequence[Drop] = ()
    whole: bool = True
    states: dict[int, Tensor] = field(default_factory=dict)
    above: dict[int, dict[str, Any]] = field(default_factory=dict)
    _entering: dict[int, Tensor] = field(default_factory=dict)  # by the drop's number

    def __post_init__(self) -> None:
        assert self.whole or len(self.drops) == 1
        self.wanted = {*self.wanted, *(number for drop in self.drops for number in drop.layers)}

    def share_out(self, last: Tensor) -> Tensor:
        """Give the drops their parts of the model's last states. Returns the rest: those of the whole texts, if run."""
        if not self.drops:
            return last
        assert self.mask is not None
        start = self.mask.shape[0] if self.whole else 0
        whole = last[:start] if self.whole else None
        for number, drop in enumerate(self.drops):
            end = start + self._entering[number].shape[0]
            drop.end(last[start:end], whole)
            start = end
        return last if whole is None else whole


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
        for place, drop in enumerate(run.drops):
            if number == drop.before:
                assert run.mask is not None
                run._entering[place] = drop.begin(run.states, run.mask, whole=run.whole)
        if not run._entering:
            return None
        if run.whole:
            run.above[number] = {name: value for name, value in given.items() if name != "hidden_states"}
            return None
        (drop,) = run.drops
        if number == drop.before:
            given["hidden_states"] = run._entering[0]
        return (), drop.narrow(given, self._causal)

    def _after_all(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Run the upper layers over what was chosen; its states go below those of the whole texts."""
        run: Run | None = getattr(self._local, "run", None)
        if run is None or not run.drops:
            return None
        assert run.mask is not None
        last, length = _first(output), run.mask.shape[1]
        if run.whole:
            self._local.run = None  # these are further runs of the same layers
            chosen = [self._go_on(run, drop, run._entering[place]) for place, drop in enumerate(run.drops)]
            self._local.run = run
        else:
            chosen = [last]
        parts = [drop.put_back(states, length) for drop, states in zip(run.drops, chosen, strict=True)]
        last = torch.cat([last, *parts]) if run.whole else parts[0]
        return (last, *output[1:]) if isinstance(output, tuple) else last

    def _go_on(self, run: Run, drop: Drop, states: Tensor) -> Tensor:
        if drop.goes_nowhere:
            return states
        for number in range(drop.before, len(self._layers)):
            given = drop.narrow({**run.above[number], "hidden_states": states}, self._causal)
            states = _first(self._layers[number](**given))
        return states


def _first(output: Any) -> Tensor:
    """The states in what a layer gives."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


def _attention_mask(seen: Tensor, causal: bool, dtype: torch.dtype) -> Tensor:
    """(B, L) boolean -> additive, (B, 1, L, L), as transformers' layers take it."""
    length = seen.shape[1]
    pairs = seen[:, None, None, :].expand(-1, 1, length, -1)
    if causal:
        pairs = pairs & torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
    zero = torch.zeros((), dtype=dtype, device=seen.device)
    return torch.where(pairs, zero, torch.finfo(dtype).min)
