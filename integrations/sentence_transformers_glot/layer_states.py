"""Have a `Transformer` hand over the hidden layers that a head reads, beside its token embeddings.

Not by `output_hidden_states`: transformers then keeps every layer, and leaves hooks in the model that no other process
can be sent, so that encoding in several processes would fail.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from glot_rag.errors import BundleError

# Among the features: layer, as the head's configuration counts it -> (B, L, D), or (1, ΣL, D) for flattened input.
LAYER_STATES = "glot_layer_states"


class _Recorder:
    """Records the states that enter some layers of a `Transformer`; one object a transformer, for all heads after it.

    Args:
        transformer: the module; gets a hook on each layer, and two around its own forward pass.
    """

    def __init__(self, transformer: Transformer) -> None:
        network = transformer.model
        self.count: int = network.config.get_text_config().num_hidden_layers
        modules = network.modules() if isinstance(network, nn.Module) else ()  # ONNX and OpenVINO show none
        lists = [m for m in modules if isinstance(m, nn.ModuleList) and len(m) == self.count]
        if not lists:
            raise BundleError("the transformer's layers cannot be found: use backend='torch', or a head for (-1,)")
        self.wanted: set[int] = set()
        self._local = threading.local()
        for number, layer in enumerate(lists[0]):
            layer.register_forward_pre_hook(partial(self._record, number), with_kwargs=True)
        transformer.register_forward_pre_hook(self._start)
        transformer.register_forward_hook(self._end, always_call=True)

    # Models are pickled, to other processes, with their hooks.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def add(self, layers: Iterable[int]) -> None:
        """Record these layers, too.

        Raises:
            BundleError: there is no such layer.
        """
        for layer in layers:
            if not -self.count - 1 <= layer <= self.count:
                raise BundleError(f"the head reads layer {layer}; the transformer has 0 to {self.count}")
            self.wanted.add(layer)

    def _start(self, transformer: nn.Module, args: tuple[Any, ...]) -> None:
        self._local.states = {}

    def _record(self, number: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states: dict[int, Tensor] | None = getattr(self._local, "states", None)
        if states is not None and any(wanted % (self.count + 1) == number for wanted in self.wanted):
            states[number] = args[0] if args else kwargs["hidden_states"]

    def _end(self, transformer: nn.Module, args: tuple[Any, ...], features: dict[str, Any] | None) -> None:
        states, self._local.states = self._local.states, None
        if features is not None:  # else the forward pass failed
            # The last layer as the transformer gives it: with the final normalisation.
            states[self.count] = features["token_embeddings"]
            features[LAYER_STATES] = {layer: states[layer % (self.count + 1)] for layer in self.wanted}


def hand_over(transformer: Transformer, layers: Iterable[int]) -> None:
    """Put these layers' states among the features that `transformer` gives from now on.

    Args:
        transformer: the module.
        layers: as `HeadConfig.layers` counts them.

    Raises:
        BundleError: it has no such layers, or does not show them.
    """
    found: Any = getattr(transformer, "_glot_recorder", None) or _Recorder(transformer)
    transformer._glot_recorder = found
    found.add(layers)
