"""A word head that torch runs, seen from NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.classifier import FittedClassifier
from glot_rag.head import AdaPool, GlotHead
from glot_rag.models.tokenizer import TokenBatch


class TorchWordScorer:
    """A `WordScorer` over a frozen head, fitted to a corpus or not.

    Args:
        head: the head.
    """

    def __init__(self, head: GlotHead | AdaPool) -> None:
        self._head, self._adjustment = head.without_adjustment(), head.adjustment
        self.layers = head.layers
        self.min_keep_ratio = head.config.min_keep_ratio
        self.min_drop_ratio = head.min_drop_ratio

    @torch.inference_mode()
    def score(
        self, states: NDArray[np.float32], batch: TokenBatch, groups: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """How much each token looks like signal: (B, L, S·D) -> (B, L)."""
        device = next(self._head.parameters()).device
        mask = torch.from_numpy(batch.mask).to(device)
        logits = self._head(torch.from_numpy(states).to(device), mask).logits
        assert logits is not None
        if self._adjustment is not None:
            assert isinstance(self._adjustment, FittedClassifier)
            logits = self._adjustment(logits, torch.from_numpy(batch.ids), mask, groups)
        scores: NDArray[np.float32] = logits.float().cpu().numpy()
        return scores
