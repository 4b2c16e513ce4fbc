"""Sentences in other languages, by a small grammar for each: who does what, when or where."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from importlib import resources

Grammar = tuple[tuple[str, ...], ...]


@cache
def grammars() -> dict[str, Grammar]:
    """Language -> its slots in order, each with its fillers, from `languages.txt`."""
    text = resources.files("glot_rag.evaluation.noise.families").joinpath("languages.txt").read_text(encoding="utf-8")
    read = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            language, *slots = line.split("|")
            read[language] = tuple(tuple(slot.split(";")) for slot in slots)
    return read


def foreign_lines(rng: random.Random) -> Iterator[str]:
    """One language a document."""
    slots = grammars()[rng.choice(sorted(grammars()))]
    while True:
        sentence = " ".join(rng.choice(slot) for slot in slots)
        yield sentence[0].upper() + sentence[1:] + "."
