"""Hard negatives: for each text, other texts' queries that the frozen backbone takes for its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NONE = -1
# NV-Retriever (Moreira et al. 2024): a negative as near as this share of the positive's score may well be a positive.
_MARGIN = 0.95
_CHUNK = 1024  # texts compared with all queries at once


def mine(texts: Tensor, queries: Tensor, count: int) -> Tensor:
    """The nearest queries of others, without those that may well fit.

    Args:
        texts: (T, D), the backbone's vectors of the clean texts.
        queries: (T, D), of their queries, row by row.
        count: how many a text.

    Returns:
        (T, count) numbers of queries, the nearest first. Left out are a text's own query and all with a cosine of over
        0.95 times its own's ("TopK-PercPos" of NV-Retriever); `NONE` where there are fewer.
    """
    texts, queries = functional.normalize(texts, dim=-1), functional.normalize(queries, dim=-1)
    found = []
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        scores = part @ queries.T
        own = torch.arange(start, start + len(part))
        positive = scores.gather(1, own[:, None])
        scores[scores > _MARGIN * positive] = -torch.inf
        scores.scatter_(1, own[:, None], -torch.inf)
        best, numbers = scores.topk(min(count, scores.shape[1]), dim=1)
        found.append(torch.where(best == -torch.inf, NONE, numbers))
    mined = torch.cat(found)
    return functional.pad(mined, (0, count - mined.shape[1]), value=NONE)
