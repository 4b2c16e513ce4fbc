"""Noisy documents: a document's own first words with noise inserted between them, at a given share of noise.

>>> [noisy] = corrupt(["a short note on wings"], NoiseSpec.parse("gibberish:0.5"), seed=0)
>>> noisy.signal
'a short note on wings'
>>> len(noisy.text.split()), sum(noisy.signal_mask)
(10, 5)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from glot_rag.errors import InputError
from glot_rag.evaluation.noise_sources import SOURCES

NOISE_KINDS = ("none", *SOURCES)


@dataclass(frozen=True)
class NoiseSpec:
    """A kind of noise and its share.

    Args:
        kind: one of `NOISE_KINDS`: `none`, `words` (common words, one by one), `boilerplate` (lines of web
            pages, mails, PDFs), `gibberish` (random letters) or `offtopic` (passages of the collection's
            other documents).
        ratio: noise words / all words of the noisy document, in [0, 1). 0 for `none`.

    Raises:
        InputError: an unknown kind, or a ratio out of range.
    """

    kind: str
    ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in NOISE_KINDS:
            raise InputError(f"Unknown kind of noise {self.kind!r}. {_FORM}")
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"The ratio of noise must be in [0, 1), got {self.ratio} for {self.kind!r}. {_FORM}")
        if self.kind == "none" and self.ratio != 0.0:
            raise InputError(f"Noise 'none' takes no ratio, got {self.ratio}. {_FORM}")

    @classmethod
    def parse(cls, text: str) -> NoiseSpec:
        """`"words:0.8"` or `"none"` -> NoiseSpec.

        Raises:
            InputError: the text has another form.
        """
        kind, colon, ratio = text.strip().partition(":")
        if kind == "none" and not colon:
            return cls("none")
        try:
            return cls(kind, float(ratio))
        except InputError:
            raise
        except ValueError:
            raise InputError(f"Cannot read the noise setting {text!r}. {_FORM}") from None

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}:{self.ratio:g}"


_FORM = f"Write KIND:RATIO, as in 'words:0.8', or 'none'; kinds: {', '.join(SOURCES)}; 0 <= ratio < 1."


@dataclass(frozen=True)
class Corrupted:
    """A noisy document.

    Args:
        text: signal and noise words, joined by one space.
        signal: the surviving words of the document alone, in order, joined by one space: what the ceiling
            embeds.
        signal_mask: for every whitespace word of `text`, whether it is the document's own.
    """

    text: str
    signal: str
    signal_mask: list[bool]


def corrupt(documents: Sequence[str], spec: NoiseSpec, *, seed: int, max_words: int = 170) -> list[Corrupted]:
    """Mix noise into every document.

    A noisy document has `max_words` words in all: the first (1 - ratio) share of them are the document's own
    first words, word for word and in order (at least one); the noise goes into random gaps between them. A
    document shorter than its share gets noise in proportion, so that the ratio holds everywhere. The last
    line or passage of noise is cut so that the count is exact.

    The noise of a document is drawn from (seed, kind, ratio, its position) alone, so no document's noise
    depends on how the others were processed. (`offtopic` copies from the other documents, so it does depend
    on their texts.)

    Args:
        documents: N texts. One without words stays empty.
        spec: what to mix in; `none` only cuts to `max_words`.
        seed: of the generator.
        max_words: words of a noisy document; 0 keeps every word and adds the noise on top.

    Raises:
        InputError: a negative `max_words`, or off-topic noise where no other document has any words.
    """
    if max_words < 0:
        raise InputError(f"max_words must be 0 (whole documents) or more, got {max_words}.")
    words = [text.split() for text in documents]
    corrupted = []
    for index, own in enumerate(words):
        # A string seeds through SHA-512: the same stream on every machine, and no relation between
        # neighbours.
        rng = random.Random(f"{seed} {spec.kind} {spec.ratio!r} {index}")
        signal, count = _split(own, spec.ratio, max_words)
        runs = _noise_runs(words, index, spec.kind, count, rng)
        corrupted.append(_insert(signal, runs, rng))
    return corrupted


def _split(own: list[str], ratio: float, max_words: int) -> tuple[list[str], int]:
    """A document's words -> the words that survive, and how many noise words go with them."""
    share = max(1, round((1.0 - ratio) * max_words)) if max_words else len(own)
    signal = own[:share]
    if max_words and len(signal) == share:
        return signal, max_words - share
    return signal, round(len(signal) * ratio / (1.0 - ratio))


def _noise_runs(words: list[list[str]], index: int, kind: str, count: int, rng: random.Random) -> list[list[str]]:
    """Runs of noise that stay together, `count` words in all."""
    runs: list[list[str]] = []
    while count > 0:
        run = SOURCES[kind](words, index, rng)[:count]
        runs.append(run)
        count -= len(run)
    return runs


def _insert(signal: list[str], runs: list[list[str]], rng: random.Random) -> Corrupted:
    """Every run into a gap of its own choice: before, between or after the signal's words."""
    gaps: list[list[str]] = [[] for _ in range(len(signal) + 1)]
    for run in runs:
        rng.choice(gaps).extend(run)
    text, mask = list(gaps[0]), [False] * len(gaps[0])
    for word, gap in zip(signal, gaps[1:], strict=True):
        text += [word, *gap]
        mask += [True] + [False] * len(gap)
    return Corrupted(text=" ".join(text), signal=" ".join(signal), signal_mask=mask)
