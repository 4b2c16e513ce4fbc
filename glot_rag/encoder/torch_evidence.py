"""What the tokens of one window give, through torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from glot_rag.encoder.encoding import pool_batch
from glot_rag.encoder.explaining import ReadWindow
from glot_rag.head import GlotHead, Pooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch


@torch.inference_mode()
def read_window(backbone: Backbone, head: Pooling, reading: Pooling, ids: Sequence[int]) -> ReadWindow:
    """Run the backbone over one window.

    Args:
        backbone: the frozen transformer.
        head: whose noise probabilities and graph are shown.
        reading: what makes the vector.
        ids: L token ids.
    """
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), np.bool_))
    poolings = {"head": head, **({} if reading is head else {"vector": reading})}
    found = pool_batch(backbone, poolings, batch, parts=True)
    scored, vector = found["head"], found.get("vector", found["head"])
    assert vector.parts is not None
    logits = scored.pooled.logits
    return ReadWindow(
        vector.pooled.weights[0].cpu().numpy(),
        None if logits is None else torch.sigmoid(-logits[0]).cpu().numpy(),
        vector.parts[0].float().cpu().numpy(),
        head.graph(scored.states, scored.mask)[0].cpu().numpy() if isinstance(head, GlotHead) else None,
    )
