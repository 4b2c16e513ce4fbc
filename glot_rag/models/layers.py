"""Run a transformer one layer at a time, with the arguments that its own forward pass would give to each layer.

The model prepares what its layers need (embeddings, masks, rotary angles, position bias) and calls them in turn. Here
it does so with stand-ins in place of the layers, which note their arguments. `glot_rag.models.pruning` then calls the
real layers: as many as are wanted, over the tokens that are wanted. The model itself is not changed and has no hooks.

Layers of one model may have different dtypes (`in_two_dtypes`): a layer gets its states and arguments in its own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from glot_rag.errors import UnsupportedError


@dataclass(frozen=True)
class Family:
    """Where a family of transformers keeps its parts.

    Args:
        layers: the attribute path of the list of layers.
        norm: the attribute path of the normalisation after the last layer; "" for none.
    """

    layers: str
    norm: str = ""


_BERT = Family("encoder.layer")
_LLAMA = Family("layers", "norm")
# By `config.model_type`. Each is held against the model's own forward pass in tests/models/test_pruning_families.py.
FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet"), _BERT),
    "distilbert": Family("transformer.layer"),
    "modernbert": Family("layers", "final_norm"),
    "gpt2": Family("h", "ln_f"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text"), _LLAMA),
}
ATTENTION = ("eager", "sdpa")  # implementations that take a mask over pairs of tokens


@dataclass
class LayerCalls:
    """What the layers are called with for one batch.

    Attributes:
        embeddings: (B, L, D), the states that enter the first layer.
        output: what the first layer gives: its states, or a tuple that begins with them.
        arguments: for each layer its arguments by name, but the states.
    """

    embeddings: Tensor = field(init=False)
    output: Any = field(init=False)
    arguments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def after_first(self) -> Tensor:
        """(B, L, D), the states that the first layer gives."""
        return _first(self.output)


class Layers:
    """The layers of a transformer, to be run one by one.

    Args:
        model: a bare transformer, as `AutoModel` loads it.

    Raises:
        UnsupportedError: its architecture is not one of `FAMILIES`, or its attention not one of `ATTENTION`.
    """

    def __init__(self, model: nn.Module) -> None:
        config: Any = getattr(model, "config", None)
        kind = getattr(config, "model_type", type(model).__name__)
        if kind not in FAMILIES:
            raise UnsupportedError(
                f"models of type {kind!r} cannot be run layer by layer, which token pruning needs: use one of "
                f"{', '.join(sorted(FAMILIES))}, or a pooling that drops no tokens"
            )
        self.attention: str = config._attn_implementation
        if self.attention not in ATTENTION:
            raise UnsupportedError(
                f"the transformer's attention is {self.attention!r}, which takes no mask over pairs of tokens: load it "
                f"with attn_implementation='sdpa'"
            )
        self._model = model
        self._inputs = set(inspect.signature(model.forward).parameters)
        self._family = FAMILIES[kind]
        try:
            self._layers: Sequence[nn.Module] = attrgetter(self._family.layers)(model)
        except AttributeError as error:
            raise UnsupportedError(
                f"{type(model).__name__} has no layers at {self._family.layers!r}: expected the bare model, as "
                f"AutoModel loads it"
            ) from error
        self._parameters = [list(inspect.signature(layer.forward).parameters) for layer in self._layers]
        dtypes = [_dtype(layer) for layer in self._layers]
        self._dtypes = dtypes if len(set(dtypes)) > 1 else None

    def __len__(self) -> int:
        return len(self._layers)

    def above(self, number: int) -> Sequence[nn.Module]:
        """The layers from a number on: those that take the states of layer `number` and higher."""
        return self._layers[number:]

    def prepare(self, **inputs: Any) -> LayerCalls:
        """Find out what the layers are called with. Of the layers only the first is run.

        Args:
            inputs: `input_ids` and `attention_mask` (B, L), perhaps `token_type_ids`; what the model does not take
                is left out.

        Raises:
            UnsupportedError: the model did not call every layer once.
        """
        calls = LayerCalls()
        stand_ins = nn.ModuleList(map(_StandIn, self._layers, self._parameters, [calls] * len(self)))
        given = {name: value for name, value in inputs.items() if name in self._inputs}
        if hasattr(self._model.config, "use_cache"):
            given["use_cache"] = False
        _with_part(self._model, self._family.layers, stand_ins)(**given)
        if len(calls.arguments) != len(self):
            raise UnsupportedError(
                f"{type(self._model).__name__} called {len(calls.arguments)} of its {len(self)} layers, so they cannot "
                f"be run one by one: load it without wrappers (device_map, compile), or use a pooling that drops no "
                f"tokens"
            )
        return calls

    def run(self, number: int, states: Tensor, arguments: dict[str, Any]) -> Tensor:
        """One layer: states (B, L, D) -> (B, L, D)."""
        if self._dtypes is not None:
            states, arguments = _as_dtype((states, arguments), self._dtypes[number])
        return _first(self._layers[number](states, **arguments))

    def finish(self, states: Tensor) -> Tensor:
        """What the model does with the last layer's states: its final normalisation, if it has one."""
        norm = attrgetter(self._family.norm)(self._model) if self._family.norm else None
        return states if norm is None else norm(states if self._dtypes is None else _as_dtype(states, _dtype(norm)))

    def is_causal(self, number: int) -> bool:
        """Whether a layer that gets no mask lets a token see only those before it."""
        return any(getattr(module, "is_causal", False) for module in self._layers[number].modules())


