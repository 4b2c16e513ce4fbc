"""The trainable part of a classifier: a pooling over frozen states, then one linear layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.head import BaselinePooling, Pooling
from glot_rag.head.config import BASELINE_POOLINGS, POOLINGS, HeadConfig
from glot_rag.head.storage import build_head


def build_pooling(name: str, state_size: int, **settings: Any) -> Pooling:
    """A fresh pooling by name; GLOT and AdaPool in the paper's form, with the paper's defaults.

    Args:
        name: one of `glot_rag.head.config.POOLINGS`.
        state_size: D.
        settings: of `HeadConfig`, for the trained ones; the fixed ones pool one layer and leave these alone.
    """
    if choose("pooling", name, POOLINGS) in BASELINE_POOLINGS:
        return BaselinePooling(name, state_size)
    return build_head(HeadConfig(**{"state_size": state_size, "pooling": name, "form": "paper", **settings}))


class TextClassifier(nn.Module):
    """Pooling and a linear layer, for one text or for a pair.

    A pair's features are [u, v, |u - v|, u * v] of its two vectors (InferSent, Conneau et al. 2017), each of which is
    scaled to mean 0 and variance 1 before: in a decoder's states a few dimensions are a hundred times as large as the
    others, and distances and products would be theirs alone.

    Args:
        pooling: a pooling over states that are already there, so not the drop form.
        outputs: C; one per class, or 1 for a regression.
        texts: 1, or 2 for a pair.

    Raises:
        InputError: a pooling in the drop form, or another number of texts.
    """

    def __init__(self, pooling: Pooling, outputs: int, texts: int = 1) -> None:
        super().__init__()
        if pooling.drops:
            raise InputError("the drop form works inside the backbone: over cached states use form 'paper'")
        if texts not in (1, 2):
            raise InputError(f"a classifier takes 1 text or a pair, 2; got {texts}")
        self.pooling = pooling
        self.texts = texts
        self.output = nn.Linear(pooling.output_size * (4 if texts == 2 else 1), outputs)

    def forward(self, *texts: tuple[Tensor, Tensor]) -> Tensor:
        """States (B, L, S·D) and mask (B, L) of each text -> (B, C)."""
        vectors = [self.pooling(states, mask).vector for states, mask in texts]
        if self.texts == 2:
            u, v = (functional.layer_norm(vector, vector.shape[-1:]) for vector in vectors)
            vectors = [u, v, (u - v).abs(), u * v]
        out: Tensor = self.output(torch.cat(vectors, dim=-1))
        return out
