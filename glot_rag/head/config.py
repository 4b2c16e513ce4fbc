"""The settings that decide a head's shape and meaning: a frozen dataclass with a JSON round trip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glot_rag.checks import choose
from glot_rag.errors import InputError

CONVOLUTIONS = ("gat", "gcn", "gin", "gine", "transformer")
JUMPING = ("cat", "max", "mean")
FORMS = ("residual", "paper", "drop")
NORMS = ("none", "layer")
READOUTS = ("sigmoid", "softmax")
TRAINED_POOLINGS = ("glot", "adapool")
BASELINE_POOLINGS = ("mean", "max", "cls", "last")
POOLINGS = TRAINED_POOLINGS + BASELINE_POOLINGS


@dataclass(frozen=True)
class HeadConfig:
    """Hyper-parameters of a trained head (GLOT, arXiv 2603.03389, section 3; AdaPool has no graph).

    Args:
        state_size: D, the width of one layer's hidden states.
        layers: the backbone layers that the head reads, as indices into transformers' `hidden_states`
            (0 the embeddings, -1 the last layer). Their states are concatenated to (B, L, S·D); the last
            one listed gives the token graph and is pooled. The paper reads the last layer, `(-1,)`.
        pooling: "glot", or "adapool" for the same readout without a graph.
        convolution: the graph layer: gat, gcn, gin, gine (the paper's), or transformer (dot-product attention over the
            graph, four heads).
        num_layers: K, the number of graph layers.
        hidden_size: the width of the graph layers.
        threshold: tau; an edge joins tokens i and j where cos(x_i, x_j) > tau.
        jumping: jumping knowledge, "cat" over H0..HK, or "max"/"mean" over H1..HK.
        form: what the vector z is made of.
            "paper": z = Σ pi_i H_i, projected to `output_size` if that is set.
            "residual": z = Σ pi_i x_i + P(Σ pi_i jk(h_1..h_K)_i). P is 0 at first, so an untrained head is mean
            pooling.
            "drop" (token pruning): tokens that score as noise leave the backbone after the highest of `layers`, the
            layers above see the others only, and z is the mean of those. A text of which nothing is dropped has
            exactly mean pooling's vector.
        readout: "softmax": pi = softmax(s), as in the paper; "sigmoid": pi proportional to sigmoid(s), so that
            tokens that all look like signal weigh the same, and a clean text is pooled as mean pooling does.
        norm: "layer" for a LayerNorm after each graph layer, "none" as in the paper.
        output_size: the paper form's projection; None for none.
        min_keep_ratio: the drop form keeps at least this share of a text's tokens, those with the highest scores.
        mix_weight: of the drop form, w: z = w · (mean of the kept tokens, which have not seen the others) + (1 - w) ·
            (mean pooling of the whole text). Below 1 a wrong choice of tokens costs less, but the upper layers run
            over the whole text, too.

    Raises:
        InputError: a value out of its range.
    """

    state_size: int
    layers: tuple[int, ...] = (-1,)
    pooling: str = "glot"
    convolution: str = "gat"
    num_layers: int = 2
    hidden_size: int = 128
    threshold: float = 0.3
    jumping: str = "cat"
    form: str = "residual"
    readout: str = "softmax"
    norm: str = "none"
    output_size: int | None = None
    min_keep_ratio: float = 0.1
    mix_weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        choose("pooling", self.pooling, TRAINED_POOLINGS)
        choose("convolution", self.convolution, CONVOLUTIONS)
        choose("jumping", self.jumping, JUMPING)
        choose("form", self.form, FORMS)
        choose("readout", self.readout, READOUTS)
        choose("norm", self.norm, NORMS)
        for name in ("state_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65_536:
                raise InputError(f"{name} must be a whole number from 1 to 65536; got {value!r}")
        if not self.layers or not all(isinstance(layer, int) for layer in self.layers):
            raise InputError(f"layers must name at least one backbone layer by number; got {self.layers!r}")
        if not isinstance(self.threshold, (int, float)) or not -1.0 <= self.threshold < 1.0:
            raise InputError(f"threshold (tau) must be in [-1, 1); got {self.threshold!r}")
        if self.output_size is not None:
            if not isinstance(self.output_size, int) or self.output_size < 1:
                raise InputError(f"output_size must be a positive whole number or None; got {self.output_size!r}")
            if self.form != "paper":
                raise InputError("output_size belongs to the paper form; the other forms keep the backbone's size")
        if self.convolution == "transformer" and self.hidden_size % 4:
            raise InputError(
                f"the transformer layer has four heads: hidden_size must be divisible by 4; got {self.hidden_size}"
            )
        if not isinstance(self.min_keep_ratio, (int, float)) or not 0.0 <= self.min_keep_ratio <= 1.0:
            raise InputError(f"min_keep_ratio must be in [0, 1]; got {self.min_keep_ratio!r}")
        if not isinstance(self.mix_weight, (int, float)) or not 0.0 < self.mix_weight <= 1.0:
            raise InputError(f"mix_weight must be above 0 and at most 1; got {self.mix_weight!r}")
        if self.mix_weight < 1 and self.form != "drop":
            raise InputError("mix_weight belongs to the drop form; the other forms drop nothing")

    @property
    def input_size(self) -> int:
        """S·D, the width of the concatenated states."""
        return self.state_size * len(self.layers)

    @property
    def mean_queries(self) -> bool:
        """Whether queries are mean-pooled: true where the head's vectors stay in mean pooling's space.

        Queries carry no noise, and an index then also serves queries that the stock model embedded. The paper form has
        a space of its own, so the head pools the queries, too.
        """
        return self.pooling == "adapool" or self.form != "paper"

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; `from_dict` takes it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadConfig:
        """Make a configuration from what `to_dict` gave.

        Raises:
            InputError: an unknown or missing field, or a value out of its range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown head settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"head settings are incomplete: {error}") from error
