"""A text's terms: its words without case and stop words, as stems; of Chinese, Japanese and Korean, character pairs."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import regex
from numpy.typing import NDArray

from glot_rag.checks import choose

Terms = NDArray[np.uint64]  # a term is the first eight bytes of a hash: no table of words has to be kept in step
NO_LANGUAGE = "none"
# Snowball's languages. bm25s has lists of stop words for some; the others go without, which BM25's weights make up for.
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "estonian", "finnish", "french"),
    *("german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian"),
    *("portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish"),
    NO_LANGUAGE,
)
MOST_WORDS = 300_000  # whose terms are kept; stemming a word takes some fifty times as long as looking it up
# Scripts that are written without spaces, and Hangul, whose endings stick to the words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORDS = regex.compile(rf"(?V1)(?P<unspaced>[{_UNSPACED}\u30fc]+)|[\w--[{_UNSPACED}]]+")
_ASCII_WORDS = re.compile(r"\w+", re.ASCII)
_STOP = 0  # stands for a stop word; no term has this number


def check_language(language: str) -> str:
    """Give a language back if there is one of that name.

    Raises:
        InputError: There is none.
    """
    return choose("language", language, LANGUAGES)


@cache
def analyzer(language: str) -> Analyzer:
    """The one analyzer of a language: all indexes of a process share what it knows about words."""
    return Analyzer(language)


class Analyzer:
    """Makes terms of texts. Safe between threads.

    Args:
        language: One of `LANGUAGES`. "none": words as they are, without case.
    """

    def __init__(self, language: str) -> None:
        self._stem = None
        self._stop_words: frozenset[str] = frozenset()
        if language != NO_LANGUAGE:
            import snowballstemmer

            self._stem = snowballstemmer.stemmer(language).stemWord
            self._stop_words = _stop_words(language)
        self._terms: dict[str, int] = {}

    def document(self, text: str) -> bytes:
        """The terms of a document and how often each occurs, as `decode_counts` reads them."""
        counts = Counter(self._each(text, pairs_only=False))
        terms = np.fromiter(counts, np.uint64, len(counts))
        order = np.argsort(terms)
        return encode_counts(terms[order], np.fromiter(counts.values(), np.uint32, len(counts))[order])

    def query(self, text: str) -> dict[int, int]:
        """The terms of a query and how often each occurs."""
        return dict(Counter(self._each(text, pairs_only=True)))

    def _each(self, text: str, pairs_only: bool) -> Iterator[int]:
        for word in _words(text, pairs_only):
            term = self._terms.get(word)
            if term is None:
                term = self._term(word)
            if term != _STOP:
                yield term

    def _term(self, word: str) -> int:
        if word in self._stop_words:
            term = _STOP
        else:
            stem = word if self._stem is None else self._stem(word)
            term = int.from_bytes(hashlib.blake2b(stem.encode(), digest_size=8).digest(), "little") or 1
        if len(self._terms) >= MOST_WORDS:
            self._terms.clear()
        self._terms[word] = term
        return term


def encode_counts(terms: Terms, counts: NDArray[np.uint32]) -> bytes:
    """Ascending terms and their counts as bytes: the width of a count, the terms, the counts."""
    width = np.min_scalar_type(int(counts.max(initial=0)))
    return bytes([width.itemsize]) + terms.astype("<u8").tobytes() + counts.astype(width.newbyteorder("<")).tobytes()


def decode_counts(blob: bytes) -> tuple[Terms, NDArray[np.unsignedinteger]]:
    """What `encode_counts` was given. The bytes were checked against their checksum before.

    Raises:
        ValueError: They are no counts all the same.
    """
    width = blob[0] if blob else 0
    size, rest = divmod(len(blob) - 1, 8 + width)
    if width not in (1, 2, 4) or rest:
        raise ValueError("no counts of terms")
    return np.frombuffer(blob, "<u8", size, 1), np.frombuffer(blob, f"<u{width}", size, 1 + 8 * size)


def _words(text: str, pairs_only: bool) -> Iterator[str]:
    if text.isascii():
        yield from _ASCII_WORDS.findall(text.lower())
        return
    for match in _WORDS.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = match[0]
        if match["unspaced"] is None:
            yield word
            continue
        # A query of one character is found in documents through single characters; a longer one asks for its pairs.
        if not pairs_only or len(word) == 1:
            yield from word
        yield from (word[start : start + 2] for start in range(len(word) - 1))


def _stop_words(language: str) -> frozenset[str]:
    from bm25s import stopwords

    return frozenset(
        getattr(stopwords, "STOPWORDS_EN" if language == "english" else f"STOPWORDS_{language.upper()}", ())
    )
