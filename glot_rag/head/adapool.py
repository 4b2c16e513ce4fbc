"""AdaPool: GLOT's learned readout over the hidden states themselves, without a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from glot_rag.head.config import HeadConfig
from glot_rag.head.pooling import Pooled, TrainedPooling, real_states
from glot_rag.head.readout import score_mlp, token_weights


class AdaPool(TrainedPooling):
    r"""Adaptive pooling, the learned baseline of GLOT's paper (arXiv 2603.03389).

    .. math:: z = \sum_i \pi_i x_i, \quad \pi = \mathrm{readout}(w_2^\top \tanh(W_1 x_i + b_1) + b_2)

    Args:
        config: the head's settings; those of the graph are not read.

    Shapes: states (B, L, S·D), mask (B, L) -> vector (B, D), weights (B, L), logits (B, L).
    """

    name = "adapool"

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = config.layers
        self.output_size = config.state_size
        self.drops = config.form == "drop"
        self.mix_weight = config.mix_weight
        self.score_layer = score_mlp(config.input_size)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """Pool a batch (see `Pooling.forward`)."""
        x = real_states(states, mask)
        logits = self.adjusted(self.score_layer(x).squeeze(-1), ids, mask)
        weights = token_weights(logits, mask, self.config, self.min_drop_ratio)
        return Pooled(torch.einsum("bl,bld->bd", weights, x[..., -self.output_size :]), weights, logits)
