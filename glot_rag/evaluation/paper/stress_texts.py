"""The stress test's texts: a short phrase with a negation, or without, among many random common words.

After the diagnostic test of GLOT (arXiv 2603.03389; the authors' `diagnostic_stress_test.py`), with a word list of our
own, in two protocols:

- `paper`: as the authors draw them. It leaks: a text with a negation has a modifier and the words after it more than
  one without (11 words), and one of the modifiers is among the noise, too. The epoch is chosen on the test texts.
- `strict`: all texts have the same number of words, no word of the phrases is among the noise, labels are balanced, and
  validation and test texts are drawn apart.

And in two tasks: `negation`, the paper's (is there a modifier before the noun?), and `binding`, ours (both nouns and
the modifier are always there; which of the nouns does it stand before? Strict only). As bags of words, the two classes
of `binding` are the same.

`binding` was meant as a task in which a pooling of a set of tokens must fail. It is one only where a token's state does
not depend on its neighbours, and there GLOT fails with it: its graph is of cosines between states, so it, too, sees a
set (a test holds every pooling to that). In a transformer's states attention has put the modifier into its noun before
anything is pooled, and a weighted sum can read it there (all-MiniLM-L6-v2, 20% distractors, 1,000 texts, one seed: mean
52, max 55, AdaPool 85). We know of no task in which a pooling of a set must fail over a frozen transformer's states and
GLOT need not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.evaluation.noise.generators import evaluation_words

PROTOCOLS = ("strict", "paper")
TASKS = ("negation", "binding")
RATIOS = (0.2, 0.5, 0.8, 0.9)

NOUNS = ("keys", "reports", "files", "tickets", "documents", "alerts")
MODIFIERS = ("not", "never", "without", "excluding")
CONTEXTS = ("the delivery contains", "the folder includes", "in the box are")
_LENGTH = 128  # words; a ratio is a share of these, as in the paper
_DISTANCE = 10  # noise words between the modifier and its noun, or between two nouns
_PHRASE = 6  # words of the longest phrase: a context of four, a modifier, a noun; or of three, a modifier, two nouns


@dataclass(frozen=True)
class StressTexts:
    """Texts and their classes, 0 or 1."""

    texts: list[str]
    labels: list[int]


def stress_texts(
    count: int, ratio: float, *, seed: int | str, protocol: str = "strict", task: str = "negation"
) -> StressTexts:
    """Draw texts of the stress test.

    Args:
        count: how many.
        ratio: noise words / 128, in (0, 1). The phrase comes on top.
        seed: of every choice.
        protocol: one of `PROTOCOLS`.
        task: one of `TASKS`.

    Returns:
        The texts, with label 1 where no modifier stands before the noun (`negation`), or where it stands before a noun
        of the first half of `NOUNS` (`binding`).

    Raises:
        InputError: a value out of its range, or `binding` in the paper's protocol.
    """
    choose("protocol", protocol, PROTOCOLS)
    choose("task", task, TASKS)
    if not 0 < ratio < 1:
        raise InputError(f"the ratio of distractors must be between 0 and 1; got {ratio}")
    if count < 2:
        raise InputError(f"the stress test needs at least 2 texts; got {count}")
    if protocol == "paper" and task == "binding":
        raise InputError("the binding task is not the paper's: use protocol 'strict'")
    rng = random.Random(f"{seed} {ratio!r} {protocol} {task}")
    labels = [index % 2 for index in range(count)]
    if protocol == "paper":
        labels = [rng.randrange(2) for _ in range(count)]
        make: Callable[[int, int, random.Random], str] = _paper
    else:
        rng.shuffle(labels)
        make = _negation if task == "negation" else _binding
    return StressTexts([make(label, int(_LENGTH * ratio), rng) for label in labels], labels)


def noise_words(protocol: str) -> list[str]:
    """The distractors: the evaluation's common words, without any of the phrases'; the paper's list has "not"."""
    phrases = {*NOUNS, *MODIFIERS, *" ".join(CONTEXTS).split()}
    return [*(word for word in evaluation_words() if word not in phrases), *(["not"] if protocol == "paper" else [])]


def _paper(label: int, count: int, rng: random.Random) -> str:
    phrase = [rng.choice(CONTEXTS)]  # counts as one word there
    if label == 0:
        phrase += [rng.choice(MODIFIERS), *rng.choices(noise_words("paper"), k=_DISTANCE)]
    phrase.append(rng.choice(NOUNS))
    noise = rng.choices(noise_words("paper"), k=min(count, _LENGTH - len(phrase)))
    return _among(phrase, noise, rng)


def _negation(label: int, count: int, rng: random.Random) -> str:
    noise = rng.choices(noise_words("strict"), k=count + _PHRASE)
    phrase = rng.choice(CONTEXTS).split()
    phrase.append(noise.pop() if label == 1 else rng.choice(MODIFIERS))
    phrase += [noise.pop() for _ in range(_DISTANCE)]
    phrase.append(rng.choice(NOUNS))
    return _among(phrase, noise[: count + _PHRASE - len(phrase)], rng)


def _binding(label: int, count: int, rng: random.Random) -> str:
    noise = rng.choices(noise_words("strict"), k=count + _PHRASE)
    half = len(NOUNS) // 2
    nouns = [(rng.choice(NOUNS[:half]), label == 1), (rng.choice(NOUNS[half:]), label == 0)]
    rng.shuffle(nouns)
    modifier = rng.choice(MODIFIERS)
    parts = [[modifier, noun] if bound else [noun] for noun, bound in nouns]
    phrase = [*rng.choice(CONTEXTS).split(), *parts[0], *(noise.pop() for _ in range(_DISTANCE)), *parts[1]]
    return _among(phrase, noise[: count + _PHRASE - len(phrase)], rng)


def _among(phrase: list[str], noise: list[str], rng: random.Random) -> str:
    place = rng.randint(0, len(noise))
    return " ".join([*noise[:place], *phrase, *noise[place:]])
