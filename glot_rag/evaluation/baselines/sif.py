"""SIF: token states weighted by smooth inverse frequency, and the direction that all documents share taken out.

Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017, algorithm 1, over the
backbone's last states in place of word vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.embedder import Embedder
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import InputError
from glot_rag.fingerprint import fingerprint
from glot_rag.head.pooling import Pooled, Pooling, real_states
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_texts, sample_positions

SMOOTHING = 1e-3  # the paper's a
MOST_ENCODED = 500  # documents whose common direction is looked for


class SifPooling(Pooling):
    """The mean of the token states, each weighted by a / (a + p) where p is the token's share of the corpus.

    Args:
        weights: (V,) of every token of the vocabulary.
        component: (D,) of norm 1, which is taken out of every vector; None takes out nothing.
    """

    weights: Tensor
    component: Tensor

    def __init__(self, weights: NDArray[np.float32], component: Tensor | None, state_size: int) -> None:
        super().__init__()
        # The component's values follow from the weights, and another processor may round one of them otherwise.
        digest = fingerprint({"weights": weights, "component": None if component is None else True})
        self.name = f"sif {digest}"
        self.output_size = state_size
        self.register_buffer("weights", torch.from_numpy(weights))
        self.register_buffer("component", torch.zeros(state_size) if component is None else component)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """(B, L, D), (B, L) and token ids (B, L) -> (B, D)."""
        if ids is None:
            raise InputError("SIF weighs tokens by their ids, and got none: pass ids=")
        weights = self.weights[ids] * mask
        total = torch.einsum("bl,bld->bd", weights, real_states(states, mask))
        vector = total / mask.sum(dim=1, keepdim=True).clamp(min=1)
        vector = vector - (vector @ self.component)[:, None] * self.component
        return Pooled(vector, weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12))


def sif_over(encoder: Embedder, *, common_component: bool) -> Callable[[Sequence[str]], TorchEncoder]:
    """What counts documents and gives an encoder that pools by SIF, for documents and queries alike.

    Tokens are counted as far as the backbone reads a document.

    Args:
        encoder: runs through torch; its backbone and prompts are used.
        common_component: take the first singular vector of the documents' vectors out of every vector, as the paper
            does; the vectors of up to 500 documents, evenly spread, are looked at.

    Raises:
        InputError: the encoder has no backbone.
    """
    backbone: Backbone | None = getattr(encoder, "backbone", None)
    if backbone is None:
        raise InputError("The baseline 'sif' needs an encoder that runs torch: leave it out.")
    query, document = (getattr(encoder, f"{name}_prompt", "") for name in ("query", "document"))
    return partial(_count, backbone, query, document, common_component)


def _count(
    backbone: Backbone, query_prompt: str, document_prompt: str, common_component: bool, texts: Sequence[str]
) -> TorchEncoder:
    counts = np.zeros(backbone.model.get_input_embeddings().weight.shape[0], np.int64)
    sequences = backbone.tokenizer([document_prompt + text for text in check_texts(texts)])
    for ids in sequences:
        np.add.at(counts, ids, 1)
    weights = (SMOOTHING / (SMOOTHING + counts / max(1, counts.sum()))).astype(np.float32)
    pooling = SifPooling(weights, None, backbone.state_size)
    if common_component:
        encoded = [sequences[row] for row in sample_positions(len(sequences), MOST_ENCODED)]
        pooling = SifPooling(weights, _common_component(backbone, pooling, encoded), backbone.state_size)
    return TorchEncoder(backbone, pooling, query_prompt=query_prompt, document_prompt=document_prompt)


@torch.inference_mode()
def _common_component(backbone: Backbone, pooling: SifPooling, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(D,): the first singular vector of the documents' vectors, by their products (D, D), which stay small."""
    products = torch.zeros(pooling.output_size, pooling.output_size, dtype=torch.float64)
    for batch in backbone.pack(sequences):
        states, mask = backbone.hidden_states(batch)
        vectors = pooling(states[0].cpu(), mask.cpu(), torch.from_numpy(batch.ids)).vector.double()
        products += vectors.T @ vectors
    component: Tensor = torch.linalg.eigh(products).eigenvectors[:, -1]
    return component.float()