class _StandIn(nn.Module):
    """Stands in a layer's place and notes its arguments. The first one runs its layer; all hand on what that gave.

    Some layers give their states, some a tuple, and the model takes that apart: only a layer can say which it is.
    """

    def __init__(self, layer: nn.Module, parameters: Sequence[str], calls: LayerCalls) -> None:
        super().__init__()
        # As plain attributes: a submodule would be found, moved and hooked with the others.
        self.__dict__.update(_layer=layer, _names=parameters, _calls=calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)  # models ask their layers for settings such as `attention_type`

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        arguments = dict(zip(self._names, args, strict=False)) | kwargs
        states = arguments.pop(self._names[0])
        if not self._calls.arguments:
            self._calls.embeddings = states
            self._calls.output = self._layer(*args, **kwargs)
        self._calls.arguments.append(arguments)
        return self._calls.output


def _with_part(model: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """A model with another part at an attribute path; everything else is shared with the one that is given."""
    name, _, rest = path.partition(".")
    clone = copy.copy(model)
    clone._modules = {**model._modules, name: _with_part(getattr(model, name), rest, part) if rest else part}
    return clone


def in_two_dtypes(lower: nn.Module, upper: nn.Module, count: int) -> nn.Module:
    """Two copies of a transformer, of different dtypes, as one: the layers from number `count` on are `upper`'s.

    Nothing is copied. It is for `Layers`, which hands the states over; its own forward pass does not.
    """
    path = FAMILIES[lower.config.model_type].layers  # type: ignore[union-attr, index]
    of_lower, of_upper = map(attrgetter(path), (lower, upper))
    return _with_part(lower, path, nn.ModuleList([*of_lower[:count], *of_upper[count:]]))


def _dtype(layer: nn.Module) -> torch.dtype | None:
    """Of a layer's floating-point parameters."""
    return next((each.dtype for each in layer.parameters() if each.is_floating_point()), None)


def _as_dtype(value: Any, dtype: torch.dtype | None) -> Any:
    """The floating-point tensors in a value in a dtype. A mask's least value becomes the dtype's own, not infinity."""
    if isinstance(value, dict):
        return {name: _as_dtype(each, dtype) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_as_dtype(each, dtype) for each in value)
    if dtype is None or not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
        return value
    return value.to(dtype).clamp(min=torch.finfo(dtype).min)


def _first(output: Any) -> Tensor:
    """The states in what a layer gives."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
