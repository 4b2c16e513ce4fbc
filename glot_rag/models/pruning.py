"""Token pruning: noise tokens leave a transformer after an early layer, and the upper layers see the others only.

The lower layers run once over the whole texts. The choice is made on their states. The upper layers then run on the
tokens that stay, each at its own position and under each layer's own mask. The result is that of the whole model with
the other tokens masked from that layer on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glot_rag.errors import UnsupportedError
from glot_rag.models.layers import Layers

# (B, L, S·D) states, (B, L) mask -> (B, L) boolean, the tokens that stay
Choose = Callable[[Tensor, Tensor], Tensor]

# How a layer's tensors lie along the tokens. A tensor under another name is refused: it cannot be narrowed.
_BY_TOKEN = ("position_embeddings", "position_embeddings_global", "position_embeddings_local", "position_ids")
_MASKS = ("attention_mask", "sliding_window_mask")  # (B or 1, heads or 1, L or 1, L), or None
_BY_PAIR = (*_MASKS, "position_bias")
_OF_CACHE = ("cache_position", "past_key_values", "past_key_value", "layer_past")  # nothing is cached here


@dataclass(frozen=True)
class Pruning:
    """A choice of tokens that stay.

    Args:
        layers: numbers of the layers whose states `choose` sees side by side, 0 (the embeddings) to the last but one.
            The layers from the highest of them on see only the tokens that stay.
        choose: called once a batch with states (B, L, S·D) and the mask of real tokens (B, L); gives (B, L) boolean.
    """

    layers: Sequence[int]
    choose: Choose


class Pruned(NamedTuple):
    """What became of a choice.

    Attributes:
        stays: (B, L) boolean, the tokens that stayed.
        states: (B, L, D), their last states; what stands in the other places has no meaning.
        entered: (B, L, D), the whole texts' states from which the layers above the choice start.
    """

    stays: Tensor
    states: Tensor
    entered: Tensor


def run_layers(
    layers: Layers,
    inputs: Mapping[str, Tensor],
    wanted: Sequence[int],
    prunings: Sequence[Pruning] = (),
    *,
    shorten: bool = True,
) -> tuple[list[Tensor], list[Pruned]]:
    """Run a transformer over a batch, no higher than is asked for, and for each pruning once more above its choice.

    Args:
        layers: of the transformer.
        inputs: `input_ids` and `attention_mask` (B, L), and whatever else the model takes.
        wanted: numbers of layers whose states are returned: n for what enters layer n, `len(layers)` for the last.
        prunings: choices of tokens.
        shorten: True takes the other tokens out of the batch, which saves their time. False masks them in their
            places, so that no shape depends on the choice: ONNX needs that.

    Returns:
        The whole texts' (B, L, D) states of each layer in `wanted`, and what became of each pruning.

    Raises:
        UnsupportedError: a layer takes a tensor that cannot be narrowed to some of the tokens.
    """
    mask = inputs["attention_mask"].bool()
    calls = layers.prepare(**inputs)
    needed = {*wanted, *(number for pruning in prunings for number in pruning.layers)}
    found: dict[int, Tensor] = {}
    states = calls.embeddings
    for number in range(max(needed) + 1):
        if number == 1:
            states = calls.after_first
        elif number > 1:
            states = layers.run(number - 1, states, calls.arguments[number - 1])
        if number in needed:
            found[number] = layers.finish(states) if number == len(layers) else states
    pruned = []
    for pruning in prunings:
        start, whole = max(pruning.layers), found.get(len(layers))
        stays = mask & pruning.choose(torch.cat([found[number] for number in pruning.layers], dim=-1), mask)
        if whole is None or not shorten:
            last = _run_above(layers, calls.arguments, start, found[start], _Kept(stays, None, shorten))
        else:  # the texts that lose no token have their last states already
            rows = (mask & ~stays).any(dim=1).nonzero()[:, 0]
            last = whole
            if len(rows):
                kept = _Kept(stays[rows], rows, shorten)
                last = whole.index_copy(0, rows, _run_above(layers, calls.arguments, start, found[start][rows], kept))
        pruned.append(Pruned(stays, last, found[start]))
    return [found[number] for number in wanted], pruned


def mix(of_kept: Tensor, of_whole: Tensor, mix_weight: float) -> Tensor:
    """Mix what the kept tokens give with what the whole text gives: the one place where that is done.

    Args:
        of_kept: vectors, token weights or states (any shape) of the tokens that stayed.
        of_whole: the same of the whole text.
        mix_weight: the kept tokens' share, 0 to 1.
    """
    return of_whole + mix_weight * (of_kept - of_whole)


def _run_above(
    layers: Layers, arguments: Sequence[Mapping[str, Any]], start: int, states: Tensor, kept: _Kept
) -> Tensor:
    """The layers from `start` on over what is kept: (B', L, D) -> (B', L, D)."""
    states = kept.take(states)
    for number in range(start, len(layers)):
        states = layers.run(number, states, kept.narrow(layers, number, arguments[number], states.dtype))
    return kept.put_back(layers.finish(states))


class _Kept:
    """The tokens of some texts that stay, and how what was made for all tokens looks for those alone.

    Args:
        stays: (B', L) boolean.
        rows: (B',) the numbers of these texts in their batch; None for all of it.
        shorten: as in `run_layers`.
    """

    def __init__(self, stays: Tensor, rows: Tensor | None, shorten: bool) -> None:
        self._length = stays.shape[1]
        self._rows = rows
        self._places: Tensor | None = None  # (B', L') where what is kept stood, in order; None if nothing was taken out
        self._seen = stays  # (B', L') boolean, False in places that fill up texts that keep fewer
        self._all_seen = False
        self._narrowed: dict[int, Any] = {}  # by identity: layers share tensors, which need narrowing only once
        if shorten:
            counts = stays.sum(dim=1)
            longest = max(counts.tolist(), default=0)
            self._places = torch.argsort((~stays).to(torch.uint8), dim=1, stable=True)[:, :longest]
            self._seen = torch.arange(longest, device=stays.device) < counts[:, None]
            self._all_seen = bool(self._seen.all())

    def take(self, states: Tensor) -> Tensor:
        """(B', L, D) -> (B', L', D)."""
        return states if self._places is None else torch.take_along_dim(states, self._places[..., None], dim=1)

    def put_back(self, states: Tensor) -> Tensor:
        """(B', L', D) -> (B', L, D), with zeros elsewhere."""
        if self._places is None:
            return states
        out = states.new_zeros(len(states), self._length, states.shape[-1])
        return out.scatter(1, self._places[..., None].expand_as(states), states)

    def narrow(self, layers: Layers, number: int, given: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
        """A layer's arguments for the kept tokens, from those for whole texts.

        Raises:
            UnsupportedError: one of them cannot be narrowed.
        """
        out: dict[str, Any] = {}
        for name, value in given.items():
            if name in _BY_TOKEN or name in _BY_PAIR:
                if id(value) not in self._narrowed:
                    self._narrowed[id(value)] = self._by_token(value) if name in _BY_TOKEN else self._by_pair(value)
                out[name] = self._narrowed[id(value)]
            elif name in _OF_CACHE:
                out[name] = None
            elif isinstance(value, (Tensor, tuple, list, dict)):
                raise UnsupportedError(
                    f"the transformer's layers take {name!r}, which cannot be narrowed to the tokens that stay: use a "
                    f"pooling that drops no tokens"
                )
            else:
                out[name] = value
        for name in _MASKS:
            if name in out:
                out[name] = self._mask(out[name], layers, number, dtype)
        return out

    def _mask(self, given: Tensor | None, layers: Layers, number: int, dtype: torch.dtype) -> Tensor | None:
        """A layer's mask over the kept tokens (B', 1, L' or 1, L'), with the places that hold none left out."""
        if self._all_seen:
            return given  # without a mask, too: the tokens are in order, so a causal layer's own rule still holds
        seen = self._seen[:, None, None, :]
        if given is None and layers.is_causal(number):
            length = seen.shape[-1]
            seen = seen & torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
        if given is None and layers.attention == "eager":  # adds its mask to the scores
            given = torch.zeros((), dtype=dtype, device=seen.device)
        if given is not None and given.dtype != torch.bool:
            return torch.where(seen, given, torch.finfo(given.dtype).min)
        pairs = seen if given is None else given & seen
        return pairs | ~pairs.any(dim=-1, keepdim=True)  # a place that sees nothing would become NaN

    def _by_token(self, value: Any) -> Any:
        if value is None or self._places is None:
            return value
        if isinstance(value, tuple):
            return tuple(map(self._by_token, value))
        value = self._of_rows(value)
        index = self._places.view(*self._places.shape, *[1] * (value.dim() - 2))
        return torch.take_along_dim(value, index, dim=1)

    def _by_pair(self, value: Tensor | None) -> Tensor | None:
        if value is None or self._places is None:
            return value
        value = self._of_rows(value)
        if value.shape[2] > 1:
            value = torch.take_along_dim(value, self._places[:, None, :, None], dim=2)
        return torch.take_along_dim(value, self._places[:, None, None, :], dim=3)

    def _of_rows(self, value: Tensor) -> Tensor:
        """What is there for each text, (B, …), for these texts alone; what all share, (1, …), as it is."""
        return value if self._rows is None or value.shape[0] == 1 else value[self._rows]
