"""Simulated corpora: documents of one source with noise that recurs among them, as a site's own noise does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from glot_rag.denoise.noisy_views import NoiseGenerator, View, cut, insert
from glot_rag.training.texts import TrainingText

_SIZES = (60, 120, 250, 500, 700)  # documents
_CLEAN_SHARES, _CLEAN_ODDS = (0.0, 0.1, 0.3, 0.6, 1.0), (0.3, 0.25, 0.2, 0.15, 0.1)
_LEXICON = ("words", "shuffled")  # noise word by word, from a corpus's own words
_FRESH = ("strings", "offtopic")  # noise that does not recur: random, or as various as the texts
_LONGEST_VIEW = 170  # words, as in training


class CorpusSimulator:
    """Makes corpora of noisy documents. Corpus n depends on the texts, the lines, the seed and n alone.

    Args:
        texts: clean texts. A corpus takes those of one `source` (sometimes of three), as a user's documents are about
            one subject: the subject's own terms recur, too, and are no noise.
        seed: of every random choice.
        lines: real lines by kind, as for `NoiseGenerator`.
    """

    def __init__(
        self, texts: Sequence[TrainingText], seed: int, lines: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._texts = [each.text for each in texts]
        self._noise = NoiseGenerator(self._texts, seed, lines)
        self._seed = seed
        self._sources: dict[str, list[int]] = {}
        for number, each in enumerate(texts):
            self._sources.setdefault(each.source, []).append(number)

    def corpus(self, number: int) -> list[View]:
        """Corpus `number`: 60 to 700 documents (fewer where the source has no more), some of them clean."""
        rng = np.random.default_rng([self._seed, 1, number])
        names = [name for name, members in self._sources.items() if len(members) >= _SIZES[0]] or list(self._sources)
        count = min(len(names), int(rng.choice([1, 1, 1, 3])))
        members = [i for name in rng.choice(names, count, replace=False) for i in self._sources[name]]
        chosen = rng.permutation(members)[: int(rng.choice(_SIZES))]
        families = self._noise.families
        odds = np.array(list(families.values()))
        kinds = rng.choice(list(families), int(rng.choice([1, 1, 2, 3])), p=odds / odds.sum(), replace=False)
        recurring = [_Recurring(self._noise, str(kind), rng, [self._seed, 2, number]) for kind in kinds]
        clean_share, level = rng.choice(_CLEAN_SHARES, p=_CLEAN_ODDS), rng.uniform(0.1, 0.9)
        return [self._view(int(index), recurring, clean_share, level, rng) for index in chosen]

    def _view(
        self, index: int, recurring: Sequence[_Recurring], clean_share: float, level: float, rng: np.random.Generator
    ) -> View:
        own, total = self._texts[index].split(), int(rng.integers(50, _LONGEST_VIEW + 1))
        if rng.random() < clean_share:
            return View(tuple(own[:total]), (False,) * len(own[:total]))
        # Most documents of a corpus are about equally noisy.
        ratio = (
            float(np.clip(level + rng.normal(0, 0.15), 0.05, 0.95)) if rng.random() < 0.8 else rng.uniform(0.05, 0.9)
        )
        if any(each.family == "offtopic" for each in recurring):
            ratio = min(ratio, 0.5)
        kept = own[: max(8, round(total * (1 - ratio)))]
        wanted = max(1, min(total - 8, round(len(kept) * ratio / (1 - ratio))))
        runs = [run for each in recurring for run in each.draw(rng, max(1, wanted // len(recurring)), index)]
        return insert(rng, kept, runs)


class _Recurring:
    """One family of noise within one corpus. It draws from a pool, so the same lines come again in other documents."""

    def __init__(self, noise: NoiseGenerator, family: str, rng: np.random.Generator, seed: list[int]) -> None:
        self.family = family
        self._noise = noise
        self._seed = [*seed, list(noise.families).index(family)]
        self._pool = int(10 ** rng.uniform(0.0, 3.5))
        # A site's template: the same lines in every document, as many as there is room for.
        self._template = rng.random() < 0.4
        self._lexicon: list[str] = []
        # 1: every word is equally likely; 3: a few words make up most of the noise.
        self._power = 3.0 if rng.random() < 0.4 else 1.0
        if family in _LEXICON:
            size = int(10 ** rng.uniform(1.5, 3.7))
            self._lexicon = [word for run in noise.runs(family, rng, size, 0) for word in run]

    def draw(self, rng: np.random.Generator, wanted: int, index: int) -> list[list[str]]:
        """Runs of noise, `wanted` words in all."""
        if self.family in _FRESH:
            return self._noise.runs(self.family, rng, wanted, index)
        if self._lexicon:
            places = (rng.random(wanted) ** self._power * len(self._lexicon)).astype(int)
            return cut(rng, [self._lexicon[place] for place in places], scattered=True)
        runs: list[list[str]] = []
        while wanted > 0:
            number = len(runs) if self._template else int(rng.integers(self._pool))
            item = np.random.default_rng([*self._seed, number])
            for run in self._noise.runs(self.family, item, int(item.integers(4, 30)), 0):
                runs.append(run[:wanted])
                wanted -= len(runs[-1])
                if wanted <= 0:
                    break
        return runs
