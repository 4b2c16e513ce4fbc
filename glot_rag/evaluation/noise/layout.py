"""In what pieces noise comes, and into which gaps between the document's words they go."""

from __future__ import annotations

import random
from collections.abc import Iterator

Words = list[str]
Runs = list[Words]

# granularity -> the fewest and the most words of a piece
_SIZES = {"words": (1, 3), "lines": (5, 20), "paragraphs": (40, 120)}


def pieces(runs: Iterator[Words], granularity: str, rng: random.Random) -> Iterator[Words]:
    """An endless stream of runs of noise words, cut or joined to the granularity asked for.

    Whole runs are joined while they fit, so that a paragraph of boilerplate is made of whole lines.
    """
    if granularity == "own":
        yield from runs
        return
    fewest, most = _SIZES[granularity]
    left: Words = []
    while True:
        wanted = rng.randint(fewest, most)
        while len(left) < wanted:
            left += next(runs)
        length = wanted if granularity == "words" else min(len(left), most)
        yield left[:length]
        left = left[length:]


def place(runs: Runs, placement: str, gaps: list[Words], rng: random.Random) -> None:
    """Add every run to a gap; there is one before each word of the signal, and one after the last."""
    last = len(gaps) - 1
    for number, run in enumerate(runs):
        if placement == "random":
            rng.choice(gaps).extend(run)
        elif placement == "start":
            gaps[0].extend(run)
        elif placement == "end":
            gaps[last].extend(run)
        else:  # interleaved: the k-th of n after k/(n + 1) of the signal
            gaps[round((number + 1) * last / (len(runs) + 1))].extend(run)
