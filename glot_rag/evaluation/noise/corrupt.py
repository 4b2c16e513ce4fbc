"""Noisy documents: a document's own first words with noise between them, or damaged, at a given share of noise.

>>> [noisy] = corrupt(["a short note on wings"], NoiseSpec.parse("gibberish:0.5"), seed=0)
>>> noisy.signal
'a short note on wings'
>>> len(noisy.text.split()), sum(noisy.signal_mask)
(10, 5)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from glot_rag.errors import InputError
from glot_rag.evaluation.noise import ocr
from glot_rag.evaluation.noise.generators import SOURCES
from glot_rag.evaluation.noise.layout import Runs, Words, pieces, place
from glot_rag.evaluation.noise.spec import OCR, Noise, NoiseSpec


@dataclass(frozen=True)
class Corrupted:
    """A noisy document.

    Args:
        text: signal and noise words, joined by one space; the document itself for noise `none`.
        signal: the surviving words of the document alone, in order and undamaged, joined by one space: what the
            oracle embeds.
        signal_mask: for every whitespace word of `text`, whether it is the document's own, damaged or not.
        damaged: which whitespace words of `text` are own words that OCR damaged, in order, from 0.
    """

    text: str
    signal: str
    signal_mask: list[bool]
    damaged: list[int] = field(default_factory=list)


def corrupt(documents: Sequence[str], noise: Noise, *, seed: int, max_words: int = 170) -> list[Corrupted]:
    """Put noise into every document.

    Noise `none` leaves a document as it is, whole and with its line breaks. Any other noise makes a document of
    `max_words` words in all: the first (1 - ratio) share of them are the document's own
    first words, word for word and in order (at least one); the noise goes into the gaps between them. A
    document shorter than its share gets noise in proportion, so that the ratio holds everywhere. The last
    piece of noise is cut so that the count is exact. `ocr` adds nothing: it damages its share of the first
    `max_words` words (a word that it breaks still counts once).

    The noise of a document is drawn from (seed, kind, ratio, its position) alone, so no document's noise
    depends on how the others were processed. (`offtopic` copies from the other documents, so it does depend
    on their texts.) Another placement puts the same pieces elsewhere. The parts of a mixture are mingled.

    Args:
        documents: N texts. One without words stays empty.
        noise: what to put in.
        seed: of the generator.
        max_words: words of a noisy document; 0 keeps every word and adds the noise on top.

    Raises:
        InputError: a negative `max_words`, or off-topic noise where no other document has any words.
    """
    check_max_words(max_words)
    words = [text.split() for text in documents]
    if noise.label == "none":
        return [Corrupted(text, text, [True] * len(own)) for text, own in zip(documents, words, strict=True)]
    return [corrupt_one(words, index, noise, seed=seed, max_words=max_words) for index in range(len(words))]


def check_max_words(max_words: int) -> None:
    """Refuse a negative number of words.

    Raises:
        InputError: it is one.
    """
    if max_words < 0:
        raise InputError(f"max_words must be 0 (whole documents) or more, got {max_words}.")


def corrupt_one(documents: Sequence[Words], index: int, noise: Noise, *, seed: int, max_words: int) -> Corrupted:
    """One document of a collection as `corrupt` makes it.

    Args:
        documents: the words of all. Only the one to corrupt is asked for, and by `offtopic` some others, so they may
            be read when they are asked for.
        index: of the one to corrupt.
        noise: what to put in; not `none`.
        seed: of the generator.
        max_words: as in `corrupt`.

    Raises:
        InputError: off-topic noise where no other document has any words.
    """
    # A string seeds through SHA-512: the same stream on every machine, and no relation between neighbours.
    rngs = [
        random.Random(f"{seed} {part.kind} {part.ratio!r} {index}" + (f" part {number}" if number else ""))
        for number, part in enumerate(noise.parts)
    ]
    added = [(part, rng) for part, rng in zip(noise.parts, rngs, strict=True) if part.kind != OCR]
    signal, count = _split(documents[index], noise.ratio if added else 0.0, max_words)
    read, damaged = signal, [False] * len(signal)
    for part, rng in zip(noise.parts, rngs, strict=True):
        if part.kind == OCR:
            read, damaged = ocr.damage(signal, part.ratio, rng)
    gaps: list[Words] = [[] for _ in range(len(read) + 1)]
    drawn: list[tuple[NoiseSpec, Words]] = []
    before = 0.0
    for part, rng in added:
        # By differences of running sums, so that the parts add up to the whole to the word.
        after = before + part.ratio
        share = round(count * after / noise.ratio) - round(count * before / noise.ratio) if count else 0
        before = after
        runs = _noise_runs(documents, index, part, share, rng)
        if len(added) == 1:
            place(runs, part.placement, gaps, rng)
        drawn += [(part, run) for run in runs]
    if len(added) > 1:
        _mingle(drawn, gaps, random.Random(f"{seed} {noise} {index}"))
    return _join(read, damaged, gaps, signal)


def _split(own: list[str], ratio: float, max_words: int) -> tuple[list[str], int]:
    """A document's words -> the words that survive, and how many noise words go with them."""
    share = max(1, round((1.0 - ratio) * max_words)) if max_words else len(own)
    signal = own[:share]
    if max_words and len(signal) == share:
        return signal, max_words - share
    return signal, round(len(signal) * ratio / (1.0 - ratio))


def _noise_runs(documents: Sequence[Words], index: int, part: NoiseSpec, count: int, rng: random.Random) -> Runs:
    """Runs of noise that stay together, `count` words in all."""
    runs: Runs = []
    if count:
        stream = pieces(SOURCES[part.kind](documents, index, rng), part.granularity, rng)
        while count > 0:
            run = next(stream)[:count]
            runs.append(run)
            count -= len(run)
    return runs


def _mingle(drawn: list[tuple[NoiseSpec, Words]], gaps: list[Words], rng: random.Random) -> None:
    """The runs of all parts in one random order, each placed as its part says."""
    rng.shuffle(drawn)
    for placement in dict.fromkeys(part.placement for part, _ in drawn):
        place([run for part, run in drawn if part.placement == placement], placement, gaps, rng)


def _join(read: list[str], damaged: list[bool], gaps: list[Words], signal: list[str]) -> Corrupted:
    text, mask = list(gaps[0]), [False] * len(gaps[0])
    places = []
    for word, is_damaged, gap in zip(read, damaged, gaps[1:], strict=True):
        if is_damaged:
            places.append(len(text))
        text += [word, *gap]
        mask += [True] + [False] * len(gap)
    return Corrupted(text=" ".join(text), signal=" ".join(signal), signal_mask=mask, damaged=places)
