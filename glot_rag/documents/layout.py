"""Layout features: what tells navigation from prose in plain text, as numbers of each block.

Nothing but the text is looked at, so training, every runtime and every integration get the same numbers. Sentences
end in a full stop and are full of small words; menus, captions and footers are short, capitalised and repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from glot_rag.documents.blocks import Block
from glot_rag.documents.scripts import CLOSERS, FULL_STOPS, FUNCTION_CHARACTERS, IDEOGRAPHS, PHRASED

LAYOUT_FEATURES = (
    "words",  # ln(1 + count)
    "characters",  # ln(1 + count)
    "closing punctuation",  # the last character is one of . ! ? : ; , … or a closing quote or bracket
    "sentence end",  # it ends with . ! ? or …, quotes and brackets aside
    "capital or digit first",
    "capitalised words",  # share of the words
    "words with digits",  # share of the words
    "stop words",  # share of the words
    "commas",  # a word
    "separators",  # | › » • · / and the like, a word
    "repeated",  # the same line stands elsewhere in the text
    "word length",  # characters a word, in tens
    "contact or copyright",  # @, http or ©
    "place by lines",  # 0 (first block) to 1 (last)
    "place by words",  # share of the text's words that stand before it
)

# Flags of a character
_SPACE, _UPPER, _DIGIT, _WORD, _COMMA, _SEPARATOR, _CONTACT, _CLOSER, _STOP, _PAUSE = (1 << bit for bit in range(10))
_IDEOGRAPH, _PHRASED, _FUNCTION = (1 << bit for bit in range(10, 13))
_UNSPACED = _IDEOGRAPH | _PHRASED
_SEPARATORS = frozenset("|›‹»«•·∙▪►▸→←/\\>~¦")
_CLOSERS, _STOPS, _COMMAS = "\"'”’»)]}" + CLOSERS, ".!?…؟۔।॥" + FULL_STOPS, ",，、،"
_IS_IDEOGRAPH, _IS_PHRASED = (re.compile(f"[{letters}]").match for letters in (IDEOGRAPHS, PHRASED))
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)


def layout_features(text: str, blocks: Sequence[Block]) -> NDArray[np.float32]:
    """The layout of each block: (N, 15) float32, columns as in `LAYOUT_FEATURES`.

    Args:
        text: The whole text, as repetition and place are seen in it.
        blocks: N blocks of it, in order.
    """
    count = len(blocks)
    features = np.zeros((count, len(LAYOUT_FEATURES)), np.float32)
    if not count:
        return features
    spans = np.array([block[:2] for block in blocks], np.int64)
    starts, ends = spans[:, 0], spans[:, 1]
    codes, flags = _characters(text)

    # A word is a run of characters without white space; a block begins one, too, and so do some letters of scripts that
    # put no spaces between words.
    visible = np.flatnonzero(flags & _SPACE == 0)
    new_run = np.concatenate([[True], np.diff(visible) > 1])
    run_start, run_end = visible[new_run], visible[np.concatenate([new_run[1:], [True]])] + 1
    first = np.flatnonzero(_marks(len(flags), run_start, starts, _unspaced_words(flags)))
    home = _counts(_marks(len(flags), starts))[first + 1] - 1
    inside = (home >= 0) & (first < ends[home])
    first, home = first[inside], home[inside]
    last = np.minimum(run_end[_counts(_marks(len(flags), run_start))[first + 1] - 1], ends[home])
    last = np.minimum(last, np.append(first[1:], len(flags)))

    words = np.bincount(home, minlength=count)
    some = np.maximum(words, 1)

    def share(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(home[mask], minlength=count) / some

    digits = _counts(flags & _DIGIT != 0)
    hashes = _Hashes(codes)
    word_characters = np.flatnonzero(flags & _WORD)
    counted = _counts(flags & _WORD != 0)
    begin, stop = counted[first], counted[last]
    bare = stop > begin  # words that are more than punctuation
    stop_word = np.zeros(len(first), np.bool_)
    stop_word[bare] = _is_stop_word(hashes.of(word_characters[begin[bare]], word_characters[stop[bare] - 1] + 1))
    stop_word |= _between(flags & _FUNCTION != 0, first, last) > 0
    ending = ends - 1
    for _ in range(3):  # the full stop may stand within quotes and brackets
        ending -= (flags[ending] & _CLOSER != 0) & (ending > starts)
    _, same, times = np.unique(hashes.of(starts, ends), return_inverse=True, return_counts=True)
    opening = flags[starts]

    columns = (
        np.log1p(words),
        np.log1p(ends - starts),
        flags[ends - 1] & (_CLOSER | _STOP | _PAUSE) != 0,
        flags[ending] & _STOP != 0,
        opening & (_UPPER | _DIGIT) != 0,
        share(flags[first] & _UPPER != 0),
        share(digits[last] > digits[first]),
        share(stop_word),
        _between(flags & _COMMA != 0, starts, ends) / some,
        _between(flags & _SEPARATOR != 0, starts, ends) / some,
        times[same] > 1,
        _between(flags & _SPACE == 0, starts, ends) / some / 10,
        (_between(flags & _CONTACT != 0, starts, ends) > 0) | _has_link(text, starts, ends),
        np.arange(count) / max(count - 1, 1),
        (np.cumsum(words) - words) / max(words.sum(), 1),
    )
    for number, column in enumerate(columns):
        features[:, number] = column
    return features


def _characters(text: str) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """The lower-case code point and the flags of each character; each character that occurs is looked at once."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    found = np.flatnonzero(np.bincount(codes))
    flags = np.zeros(int(found[-1]) + 1, np.uint16)
    lower = np.zeros(int(found[-1]) + 1, np.uint32)
    for code in found.tolist():
        character = chr(code)
        small = character.lower()
        lower[code] = ord(small) if len(small) == 1 else code
        flags[code] = (
            _SPACE * character.isspace()
            | _UPPER * (character.isupper() or character.istitle())
            | _DIGIT * character.isdigit()
            | _WORD * character.isalnum()
            | _COMMA * (character in _COMMAS)
            | _SEPARATOR * (character in _SEPARATORS)
            | _CONTACT * (character in "@©")
            | _CLOSER * (character in _CLOSERS)
            | _STOP * (character in _STOPS)
            | _PAUSE * (character in _COMMAS or character in ":;：；؛")
            | _IDEOGRAPH * bool(_IS_IDEOGRAPH(character))
            | _PHRASED * bool(_IS_PHRASED(character))
            | _FUNCTION * (character in FUNCTION_CHARACTERS)
        )
    return lower[codes], flags[codes]


