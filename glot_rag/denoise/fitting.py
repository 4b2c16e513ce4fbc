"""Fits a head to a corpus: counts the documents, then lets the head judge every token of the vocabulary over them.

A head judges a token where it stands, and is wrong now and then. The words of a cookie notice are noise wherever they
stand, those of the corpus's subject hardly ever; so the mean of a word's judgements is better than any one of them, and
both together are better still. This mean is the token prior. No label is needed: the head teaches itself the noise of
the corpus (self-training; for words as the evidence of each other's context, Yarowsky 1995, "Unsupervised Word Sense
Disambiguation Rivaling Supervised Methods").
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.classifier import FittedClassifier, NoiseClassifier
from glot_rag.denoise.corpus_statistics import MOST_COUNTED, CorpusStatistics
from glot_rag.head import AdaPool, GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_groups, check_texts, sample_positions
from glot_rag.progress import bar

MOST_READ = 1_000  # documents that the head reads; a token that none of them has gets the mean's prior
_PRIOR_JUDGEMENTS = 3.0  # judgements that a token has from the start, of the corpus's mean
_SUREST = 0.997  # a probability beyond is not to be trusted
# With a prior the scores are surer of noise than they should be: a token stays from a probability of 0.27 on. Chosen,
# like the judgements and the rounds, on the validation halves of Cranfield and CISI.
_LENIENCE = 1.0
_ROUNDS = 2  # the second round's judgements have the first one's prior in them
_LARGEST_SCORE = 30.0  # beyond, the exponential would overflow
_WINDOW = 256  # texts tokenised at a time

logger = logging.getLogger(__name__)


def fit_head(
    backbone: Backbone,
    head: GlotHead | AdaPool,
    classifier: NoiseClassifier,
    documents: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    show_progress: bool = False,
) -> GlotHead | AdaPool:
    """A copy of a head whose scores are adjusted to a corpus; it shares the parameters.

    The backbone reads in float32, whatever dtype it embeds in: the same documents give the same fitted head everywhere.

    Args:
        backbone: the frozen transformer.
        head: trained over this backbone; an adjustment that it has already is replaced.
        classifier: the head's.
        documents: N texts, noise and all, at least 50. Up to 20,000 of them are counted, up to 1,000 are read.
        groups: the name of each document's group; None counts no groups.
        show_progress: draw a progress bar on stderr.

    Raises:
        InputError: too few documents, not a list of strings, or another number of groups.
    """
    texts, names = check_texts(documents), check_groups(groups, len(documents))
    chosen = sample_positions(len(texts), MOST_COUNTED)
    if len(chosen) < len(texts):
        logger.info("%d of %d documents are counted, evenly spread", len(chosen), len(texts))
    counted = [texts[position] for position in chosen]
    counts = CorpusStatistics.count(
        _token_ids(backbone, counted, show_progress),
        backbone.tokenizer.vocabulary_size,
        None if names is None else [names[position] for position in chosen],
    )
    weighing = head.with_adjustment(FittedClassifier(classifier, counts))
    prior = _token_prior(backbone.in_float32, weighing, counted, show_progress)
    logger.info("fitted to %d documents: %d phrases recur", counts.documents, len(counts.phrases))
    return head.with_adjustment(FittedClassifier(classifier, dataclasses.replace(counts, token_prior=prior)))


def _token_ids(backbone: Backbone, texts: Sequence[str], show_progress: bool) -> Iterator[list[int]]:
    """Each document's token ids over its whole length; the transformer is not run."""
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("counting", total=len(texts))
        for start in range(0, len(texts), _WINDOW):
            for ids in backbone.tokenizer.whole(texts[start : start + _WINDOW]):
                yield ids
                progress.advance(task)


@torch.inference_mode()
def _token_prior(
    backbone: Backbone, head: GlotHead | AdaPool, documents: Sequence[str], show_progress: bool
) -> NDArray[np.float32]:
    """What to add to every token's score, (V,): see `prior_of_scores`.

    The first window of up to 1,000 documents is read, evenly spread, through the layers that the head reads. The head
    is adjusted to the corpus, without a prior yet.
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
    """The token prior that some tokens' ids (N,) and scores (N,) make, for a vocabulary of V tokens.

    Returns:
        (V,) float32: log-odds of signal of each token over all its places, less those of the corpus.
    """
    count = np.bincount(ids, minlength=size)
    prior = np.zeros(size)
    for _ in range(_ROUNDS):
        signal = 1 / (1 + np.exp(-np.clip(scores + prior[ids], -_LARGEST_SCORE, _LARGEST_SCORE)))
        mean = signal.mean() if len(signal) else 0.5
        of_token = (np.bincount(ids, signal, minlength=size) + _PRIOR_JUDGEMENTS * mean) / (count + _PRIOR_JUDGEMENTS)
        prior = _log_odds(of_token) - _log_odds(mean) + _LENIENCE
    return np.asarray(np.round(prior * 16) / 16, np.float32)  # to a sixteenth, which other processors' rounding keeps


def _log_odds(probability: NDArray[np.float64] | float) -> NDArray[np.float64]:
    bounded = np.clip(probability, 1 - _SUREST, _SUREST)
    return np.asarray(np.log(bounded / (1 - bounded)))
