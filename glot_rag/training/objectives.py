"""What a head is trained for. Each objective is a mean over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from glot_rag.training.views import NOISE, SPECIAL


def denoising_loss(vectors: Tensor, targets: Tensor) -> Tensor:
    """1 - cos between noisy texts' vectors and the frozen backbone's vectors of their clean words; (B, D) each."""
    return (1 - functional.cosine_similarity(vectors, targets, dim=-1)).mean()


def contrastive_loss(queries: Tensor, vectors: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE with in-batch negatives (van den Oord et al. 2018; GLOT's appendix on contrastive training).

    Args:
        queries: (B, D).
        vectors: (B, D); row i belongs to query i.
        temperature: divides the cosines.
    """
    if len(queries) < 2:  # nothing to tell apart
        return vectors.sum() * 0.0
    scores = functional.normalize(queries, dim=-1) @ functional.normalize(vectors, dim=-1).T / temperature
    own = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the readout's scores: high for signal, low for noise. (B, L) each; SPECIAL is left out.

    Every text counts the same, however long it is.
    """
    counted = (labels != SPECIAL).float()
    loss = functional.binary_cross_entropy_with_logits(logits, (labels != NOISE).float(), reduction="none")
    return ((loss * counted).sum(-1) / counted.sum(-1).clamp(min=1)).mean()
