"""The networks of a denoiser -> three graphs of standard operators: lower layers, word head, block head.

What lies between them (windows, layout, counts, what is kept) is NumPy, the same code as for torch.
`glot_rag.onnx.networks` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from glot_onnx.graphs import dense_copy, write_graph
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.denoise.recurrence import RECURRENCE_FEATURES
from glot_rag.documents.layout import LAYOUT_FEATURES
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.models.backbone import Backbone


class _LowerLayers(nn.Module):
    """Token ids and mask -> the states of some layers."""

    def __init__(self, backbone: Backbone, layers: Sequence[int]) -> None:
        super().__init__()
        self.model = backbone.model
        self._backbone, self._layers = backbone, layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """(B, L) int64 each -> (B, L, D) a layer."""
        states, _ = self._backbone.run(input_ids, attention_mask.bool(), self._layers)
        return tuple(states)


class _WordHead(nn.Module):
    """States, mask and corpus features -> scores of the head alone and, with a classifier, fitted ones."""

    def __init__(self, head: GlotHead | AdaPool, classifier: NoiseClassifier | None) -> None:
        super().__init__()
        self.head = dense_copy(head)
        self._classifier = classifier

    def forward(
        self, states: Tensor, attention_mask: Tensor, corpus_features: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """(B, L, S·D), (B, L) int64 and perhaps (B, L, F) -> (B, L) and perhaps (B, L)."""
        mask = attention_mask.bool()
        scores = self.head(states, mask).logits
        if self._classifier is None or corpus_features is None:
            return (scores,)
        return scores, self._classifier(scores, corpus_features, mask)


def write_lower_layers(backbone: Backbone, layers: Sequence[int], path: Path) -> None:
    """`input_ids`, `attention_mask` (batch, seq) -> `layer_N` (batch, seq, D) for each of the layers."""
    ids = torch.full((2, 7), backbone.tokenizer.stand_in)
    inputs = {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2])}
    outputs = [f"layer_{layer}" for layer in layers]
    write_graph(_LowerLayers(backbone, layers), inputs, outputs, path, longest=backbone.max_tokens)


def write_word_head(head: GlotHead | AdaPool, classifier: NoiseClassifier | None, path: Path) -> None:
    """`states` (batch, seq, S·D), `attention_mask` and perhaps `corpus_features` -> `scores`, perhaps `fitted_scores`.

    The graph is the same whatever corpus the head is fitted to.
    """
    inputs = {
        "states": torch.zeros(2, 7, head.config.input_size),
        "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2]),
    }
    outputs = ["scores"]
    if classifier is not None:
        inputs["corpus_features"] = torch.zeros(2, 7, len(FEATURES))
        outputs.append("fitted_scores")
    write_graph(_WordHead(head, classifier), inputs, outputs, path)


def write_block_head(head: BlockGraphHead, path: Path) -> None:
    """`states`, `block` (windows, seq), `mask`, `layout`, `counts` (documents, blocks) -> the logits of `forward`."""
    blocks = torch.tensor([[0, 0, 1, 2, 3, 4, 4], [4, 5, 6, 6, 7, -1, -1], [6, 7, 7, 7, -1, -1, -1]])
    inputs = {
        "states": torch.rand(3, 7, head.config.state_size),
        "block": blocks,
        "mask": torch.ones(2, 4, dtype=torch.bool),
        "layout": torch.rand(2, 4, len(LAYOUT_FEATURES)),
        "counts": torch.rand(2, 4, len(RECURRENCE_FEATURES)),
    }
    sizes = dict.fromkeys(("states", "block"), ("windows", "seq"))
    sizes |= dict.fromkeys(("mask", "layout", "counts"), ("documents", "blocks"))
    write_graph(head, inputs, ["block_logits", "token_logits"], path, sizes=sizes)
