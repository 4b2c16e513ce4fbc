"""Have a `Transformer` hand over the hidden layers that a head reads, beside its token embeddings.

Not by `output_hidden_states`: transformers then keeps every layer, and leaves hooks in the model that no other process
can be sent, so that encoding in several processes would fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers.base.modules import Transformer
from torch import nn

from glot_rag.errors import BundleError
from glot_rag.models.pruning import LayerTap, Run

# Among the features: layer, as the head's configuration counts it -> (B, L, D), or (1, ΣL, D) for flattened input.
LAYER_STATES = "glot_layer_states"


class _HandOver:
    """Two hooks around a `Transformer`'s forward pass; one object a transformer, whatever the number of heads."""

    def __init__(self, transformer: Transformer) -> None:
        network = transformer.model
        self.count: int = network.config.get_text_config().num_hidden_layers
        if not isinstance(network, nn.Module) or not (tap := LayerTap(network, self.count)).found:
            raise BundleError("the transformer's layers cannot be found: use backend='torch', or a head for (-1,)")
        self.tap = tap
        self.wanted: set[int] = set()
        transformer.register_forward_pre_hook(self._start)
        transformer.register_forward_hook(self._end, always_call=True)

    def add(self, layers: Iterable[int]) -> None:
        for layer in layers:
            if not -self.count - 1 <= layer <= self.count:
                raise BundleError(f"the head reads layer {layer}; the transformer has 0 to {self.count}")
            self.wanted.add(layer)

    def _start(self, transformer: nn.Module, args: tuple[Any, ...]) -> None:
        numbers = {layer % (self.count + 1) for layer in self.wanted}
        self.tap.start(Run(wanted=numbers - {self.count}))

    def _end(self, transformer: nn.Module, args: tuple[Any, ...], features: dict[str, Any] | None) -> None:
        run = self.tap.end()
        if features is None or run is None:  # the forward pass failed
            return
        # The last layer as the transformer gives it: with the final normalisation.
        states = {**run.states, self.count: features["token_embeddings"]}
        features[LAYER_STATES] = {layer: states[layer % (self.count + 1)] for layer in self.wanted}


def hand_over(transformer: Transformer, layers: Iterable[int]) -> None:
    """Put these layers' states among the features that `transformer` gives from now on.

    Args:
        transformer: the module.
        layers: as `HeadConfig.layers` counts them.

    Raises:
        BundleError: it has no such layers, or does not show them.
    """
    found: Any = getattr(transformer, "_glot_hand_over", None) or _HandOver(transformer)
    transformer._glot_hand_over = found
    found.add(layers)
