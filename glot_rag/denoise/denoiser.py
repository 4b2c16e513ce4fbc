"""Prune: a text without the words that a head takes for noise, before it is encoded.

The scores come from windows over the whole text, so what stands after the backbone's limit is seen, too. Where the
head reads early layers only, the windows run through those layers alone, and the full backbone sees what is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.readout import keep_tokens
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_texts
from glot_rag.progress import bar

_WORD = re.compile(r"\S+")
_LEAST = np.finfo(np.float32).min
_TEXTS = 256  # texts whose windows are batched together: memory does not grow with the corpus


@dataclass(frozen=True)
class Denoised:
    """What is left of a text.

    Attributes:
        text: the kept words, joined by one space; the text as it was where all words are kept.
        spans: (start, end) of every run of kept words in the original text, in order.
        kept: the share of the words that was kept, 0 to 1.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    kept: float


def denoise_texts(
    backbone: Backbone,
    head: GlotHead | AdaPool,
    texts: Sequence[str],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> list[Denoised]:
    """Drop the words that look like noise.

    Words that are more likely noise than signal go, but at least `HeadConfig.min_keep_ratio` of a text stays
    (`glot_rag.head.readout.keep_tokens`). A word's score is the mean of its tokens' scores.

    Args:
        backbone: the frozen transformer.
        head: a trained head; its scores are read.
        texts: N strings.
        show_progress: draw a progress bar on stderr.
        batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

    Returns:
        One entry a text.

    Raises:
        InputError: not a list of strings.
    """
    checked = check_texts(texts)
    out: list[Denoised] = []
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("looking for noise", total=len(checked))
        for start in range(0, len(checked), _TEXTS):
            chunk = checked[start : start + _TEXTS]
            out += _prune(backbone, head, chunk, batch_tokens)
            progress.advance(task, len(chunk))
    return out


def _prune(
    backbone: Backbone, head: GlotHead | AdaPool, texts: Sequence[str], batch_tokens: int | None
) -> list[Denoised]:
    words = [[match.span() for match in _WORD.finditer(text)] for text in texts]
    left = [list(range(len(spans))) for spans in words]
    open_ = [row for row, spans in enumerate(words) if spans]
    for row, logits in zip(open_, _score(backbone, head, [texts[row] for row in open_], batch_tokens), strict=True):
        every = torch.ones(1, len(logits), dtype=torch.bool)
        stays = keep_tokens(logits[None], every, head.config.min_keep_ratio, head.min_drop_ratio)[0]
        left[row] = [word for word, stay in enumerate(stays.tolist()) if stay]
    return [
        Denoised(_text_of(text, spans, kept), _runs(spans, kept), len(kept) / len(spans) if spans else 1.0)
        for text, spans, kept in zip(texts, words, left, strict=True)
    ]


def _text_of(text: str, spans: Sequence[tuple[int, int]], kept: Sequence[int]) -> str:
    if len(kept) == len(spans):
        return text
    return " ".join(text[spans[word][0] : spans[word][1]] for word in kept)


def _runs(spans: Sequence[tuple[int, int]], kept: Sequence[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for before, word in zip([-2, *kept], kept, strict=False):
        start, end = spans[word]
        runs.append((runs.pop()[0] if word == before + 1 else start, end))
    return tuple(runs)


@torch.inference_mode()
def _score(
    backbone: Backbone, head: GlotHead | AdaPool, texts: Sequence[str], batch_tokens: int | None
) -> list[Tensor]:
    """For every word of every text the mean score of its tokens; the least there is for a word without any.

    Not the highest: a random string comes to pieces some of which are words.
    """
    windows = [(row, window) for row, text in enumerate(texts) for window in backbone.tokenizer.windows(text)]
    starts = [np.array([match.start() for match in _WORD.finditer(text)], np.int64) for text in texts]
    sums = [np.zeros(len(each)) for each in starts]
    counts = [np.zeros(len(each)) for each in starts]
    for batch in backbone.pack([window.ids for _, window in windows], batch_tokens):
        states, mask = backbone.hidden_states(batch, head.layers)
        ids = torch.from_numpy(batch.ids)
        logits = head(torch.cat(states, dim=-1), mask, ids).logits.float().cpu().numpy()
        for place, window_row in enumerate(batch.rows):
            row, window = windows[window_row]
            word = window.words(starts[row])
            np.add.at(sums[row], word[word >= 0], logits[place, : len(word)][word >= 0])
            np.add.at(counts[row], word[word >= 0], 1)
    means = (
        np.divide(*each, out=np.full(len(each[0]), _LEAST), where=each[1] > 0)
        for each in zip(sums, counts, strict=True)
    )
    return [torch.from_numpy(each.astype(np.float32)) for each in means]
