"""Damage as optical character recognition does it: glyphs taken for others, words broken and joined, specks.

The table of confusions is the evaluation's own: a detector cannot have learned it from training noise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

# What is printed -> what may be read. Shapes, one or two characters wide.
CONFUSIONS: dict[str, tuple[str, ...]] = {
    **{"rn": ("m",), "m": ("rn", "nn", "in"), "cl": ("d",), "d": ("cl",), "li": ("h",), "vv": ("w",), "w": ("vv",)},
    **{"ii": ("u",), "u": ("ii", "n"), "nn": ("im",), "fi": ("ﬁ", "6"), "fl": ("ﬂ",), "ri": ("n",), "tt": ("U",)},
    **{"a": ("o", "ä"), "b": ("h", "6"), "c": ("e", "("), "e": ("c", "o"), "f": ("t", "ſ"), "g": ("q", "9")},
    **{"h": ("b", "li"), "i": ("l", "1", "í"), "j": (";",), "k": ("lc",), "l": ("1", "I"), "n": ("u", "ri")},
    **{"o": ("0", "c"), "p": ("þ",), "q": ("g",), "r": ("i", "v"), "s": ("5", "8"), "t": ("f", "l", "+")},
    **{"v": ("y",), "x": ("z",), "y": ("v", "ÿ"), "z": ("2",)},
    **{"A": ("4",), "B": ("8", "R"), "C": ("G",), "D": ("O", "0"), "E": ("F",), "F": ("P",), "G": ("6",), "H": ("II",)},
    **{"I": ("l", "1"), "K": ("X",), "M": ("IVI",), "N": ("II",), "O": ("0", "Q"), "P": ("F",), "R": ("K",)},
    **{"S": ("5", "8"), "T": ("7",), "U": ("LI",), "V": ("Y",), "W": ("VV",), "Z": ("2",)},
    **{"0": ("O", "o"), "1": ("l", "I"), "2": ("Z",), "3": ("8",), "5": ("S",), "6": ("b",), "8": ("B",), "9": ("g",)},
}
_SPECKS = (".", "'", ",", "·", "~", "^", "-", "¬")


def damage(words: Sequence[str], ratio: float, rng: random.Random) -> tuple[list[str], list[bool]]:
    """Damage a share of the words.

    Exactly round(ratio * len(words)) of them are damaged: seven in ten by confused glyphs, the others broken in two,
    joined with the next one (where that is to be damaged, too), or with a speck of dirt read as a mark.

    Args:
        words: N whitespace words.
        ratio: damaged / all, in [0, 1].
        rng: of every choice.

    Returns:
        What is read, and for each word of that whether it is damaged. Broken and joined words change the number.
    """
    chosen = set(rng.sample(range(len(words)), round(ratio * len(words))))
    read: list[str] = []
    damaged: list[bool] = []
    index = 0
    while index < len(words):
        word, taken = words[index], 1
        if index not in chosen:
            new = [word]
        else:
            style = rng.random()
            if style < 0.1 and index + 1 in chosen:
                new, taken = [word + words[index + 1]], 2
            elif style < 0.2 and len(word) > 3:
                new = _broken(word, rng)
            elif style < 0.3:
                new = [_specked(word, rng)]
            else:
                new = [_confused(word, rng)]
        read += new
        damaged += [index in chosen] * len(new)
        index += taken
    return read, damaged


def _broken(word: str, rng: random.Random) -> list[str]:
    """In two, as at the end of a line or where letters stand wide; with the hyphen kept or lost."""
    at = rng.randint(1, len(word) - 1)
    return [word[:at] + ("-" if rng.random() < 0.4 else ""), word[at:]]


def _specked(word: str, rng: random.Random) -> str:
    at = rng.randint(0, len(word))
    return word[:at] + rng.choice(_SPECKS) + word[at:]


def _confused(word: str, rng: random.Random) -> str:
    """About one glyph in four is taken for another; a word of none in the table gets a speck."""
    places = [i for i in range(len(word)) if word[i] in CONFUSIONS or word[i : i + 2] in CONFUSIONS]
    if not places:
        return _specked(word, rng)
    hit = set(rng.sample(places, min(len(places), 1 + sum(rng.random() < 0.25 for _ in range(len(places) - 1)))))
    out, i = [], 0
    while i < len(word):
        pair, glyph = word[i : i + 2], word[i]
        if i not in hit:
            out.append(glyph)
        elif len(pair) == 2 and pair in CONFUSIONS and (glyph not in CONFUSIONS or rng.random() < 0.7):
            out.append(rng.choice(CONFUSIONS[pair]))
            i += 1
        else:
            out.append(rng.choice(CONFUSIONS[glyph]))
        i += 1
    new = "".join(out)
    return new if new != word else _specked(word, rng)