def _unspaced_words(flags: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Where words begin in scripts without spaces: every second ideograph, every fourth letter of Thai and its like.

    Other letters that follow them begin a word, too. What stands behind opening punctuation does not.
    """
    unspaced = flags & _UNSPACED
    if not unspaced.any():
        return np.zeros(0, np.int64)
    before = np.concatenate([[0], unspaced[:-1]])
    place = np.arange(len(flags))
    run = np.maximum.accumulate(np.where(unspaced != before, place, 0))  # where the run of letters alike began
    size = np.where(unspaced == _IDEOGRAPH, 2, 4)
    begins = np.where(unspaced != 0, (place - run) % size == 0, (before != 0) & (flags & _WORD != 0))
    follows_word = np.concatenate([[False], flags[:-1] & (_WORD | _COMMA | _STOP | _PAUSE | _UNSPACED) != 0])
    return np.flatnonzero(begins & follows_word)


def _marks(length: int, *places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(L,) True at those places."""
    marks = np.zeros(length, np.bool_)
    for each in places:
        marks[each] = True
    return marks


def _counts(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many are True before each place: (L + 1,)."""
    counts = np.zeros(len(mask) + 1, np.int32)
    np.cumsum(mask, out=counts[1:])
    return counts


def _between(mask: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    counts = _counts(mask)
    return counts[ends] - counts[starts]


def _has_link(text: str, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which blocks hold "http" or "www."."""
    found = np.zeros(len(starts), np.bool_)
    for sign in ("http", "www."):
        at = text.find(sign)
        while at >= 0:
            block = int(np.searchsorted(starts, at, side="right")) - 1
            if block >= 0 and at < ends[block]:
                found[block] = True
                at = int(ends[block]) - 1  # one in a block is enough
            at = text.find(sign, at + 1)
    return found


class _Hashes:
    """Hashes of any parts of a text, from one pass over it: the sum of character · base^position, modulo 2^64."""

    def __init__(self, codes: NDArray[np.uint32]) -> None:
        base = np.full(len(codes) + 1, _BASE, np.uint64)
        inverse = np.full(len(codes) + 1, _INVERSE, np.uint64)
        base[0] = inverse[0] = 1
        powers = np.multiply.accumulate(base)
        self._back = np.multiply.accumulate(inverse)
        self._sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes * powers[:-1], out=self._sums[1:])

    def of(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The hash of each part [start, end): equal parts have equal hashes wherever they stand."""
        hashes: NDArray[np.uint64] = (self._sums[ends] - self._sums[starts]) * self._back[starts]
        return hashes


def _is_stop_word(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    listed = _stop_word_hashes()
    found: NDArray[np.bool_] = listed[np.searchsorted(listed, hashes).clip(max=len(listed) - 1)] == hashes
    return found


@lru_cache(maxsize=1)
def _stop_word_hashes() -> NDArray[np.uint64]:
    listed = files("glot_rag.documents").joinpath("stop_words.txt").read_text(encoding="utf-8")
    words = [word for line in listed.splitlines() if not line.startswith("#") for word in line.split()]
    text = " ".join(words)
    lengths = np.array([len(word) for word in words])
    ends = np.cumsum(lengths + 1) - 1
    codes, _ = _characters(text)
    return np.unique(_Hashes(codes).of(ends - lengths, ends))
