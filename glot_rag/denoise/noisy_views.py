"""Noisy views of clean texts, to train on. Evaluation has generators, word lists and templates of its own.

A head must learn which tokens belong together, not which words are noise, so there is no fixed list of noise: words and
passages of the other texts, real lines of pages, code, logs, licences and other languages, lines from random grammars,
strings of random characters. A share of the views is clean.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glot_rag.checks import choose
from glot_rag.denoise.line_grammars import fill, log_format, page_line

VERSION = 5  # part of a cache's fingerprint: raise it when the same seed would give other views
CLEAN_SHARE = 0.2
_LONGEST_VIEW = 170  # words; MiniLM's 256 tokens hold about as many
# How often each family is drawn.
_SHARES = {
    **{"words": 0.30, "shuffled": 0.12, "offtopic": 0.06, "page": 0.20, "markup": 0.08},
    **{"log": 0.06, "header": 0.04, "strings": 0.06, "text": 0.05, "foreign": 0.03},
}
FAMILIES = tuple(_SHARES)
# The kinds of real lines that a family draws from, beside its own grammar.
LINE_FAMILIES = {
    "page": ("page",),
    "markup": ("code", "config"),
    "text": ("legal", "changelog", "listing"),
    "foreign": ("foreign",),
}


@dataclass(frozen=True)
class View:
    """A text with noise in it.

    Attributes:
        words: signal and noise, in order.
        is_noise: (len(words),) for each word.
    """

    words: tuple[str, ...]
    is_noise: tuple[bool, ...]

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(self.words)

    @property
    def signal(self) -> str:
        """The clean text's own words that are left."""
        return " ".join(word for word, noise in zip(self.words, self.is_noise, strict=True) if not noise)


