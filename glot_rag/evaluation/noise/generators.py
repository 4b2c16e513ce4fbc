"""Where noise comes from: a source gives one document's runs of noise words, each of which stays together there."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources

from glot_rag.errors import InputError
from glot_rag.evaluation.noise.boilerplate import boilerplate_line
from glot_rag.evaluation.noise.families import LINE_FAMILIES
from glot_rag.evaluation.noise.layout import Words

# documents (as words), the position of the one to corrupt, the generator -> one run, or an endless stream of them
Draw = Callable[[Sequence[Words], int, random.Random], Words]
Source = Callable[[Sequence[Words], int, random.Random], Iterator[Words]]


@cache
def evaluation_words() -> tuple[str, ...]:
    """The 322 common words that `words` draws from: a list of the evaluation's own.

    Training has no list; its noise words are those of its texts, which everyday words are among.
    """
    text = resources.files("glot_rag.evaluation.noise").joinpath("common_words.txt").read_text(encoding="utf-8")
    return tuple(text.split())


def common_word(documents: Sequence[Words], index: int, rng: random.Random) -> Words:
    """One common English word."""
    return [rng.choice(evaluation_words())]


def boilerplate(documents: Sequence[Words], index: int, rng: random.Random) -> Words:
    """One line of boilerplate."""
    return boilerplate_line(rng).split()


def gibberish(documents: Sequence[Words], index: int, rng: random.Random) -> Words:
    """One string of 3 to 10 random letters: three in five lower case, the rest mixed case or with digits."""
    alphabet = string.ascii_lowercase
    style = rng.random()
    if style >= 0.8:
        alphabet += string.digits * 2
    elif style >= 0.6:
        alphabet = string.ascii_letters
    return ["".join(rng.choices(alphabet, k=rng.randint(3, 10)))]


def offtopic(documents: Sequence[Words], index: int, rng: random.Random) -> Words:
    """A run of 15 to 40 words of another document of the collection (all of it where it is shorter).

    Raises:
        InputError: no other document has any words.
    """
    # A few blind draws first: filtering the whole collection for every run would cost the square of its size.
    for _ in range(32):
        other = rng.randrange(len(documents))
        if other != index and (words := documents[other]):
            break
    else:
        others = [i for i, words in enumerate(documents) if i != index and words]
        if not others:
            raise InputError("Off-topic noise is taken from the other documents: give at least two with text.")
        words = documents[rng.choice(others)]
    length = min(rng.randint(15, 40), len(words))
    start = rng.randint(0, len(words) - length)
    return words[start : start + length]


def _repeated(draw: Draw) -> Source:
    def stream(documents: Sequence[Words], index: int, rng: random.Random) -> Iterator[Words]:
        while True:
            yield draw(documents, index, rng)

    return stream


def _lines(family: Callable[[random.Random], Iterator[str]]) -> Source:
    def stream(documents: Sequence[Words], index: int, rng: random.Random) -> Iterator[Words]:
        return (line.split() for line in family(rng))

    return stream


SOURCES: dict[str, Source] = {
    "words": _repeated(common_word),
    "boilerplate": _repeated(boilerplate),
    "gibberish": _repeated(gibberish),
    "offtopic": _repeated(offtopic),
    **{name: _lines(family) for name, family in LINE_FAMILIES.items()},
}
