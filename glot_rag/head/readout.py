"""The learned readout: a score for each token, and the share that each token has in the vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from glot_rag.head.config import HeadConfig
from glot_rag.head.layers import masked_softmax

READOUT_SIZE = 128  # the width of W1, as in the authors' code


def score_mlp(input_size: int) -> nn.Sequential:
    r"""The scorer of GLOT (arXiv 2603.03389, section 3) and AdaPool.

    .. math:: s_i = w_2^\top \tanh(W_1 h_i + b_1) + b_2

    w2 and b2 are 0 at first, so every token weighs the same.

    Args:
        input_size: the width of h_i.

    Shapes: (…, input_size) -> (…, 1).
    """
    last = nn.Linear(READOUT_SIZE, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(input_size, READOUT_SIZE), nn.Tanh(), last)


def readout_weights(logits: Tensor, mask: Tensor, readout: str) -> Tensor:
    r"""The weights pi of all real tokens.

    .. math:: \pi_i = f(s_i) / \sum_j f(s_j), \quad f = \exp \text{ ("softmax") or } \sigma \text{ ("sigmoid")}

    Args:
        logits: s, (B, L).
        mask: (B, L) boolean.
        readout: "softmax" or "sigmoid".

    Returns:
        (B, L); rows sum to 1, padding has 0.
    """
    if readout == "sigmoid":
        logits = functional.logsigmoid(logits)
    return masked_softmax(logits, mask)


def keep_tokens(logits: Tensor, mask: Tensor, min_keep_ratio: float, min_drop_ratio: float = 0.0) -> Tensor:
    """Choose the tokens that stay: those more likely signal than noise, and at least a share of each text.

    A text that is mostly noise lowers the scores of its signal, too, but signal still scores highest there: hence the
    share that stays in any case. A text that would lose very little is clean, and its low scores belong to unusual
    words: it is left whole.

    Args:
        logits: s, (B, L); above 0 is more likely signal.
        mask: (B, L) boolean.
        min_keep_ratio: at least this share of a text's tokens stays (rounded up, one at least): the highest scores.
        min_drop_ratio: a text that would lose less than this share of its tokens is left whole.

    Returns:
        (B, L) boolean; False for padding.
    """
    filled = torch.where(mask, logits.float(), torch.finfo(torch.float32).min)
    count = (mask.sum(dim=1, keepdim=True) * min_keep_ratio).ceil().long().clamp(min=1)
    last = filled.sort(dim=1, descending=True).values.gather(1, count - 1)
    kept = ((filled >= 0) | (filled >= last)) & mask
    if min_drop_ratio > 0:
        clean = (mask & ~kept).sum(dim=1, keepdim=True) < min_drop_ratio * mask.sum(dim=1, keepdim=True)
        kept = kept | (clean & mask)  # not `where`: ONNX Runtime has none for booleans
    return kept


def token_weights(logits: Tensor, mask: Tensor, config: HeadConfig, min_drop_ratio: float) -> Tensor:
    """The weights of a head's tokens: `readout_weights`, or in the drop form the same weight for all that stay.

    Args:
        logits: s, (B, L).
        mask: (B, L) boolean.
        config: the head's settings.
        min_drop_ratio: see `keep_tokens`.

    Returns:
        pi, (B, L); rows sum to 1, padding has 0.
    """
    if config.form != "drop":
        return readout_weights(logits, mask, config.readout)
    kept = keep_tokens(logits, mask, config.min_keep_ratio, min_drop_ratio).float()
    return kept / kept.sum(dim=1, keepdim=True).clamp(min=1)