class NoiseGenerator:
    """Makes noisy views. View v of text i depends on the seed, i and v alone.

    Args:
        texts: the training texts; the words and passages of one are noise in another.
        seed: of every random choice.
        lines: real lines by kind (page, code, config, legal, changelog, listing, foreign), as benchmarks/gather.py
            finds them; without them pages and markup come from grammars alone.
        without: families to leave out, to measure what a head makes of noise of a kind it never saw.

    Raises:
        InputError: no such family.
    """

    def __init__(
        self,
        texts: Sequence[str],
        seed: int,
        lines: Mapping[str, Sequence[str]] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self._texts = texts
        self._seed = seed
        counts: dict[str, int] = {}
        for text in texts:
            for word in map(_bare, text.split()):
                counts[word] = counts.get(word, 0) + 1
        # Every word of the texts: a word that was left out would always be signal, and the head would memorise it.
        words = (word for word in counts if any(map(str.isalpha, word)))
        self._vocabulary = sorted(words, key=lambda word: (-counts[word], word)) or ["filler"]
        lines = lines or {}
        self._lines = {
            family: [lines[kind] for kind in kinds if lines.get(kind)] for family, kinds in LINE_FAMILIES.items()
        }
        # Each: (random generator, words wanted, index of the text) -> runs of words that stay together.
        makers: dict[str, Callable[[np.random.Generator, int, int], list[list[str]]]] = {
            "words": self._words,
            "shuffled": self._shuffled,
            "offtopic": self._offtopic,
            "page": lambda rng, wanted, _: self._line_by_line(rng, wanted, "page", "page"),
            "markup": lambda rng, wanted, _: self._line_by_line(rng, wanted, "markup", "markup"),
            "log": self._log,
            "header": lambda rng, wanted, _: self._line_by_line(rng, wanted, "header", "header"),
            "strings": self._strings,
            "text": lambda rng, wanted, _: self._line_by_line(rng, wanted, "text", None),
            "foreign": lambda rng, wanted, _: self._line_by_line(rng, wanted, "foreign", None),
        }
        for family in without:
            choose("noise family", family, FAMILIES)
        kept = [f for f in FAMILIES if f not in without and (self._lines.get(f) or f not in ("text", "foreign"))]
        self._families = {family: (_SHARES[family], makers[family]) for family in kept}

    @property
    def families(self) -> dict[str, float]:
        """The families of noise and how often each is drawn."""
        return {family: share for family, (share, _) in self._families.items()}

    def runs(self, family: str, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Noise of one family for text `index`: runs of words that stay together, about `wanted` words in all."""
        return self._families[family][1](rng, wanted, index)

    def view(self, index: int, number: int) -> View:
        """Make view `number` of text `index`."""
        rng = np.random.default_rng([self._seed, index, number])
        own = self._texts[index].split()
        total = int(rng.integers(50, _LONGEST_VIEW + 1))
        if rng.random() < CLEAN_SHARE:
            kept = own[:total]
            return View(tuple(kept), (False,) * len(kept))
        names = list(self._families)
        shares = np.array(list(self.families.values()))
        chosen = [
            names[i] for i in rng.choice(len(names), size=int(rng.choice([1, 1, 1, 2, 3])), p=shares / shares.sum())
        ]
        # A text that is mostly running text of another one is about that other subject: no head could tell.
        ratio = rng.uniform(0.1, 0.5) if "offtopic" in chosen else 0.95 * rng.uniform(0.02, 1) ** 0.6
        kept = own[: max(8, round(total * (1 - ratio)))]
        wanted = max(1, min(total - 8, round(len(kept) * ratio / (1 - ratio))))
        runs: list[list[str]] = []
        for name in chosen:
            runs.extend(self.runs(name, rng, max(1, wanted // len(chosen)), index))
        return insert(rng, kept, runs)

    def _words(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Words with no connection: everyday ones, any, or a few again and again."""
        size, kind = len(self._vocabulary), rng.random()
        if kind < 0.6:  # the most frequent, one as often as the other
            lexicon = rng.integers(min(size, int(10 ** rng.uniform(2.0, 3.7))), size=wanted)
        elif kind < 0.8:  # a small lexicon of this view's own, out of words more or less frequent
            among = min(size, int(10 ** rng.uniform(2.5, 5)))
            lexicon = rng.choice(rng.integers(among, size=int(10 ** rng.uniform(0.5, 2.5))), size=wanted)
        else:
            lexicon = (rng.random(wanted) ** rng.uniform(1.0, 6.0) * size).astype(int)
        return cut(rng, [self._vocabulary[rank] for rank in lexicon], scattered=True)

    def _passage(self, rng: np.random.Generator, index: int) -> list[str]:
        other = int(rng.integers(len(self._texts)))
        while other == index and len(self._texts) > 1:
            other = int(rng.integers(len(self._texts)))
        source = self._texts[other].split()
        start = int(rng.integers(max(1, len(source) - 10)))
        return source[start : start + int(rng.integers(6, 60))]

    def _shuffled(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Words of other documents with their order lost."""
        words: list[str] = []
        while len(words) < wanted:
            words += self._passage(rng, index)
        rng.shuffle(words)
        return cut(rng, words[:wanted], scattered=True)

    def _offtopic(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Running text of other documents."""
        return self._collect(wanted, lambda: self._passage(rng, index))

    def _line_by_line(self, rng: np.random.Generator, wanted: int, family: str, grammar: str | None) -> list[list[str]]:
        """Real lines and generated ones; sometimes a few of them, again and again."""
        real = self._lines.get(family) or []
        runs: list[list[str]] = []

        def line() -> list[str]:
            if grammar and (not real or rng.random() < 0.35):
                return page_line(rng, self._vocabulary, grammar).split()
            lines = real[int(rng.integers(len(real)))]
            return lines[int(rng.integers(len(lines)))].split()[: int(rng.integers(8, 60))]

        if rng.random() < 0.15:
            repeated = [line() for _ in range(int(rng.integers(1, 4)))]
            runs = self._collect(wanted, lambda: repeated[int(rng.integers(len(repeated)))])
        else:
            runs = self._collect(wanted, line)
        return runs if rng.random() < 0.9 else cut(rng, [word for run in runs for word in run], scattered=True)

    def _log(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Lines of one invented program's log, or of common formats."""
        if rng.random() < 0.2:
            return self._line_by_line(rng, wanted, "log", "log")
        formats = log_format(rng)
        # A program says the same words again and again.
        words = [
            self._vocabulary[int(rng.random() ** 3 * len(self._vocabulary))] for _ in range(int(rng.integers(3, 30)))
        ]
        return self._collect(wanted, lambda: fill(rng, str(rng.choice(formats)), words).split())

    def _strings(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Strings that are no words: random letters, hexadecimal, base64, numbers, damaged words; one kind or mixed."""
        kind = int(rng.integers(7))

        def made() -> str:
            which = kind if kind < 6 else int(rng.integers(6))
            if which >= 4:
                return _damaged(rng, self._vocabulary[int(rng.random() ** 2 * len(self._vocabulary))], which == 5)
            return _string(rng, which)

        return cut(rng, [made() for _ in range(wanted)], scattered=True)

    @staticmethod
    def _collect(wanted: int, draw: Callable[[], list[str]]) -> list[list[str]]:
        runs, count, tries = [], 0, 0
        while count < wanted and tries < 10 * wanted:
            run = draw()[: wanted - count]
            tries += 1
            if run:
                runs.append(run)
                count += len(run)
        return runs


def _bare(word: str) -> str:
    return word.strip(string.punctuation).lower()


def _string(rng: np.random.Generator, kind: int) -> str:
    length = int(rng.integers(2, 12))
    if kind == 0:
        letters = string.ascii_lowercase if rng.random() < 0.7 else string.ascii_letters + string.digits
        return "".join(letters[i] for i in rng.integers(len(letters), size=length))
    if kind == 1:
        return rng.bytes(length).hex()
    if kind == 2:
        return base64.b64encode(rng.bytes(length)).decode()
    return str(int(rng.integers(10 ** min(length, 9))))


def _damaged(rng: np.random.Generator, word: str, badly: bool) -> str:
    """A word with letters exchanged, lost or doubled, as a bad scan of something else leaves it."""
    letters = list(word)
    for _ in range(1 + int(badly) * max(1, len(letters) // 2)):
        if not letters:
            break
        at = int(rng.integers(len(letters)))
        letters[at] = ("", letters[at] * 2, string.ascii_lowercase[int(rng.integers(26))], "|", ".")[
            int(rng.integers(5))
        ]
    return "".join(letters) or "~"


def cut(rng: np.random.Generator, words: list[str], scattered: bool) -> list[list[str]]:
    """Cut noise into runs: single words to whole paragraphs."""
    longest = 1 if scattered and rng.random() < 0.7 else int(rng.choice([3, 12, 40, 1000]))
    runs, start = [], 0
    while start < len(words):
        length = int(rng.integers(1, longest + 1))
        runs.append(words[start : start + length])
        start += length
    return runs


def insert(rng: np.random.Generator, signal: list[str], runs: list[list[str]]) -> View:
    """Put runs of noise among the signal's words, which keep their order: anywhere, or only at the start or end."""
    place = rng.random()
    if place < 0.8:
        gaps = rng.integers(len(signal) + 1, size=len(runs))
    elif place < 0.86:
        gaps = np.zeros(len(runs), int)
    elif place < 0.93:
        gaps = np.full(len(runs), len(signal))
    else:
        gaps = rng.choice([0, len(signal)], size=len(runs))
    order = rng.permutation(len(runs)) if rng.random() < 0.5 else np.arange(len(runs))
    at: dict[int, list[str]] = {}
    for run in order:
        at.setdefault(int(gaps[run]), []).extend(runs[run])
    words: list[str] = []
    noise: list[bool] = []
    for gap in range(len(signal) + 1):
        words += at.get(gap, [])
        noise += [True] * len(at.get(gap, []))
        if gap < len(signal):
            words.append(signal[gap])
            noise.append(False)
    return View(tuple(words), tuple(noise))
