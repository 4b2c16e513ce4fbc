"""Whether a trained head helps: retrieval on texts that were held out, beside mean pooling and the oracle.

A text's title is its query; without one it is the text's first sentence, which is taken out of the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from glot_rag.denoise.denoiser import Denoiser
from glot_rag.denoise.noisy_views import NoiseGenerator
from glot_rag.embedder import Vectors
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.training.documents import NoisyDocument
from glot_rag.training.texts import TrainingText

MOST_MEASURED = 200  # texts or documents: more would take longer and say the same
_DEPTH = 10
_QUERY_WORDS = (3, 40)
_SURE = 2  # standard errors
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")


@dataclass(frozen=True)
class Gain:
    """nDCG@10 × 100 of the queries of held-out texts.

    Attributes:
        queries: how many.
        mean: of mean pooling over the whole text.
        head: with the head.
        oracle: of mean pooling over the text without its noise.
        error: the standard error of head - mean, paired by query.
    """

    queries: int
    mean: float
    head: float
    oracle: float
    error: float

    def __str__(self) -> str:
        if not self.queries:
            return "nothing to measure on: no text had a title or a first sentence to ask for"
        gain = self.head - self.mean
        verdict = "no difference can be told"
        if abs(gain) > _SURE * self.error:
            verdict = "it helps" if gain > 0 else "it harms"
        return (
            f"{self.queries} queries, nDCG@10 × 100: mean pooling {self.mean:.1f}, with the head {self.head:.1f}, "
            f"without any noise {self.oracle:.1f}: {verdict} ({gain:+.1f}, standard error {self.error:.1f})"
        )


def gain_on_texts(encoder: TorchEncoder, texts: Sequence[TrainingText], seed: int) -> Gain:
    """What the word head wins on texts with noise between their words.

    Args:
        encoder: with the trained head as its pooling; whether it denoises does not matter.
        texts: held out from training.
        seed: of the noise.
    """
    texts = texts[:MOST_MEASURED]
    noise = NoiseGenerator([each.text for each in texts], seed)
    views = [noise.view(row, 0) for row in range(len(texts))]
    return _gain(
        encoder.with_pooling("mean"),
        encoder.with_pooling(encoder.pooling.name, denoise=False).encode_documents,
        [view.text for view in views],
        [view.signal for view in views],
        [_asked(text.query, view.signal) for text, view in zip(texts, views, strict=True)],
    )


def gain_on_documents(mean: TorchEncoder, denoiser: Denoiser, documents: Sequence[NoisyDocument]) -> Gain:
    """What the block head wins on documents with noise.

    Args:
        mean: an encoder with mean pooling, which does not denoise.
        denoiser: drops blocks.
        documents: held out from training.
    """
    documents = [each for each in documents if each.noise][:MOST_MEASURED]
    return _gain(
        mean,
        lambda texts: mean.encode_documents([each.text for each in denoiser.denoise(texts)]),
        [each.text for each in documents],
        [each.signal for each in documents],
        [_asked(each.title, each.signal) for each in documents],
    )


def _asked(title: str, signal: str) -> str:
    """What asks for a text; nothing where neither its title nor its first sentence will do."""
    for query in (title, next(filter(None, _SENTENCE.split(signal.strip())), "")):
        if _QUERY_WORDS[0] <= len(query.split()) <= _QUERY_WORDS[1]:
            return " ".join(query.split())
    return ""


def _gain(
    mean: TorchEncoder,
    with_head: Callable[[Sequence[str]], Vectors],
    noisy: Sequence[str],
    clean: Sequence[str],
    asked: Sequence[str],
) -> Gain:
    rows = [row for row, query in enumerate(asked) if query]
    if not rows:
        return Gain(0, 0.0, 0.0, 0.0, 0.0)
    queries = mean.encode_queries([asked[row] for row in rows])
    values = []
    for encode, texts in ((mean.encode_documents, noisy), (with_head, noisy), (mean.encode_documents, clean)):
        shown = [_without(text, query) for text, query in zip(texts, asked, strict=True)]
        scores = queries @ encode(shown).T
        # A tie is no find: texts of which nothing is left are all alike.
        ranks = (scores >= scores[np.arange(len(rows)), rows][:, None]).sum(1) - 1
        values.append(np.where(ranks < _DEPTH, 100 / np.log2(ranks + 2), 0.0))
    gains = values[1] - values[0]
    error = float(gains.std(ddof=1)) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
    mean_of, head_of, oracle_of = (float(each.mean()) for each in values)
    return Gain(len(rows), mean_of, head_of, oracle_of, error)


def _without(text: str, query: str) -> str:
    """The text without its query."""
    if not query:
        return text
    return re.sub(r"\s+".join(map(re.escape, query.split())), " ", text, flags=re.IGNORECASE).strip() or " "
