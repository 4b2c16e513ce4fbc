"""What a head is trained for: three losses, each a mean over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from glot_rag.training.views import NOISE, SIGNAL, SPECIAL

TEMPERATURE = 0.05  # of the contrastive loss
# How much more it costs to lose a rare token than a frequent one. With 0 (all tokens cost the same) the token AUC rises
# from 0.76 to 0.85, but nDCG@10 falls from 19.6 to 11.8 (docs/results/training.md).
_RARITY = 0.5
# A token of this share of all tokens costs 1: about where function words end and words with a meaning begin.
_TYPICAL_SHARE = 5e-4


def denoising_loss(vectors: Tensor, targets: Tensor) -> Tensor:
    """1 - cos between noisy texts' vectors and the frozen backbone's vectors of their clean words.

    Args:
        vectors: (B, D).
        targets: (B, D).
    """
    return (1 - functional.cosine_similarity(vectors, targets, dim=-1)).mean()


def contrastive_loss(queries: Tensor, vectors: Tensor, temperature: float = TEMPERATURE) -> Tensor:
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


def token_loss(logits: Tensor, labels: Tensor, costs: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of the readout's scores: high for signal, low for noise.

    Every text counts the same, however long it is. Tokens labelled SPECIAL are left out.

    Args:
        logits: the scores, (B, L).
        labels: (B, L); SIGNAL, NOISE or SPECIAL.
        costs: (B, L), what it costs to lose each token where it is signal (`signal_costs`); None is 1. To keep a noise
            token always costs 1. A head that is trained with cost c keeps a token from a probability of 1 / (1 + c) on.
    """
    counted = (labels != SPECIAL).float()
    loss = functional.binary_cross_entropy_with_logits(logits, (labels != NOISE).float(), reduction="none")
    if costs is not None:
        loss = torch.where(labels == SIGNAL, loss * costs, loss)
    return ((loss * counted).sum(-1) / counted.sum(-1).clamp(min=1)).mean()


def signal_costs(counts: Tensor) -> Tensor:
    """What it costs to drop a token that is signal, for each token of a vocabulary: sqrt(5e-4 / p), p its share.

    A text is found by its rare words, so these are worth a risk that "the" is not. The form is that of the smooth
    inverse frequency weights for averaging word vectors (Arora et al. 2017: a / (a + p)), without their limit of 1 for
    rare words.

    Args:
        counts: (V,), how often each token stands in clean text.

    Returns:
        (V,) float32, within [0.05, 20].
    """
    share = (counts.double() + 1) / (counts.sum() + len(counts))
    return ((_TYPICAL_SHARE / share) ** _RARITY).clamp(0.05, 20.0).float()
