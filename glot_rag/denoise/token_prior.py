"""Opinion: what an adapted head makes of each token of the vocabulary, over all the places where it stands.

A head judges a token where it stands, and is mistaken now and then. The words of a cookie notice are noise wherever
they stand, those of the collection's subject hardly ever; so the mean of a word's judgements is a better one than any
of them, and both together are better still. No label is needed: the head teaches itself the collection's own noise
(self-training; for words as the evidence of each other's context, Yarowsky 1995, "Unsupervised Word Sense
Disambiguation Rivaling Supervised Methods").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.head import AdaPool, GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import sample_positions
from glot_rag.progress import bar

MOST_READ = 1_000  # documents: a word that none of them has is judged where it stands alone
_PRIOR = 3.0  # judgements that a word has from the start, of the collection's mean
_SUREST = 0.997  # a probability beyond is not to be trusted
# With opinions the scores are surer of noise than they should be: a token stays from a probability of 0.27 on. Chosen,
# like the prior and the rounds, on the validation halves of Cranfield and CISI.
_LENIENCE = 1.0
_ROUNDS = 2  # the second round's judgements have the first one's opinion in them
_LARGEST = 30.0  # a score beyond would overflow
_WINDOW = 256  # texts tokenised at a time


@torch.inference_mode()
def token_prior(
    backbone: Backbone, head: GlotHead | AdaPool, documents: Sequence[str], *, show_progress: bool = False
) -> NDArray[np.float32]:
    """What to add to every token's score.

    The first window of up to 1,000 documents is read, evenly spread, through the layers that the head reads.

    Args:
        backbone: the frozen transformer.
        head: adapted to the collection, without an opinion yet.
        documents: texts.
        show_progress: draw a progress bar on stderr.

    Returns:
        (V,) float32: log-odds of signal of the token over all its places, less those of the collection.
    """
    read = [documents[position] for position in sample_positions(len(documents), MOST_READ)]
    ids: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("reading", total=len(read))
        for start in range(0, len(read), _WINDOW):
            sequences = backbone.tokenizer(read[start : start + _WINDOW])
            for batch in backbone.pack(sequences):
                states, mask = backbone.hidden_states(batch, head.layers)
                logits = head(torch.cat(states, dim=-1), mask, torch.from_numpy(batch.ids)).logits
                assert logits is not None
                counted = batch.mask & ~np.isin(batch.ids, backbone.tokenizer.special_ids)
                ids.append(batch.ids[counted])
                scores.append(logits.float().cpu().numpy()[counted])
                progress.advance(task, len(batch.rows))
    return prior_of_scores(np.concatenate(ids), np.concatenate(scores), backbone.tokenizer.vocabulary_size)


def prior_of_scores(ids: NDArray[np.int64], scores: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The opinion that so many tokens' ids (N,) and scores (N,) make, for a vocabulary of a size."""
    count = np.bincount(ids, minlength=size)
    opinion = np.zeros(size)
    for _ in range(_ROUNDS):
        signal = 1 / (1 + np.exp(-np.clip(scores + opinion[ids], -_LARGEST, _LARGEST)))
        mean = signal.mean() if len(signal) else 0.5
        of_word = (np.bincount(ids, signal, minlength=size) + _PRIOR * mean) / (count + _PRIOR)
        opinion = _log_odds(of_word) - _log_odds(mean) + _LENIENCE
    # To a sixteenth: what another processor rounds otherwise should not make another encoder.
    return np.asarray(np.round(opinion * 16) / 16, np.float32)


def _log_odds(probability: NDArray[np.float64] | float) -> NDArray[np.float64]:
    bounded = np.clip(probability, 1 - _SUREST, _SUREST)
    return np.asarray(np.log(bounded / (1 - bounded)))
