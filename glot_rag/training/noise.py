"""Noisy views of clean texts for training. Evaluation has generators, word lists and templates of its own.

The head must learn what hangs together, not which words are bad, so noise here is open-ended: words and passages of the
other texts, strings of random characters, and lines out of random grammars. A share of views is clean.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from glot_rag.training.page_lines import page_line

VERSION = 4  # part of a cache's fingerprint: raise it when the same seed would give other views
CLEAN_SHARE = 0.25
_LONGEST_VIEW = 170  # words; MiniLM's 256 tokens hold about as many


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
    """Makes noisy views. What it makes of text i depends on the seed, i and the view's number alone.

    Args:
        texts: the training texts; their words and passages are noise for one another.
        seed: of every random choice.
    """

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self._texts = texts
        self._seed = seed
        counts: dict[str, int] = {}
        for text in texts:
            for word in map(_bare, text.split()):
                counts[word] = counts.get(word, 0) + 1
        # Every word of the texts: one that were left out would be signal wherever it stands, and learned by heart.
        words = (word for word in counts if any(map(str.isalpha, word)))
        self._vocabulary = sorted(words, key=lambda word: (-counts[word], word)) or ["filler"]
        # Each: (random generator, words wanted, index of the text) -> words; with how often it is drawn.
        self._families: list[tuple[float, Callable[[np.random.Generator, int, int], list[str]]]] = [
            (0.5, self._words),
            (0.1, self._passages),
            (0.28, self._pages),
            (0.12, self._strings),
        ]

    def view(self, index: int, number: int) -> View:
        """Make view `number` of text `index`."""
        rng = np.random.default_rng([self._seed, index, number])
        own = self._texts[index].split()
        total = int(rng.integers(50, _LONGEST_VIEW + 1))
        if rng.random() < CLEAN_SHARE:
            kept = own[:total]
            return View(tuple(kept), (False,) * len(kept))
        shares = [share for share, _ in self._families]
        chosen = rng.choice(len(shares), size=int(rng.choice([1, 1, 2, 3])), p=shares)
        families = [self._families[family][1] for family in chosen]
        # Where most of a text is running text of another one, that is what it is about: no head could tell.
        ratio = rng.uniform(0.2, 0.5 if self._passages in families else 0.9)
        kept = own[: max(8, round(total * (1 - ratio)))]
        wanted = max(1, min(total - 8, round(len(kept) * ratio / (1 - ratio))))
        runs: list[list[str]] = []
        for family in families:
            words = family(rng, max(1, wanted // len(families)), index)
            runs.extend(_split(rng, words, scattered=family == self._words))
        return _insert(rng, kept, runs)

    def _words(self, rng: np.random.Generator, wanted: int, index: int) -> list[str]:
        """Single words with no connection: in most views everyday ones, in the others any that the texts have."""
        if rng.random() < 0.75:
            commonest = min(len(self._vocabulary), int(10 ** rng.uniform(2.0, 3.2)))
            return [self._vocabulary[rank] for rank in rng.integers(commonest, size=wanted)]
        power = rng.uniform(1.0, 6.0)
        ranks = (rng.random(wanted) ** power * len(self._vocabulary)).astype(int)
        return [self._vocabulary[rank] for rank in ranks]

    def _passages(self, rng: np.random.Generator, wanted: int, index: int) -> list[str]:
        """Running text of other documents, in order, or with its words shuffled."""
        words: list[str] = []
        while len(words) < wanted:
            other = int(rng.integers(len(self._texts)))
            if other == index and len(self._texts) > 1:
                continue
            source = self._texts[other].split()
            start = int(rng.integers(max(1, len(source) - 10)))
            words += source[start : start + int(rng.integers(10, 60))]
        if rng.random() < 0.3:
            rng.shuffle(words)
        return words[:wanted]

    def _pages(self, rng: np.random.Generator, wanted: int, index: int) -> list[str]:
        """Lines of navigation, notices, logs, markup and the like; in some views the same few lines again and again."""
        repeated = [page_line(rng, self._vocabulary) for _ in range(3)] if rng.random() < 0.2 else []
        words: list[str] = []
        while len(words) < wanted:
            line = repeated[int(rng.integers(3))] if repeated else page_line(rng, self._vocabulary)
            words += line.split()
        return words[:wanted]

    def _strings(self, rng: np.random.Generator, wanted: int, index: int) -> list[str]:
        """Strings that are no words: random letters, hexadecimal, base64, numbers. Of one kind or mixed."""
        kind = int(rng.integers(5))
        return [_string(rng, kind if kind < 4 else int(rng.integers(4))) for _ in range(wanted)]


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


def _split(rng: np.random.Generator, words: list[str], scattered: bool) -> list[list[str]]:
    """Cut noise into runs: single words to whole paragraphs."""
    longest = 1 if scattered and rng.random() < 0.75 else int(rng.choice([3, 12, 40, 1000]))
    runs, start = [], 0
    while start < len(words):
        length = int(rng.integers(1, longest + 1))
        runs.append(words[start : start + length])
        start += length
    return runs


def _insert(rng: np.random.Generator, signal: list[str], runs: list[list[str]]) -> View:
    """Put runs of noise among the signal's words, which keep their order: anywhere, or only at the start or end."""
    place = rng.random()
    if place < 0.7:
        gaps = rng.integers(len(signal) + 1, size=len(runs))
    elif place < 0.8:
        gaps = np.zeros(len(runs), int)
    elif place < 0.9:
        gaps = np.full(len(runs), len(signal))
    else:
        gaps = rng.choice([0, len(signal)], size=len(runs))
    order = rng.permutation(len(runs))
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
