"""Texts -> token ids -> batches: sorted by length and packed to a budget, so that little is spent on padding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
# Tokens a batch may hold, padding included (B·L), and pairs of tokens (B·L², the token graph's size).
# B·L of a batch on a CPU: its activations stay in the caches. 8,192 are 1.2 to 1.8 times as slow there.
BATCH_TOKENS = 2_048
BATCH_PAIRS = 1 << 22
# Of a text that is longer than max_tokens, so many characters are tokenised first for each of those tokens.
_CHARACTERS_A_TOKEN = 16
# Enough for even batches, few enough that memory does not grow with the corpus.
_TEXTS_AT_A_TIME = 4_096
# A special token that is cut in two comes to a few words; after so many a cut has no effect any more.
_WORDS_BEFORE_A_CUT = 64


@dataclass(frozen=True)
class TokenBatch:
    """A batch of token ids, padded on the right.

    Attributes:
        rows: (B,) int64, the position of each text in the list that was given.
        ids: (B, L) int64.
        mask: (B, L) boolean, True for real tokens.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]


class TokenisedText(NamedTuple):
    """One text's token ids, token strings and character spans (start, end)."""

    ids: list[int]
    tokens: list[str]
    spans: list[tuple[int, int]]

    def words(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The word of each token, (L,), as a position among the words' first characters; -1 for special tokens.

        A token's last character is in its word; its first may be the space before it (byte-level tokenisers).
        """
        spans = np.array(self.spans, np.int64).reshape(-1, 2)
        word = (np.searchsorted(starts, spans[:, 1] - 1, side="right") - 1).clip(min=0)
        return np.where(spans[:, 1] > spans[:, 0], word, -1)


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list that a tokeniser can take.

    Halves of surrogate pairs, which no UTF-8 can hold, become U+FFFD; whole pairs become the character they stand for.

    Raises:
        InputError: a single string instead of a list, or an element that is not a string.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError(f"expected a list of strings, got one {type(texts).__name__}: put it in a list")
    try:
        texts = list(texts)
    except TypeError:
        raise InputError(f"expected a list of strings, got {type(texts).__name__}") from None
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"expected strings, got {type(text).__name__} at position {position}: {text!r:.80}")
    return [
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if _SURROGATE.search(text) else text
        for text in texts
    ]


def check_groups(groups: Sequence[str] | None, count: int) -> list[str] | None:
    """Return the groups' names as a list.

    Raises:
        InputError: not a list of strings, or not one for each text.
    """
    if groups is None:
        return None
    if isinstance(groups, str) or len(groups) != count or not all(isinstance(each, str) for each in groups):
        raise InputError(f"groups must name one group (a string) for each of the {count} texts; got {groups!r:.80}")
    return list(groups)


def sample_positions(count: int, most: int) -> list[int]:
    """At most so many positions of `count`, evenly spread.

    >>> sample_positions(10, 4)
    [0, 2, 5, 7]
    """
    step = max(1.0, count / most)
    return [int(i * step) for i in range(min(count, most))]


class Tokenizer:
    """A tokeniser, cut to a maximum length, that several threads may call at once.

    Args:
        core: a `tokenizers.Tokenizer`. Its truncation is set once, here: transformers sets it at each call, which
            is not safe between threads.
        max_tokens: longest sequence, special tokens included.
        pad_id: fills batches; masked wherever it stands, so any id will do.
        stand_in: the id that a text without any token gets, so that it has a state to pool.
        special_ids: of all special tokens.
    """

    def __init__(self, core: Any, max_tokens: int, *, pad_id: int, stand_in: int, special_ids: Sequence[int]) -> None:
        self.max_tokens = max_tokens
        self.pad_id = pad_id
        self.stand_in = stand_in
        self.special_ids = tuple(sorted(special_ids))
        self.core = core
        core.no_padding()
        # What is cut off comes as further windows, each of which repeats a quarter of the one before (`windows`).
        self._stride = max_tokens // 4 if max_tokens >= 32 else 0
        core.enable_truncation(max_tokens, stride=self._stride)

    @classmethod
    def from_transformers(cls, tokenizer: Any, max_tokens: int) -> Tokenizer:
        """Over the Rust core of what `AutoTokenizer` gave.

        Raises:
            InputError: it has none.
        """
        if not tokenizer.is_fast:
            raise InputError(
                f"{type(tokenizer).__name__} has no fast (Rust) version; glot-rag needs its character offsets"
            )
        ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id)
        return cls(
            tokenizer.backend_tokenizer,
            max_tokens,
            pad_id=tokenizer.pad_token_id or 0,
            stand_in=next((i for i in ends if i is not None), 0),
            special_ids=tokenizer.all_special_ids,
        )

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, up to `max_tokens`.

        A text without any token gets one special token, so that it has a state to pool.
        """
        return [encoding.ids or [self.stand_in] for encoding in self._beginnings(texts, self.core.encode_batch_fast)]

    def _beginnings(self, texts: Sequence[str], encode: Callable[[list[str]], list[Any]]) -> list[Any]:
        """What `encode` gives for each text, up to `max_tokens`, without tokenising all of a long text.

        A long text is cut after some characters. The cut can change the tokens before it only as far back as the
        tokeniser looks around: within a word or a special token. If the last of the wanted tokens is farther from the
        cut than that, they are the tokens of the whole text; otherwise more characters are tried.
        """
        characters = _CHARACTERS_A_TOKEN * self.max_tokens
        found: dict[int, Any] = {}
        long = [row for row, text in enumerate(texts) if len(text) > characters]
        while long:
            # encode_batch, because encode_batch_fast does not say which word a token belongs to.
            cut = self.core.encode_batch([texts[row][:characters].rstrip() for row in long])
            found |= {row: encoding for row, encoding in zip(long, cut, strict=True) if _is_settled(encoding)}
            characters *= 4
            long = [row for row in long if row not in found and len(texts[row]) > characters]
        others = [row for row in range(len(texts)) if row not in found]
        found |= dict(zip(others, encode([texts[row] for row in others]), strict=True))
        return [found[row] for row in range(len(texts))]

    @property
    def vocabulary_size(self) -> int:
        """One above the highest token id."""
        highest: int = max(self.core.get_vocab().values(), default=0)
        return highest + 1

    def is_special(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which ids are special tokens: of the same shape."""
        return np.isin(ids, self.special_ids)

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, of any length, without special tokens."""
        found = []
        for encoding in self.core.encode_batch_fast(list(texts)):
            ids: list[int] = []
            for number, window in enumerate((encoding, *encoding.overflowing)):
                own = [i for i, special in zip(window.ids, window.special_tokens_mask, strict=True) if not special]
                ids += own[self._stride if number else 0 :]
            found.append(ids)
        return found

    def in_full(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """Each text's token ids in windows of up to `max_tokens`, of which none repeats another and none is cut off.

        A text that fits is one window, as `__call__` gives it; a longer one comes in windows of like length.
        """
        found = [[ids] for ids in self(texts)]
        long = [row for row, (ids,) in enumerate(found) if len(ids) >= self.max_tokens]
        for row, ids in zip(long, self.whole([texts[row] for row in long]), strict=True):
            if cuts := self.cuts(len(ids)):
                found[row] = [self.around(ids[start:end]) for start, end in pairwise(cuts)]
        return found

    def in_full_with_offsets(self, text: str) -> list[TokenisedText]:
        """The windows that `in_full` has of a text, with token strings and character spans."""
        ((ids, spans),) = self.spanned([text])
        if not (cuts := self.cuts(len(ids))):
            return self.with_offsets([text])
        before, after = ([(0, 0)] * len(ends) for ends in self.ends)
        windows = []
        for start, end in pairwise(cuts):
            own = self.around(ids[start:end].tolist())
            tokens = [self.core.id_to_token(i) or "" for i in own]
            windows.append(TokenisedText(own, tokens, [*before, *map(tuple, spans[start:end].tolist()), *after]))
        return windows

    def spanned(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Token ids (L,) and character spans (L, 2) of each text, of any length, without special tokens."""
        found = []
        for encoding in self.core.encode_batch(list(texts)):
            ids, spans = [], []
            for number, window in enumerate((encoding, *encoding.overflowing)):
                own = np.flatnonzero(np.array(window.special_tokens_mask) == 0)[self._stride if number else 0 :]
                ids.append(np.array(window.ids, np.int64)[own])
                spans.append(np.array(window.offsets, np.int64).reshape(-1, 2)[own])
            found.append((np.concatenate(ids), np.concatenate(spans)))
        return found

    def cuts(self, count: int) -> list[int]:
        """Where so many tokens are cut; nowhere if they fit, or if special tokens leave no room for any."""
        room = self.max_tokens - len(self.ends[0]) - len(self.ends[1])
        if count <= room or room < 1:
            return []
        parts = -(-count // room)
        return [round(part * count / parts) for part in range(parts + 1)]

    def around(self, ids: list[int]) -> list[int]:
        """The ids of a part of a text with the special tokens that stand before and after a text."""
        return [*self.ends[0], *ids, *self.ends[1]]

    @cached_property
    def ends(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
        (encoding,) = self.core.encode_batch(["a"])
        special = encoding.special_tokens_mask
        first = special.index(0) if 0 in special else len(special)
        last = len(special) - special[::-1].index(0) if 0 in special else len(special)
        return encoding.ids[:first], encoding.ids[last:]

    def windows(self, text: str) -> list[TokenisedText]:
        """A text of any length as windows of up to `max_tokens`, each with a quarter of the one before."""
        (encoding,) = self.core.encode_batch([text])
        return [
            TokenisedText(window.ids, window.tokens, window.offsets)
            for window in (encoding, *encoding.overflowing)
            if window.ids
        ]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the tokens of a text of any length, in order, without special tokens."""
        return sorted({span for window in self.windows(text) for span in window.spans if span[1] > span[0]})

    def with_offsets(self, texts: Sequence[str]) -> list[TokenisedText]:
        """Ids, token strings and character spans of each text, up to `max_tokens`; special tokens' spans are empty."""
        return [
            TokenisedText(encoding.ids, encoding.tokens, encoding.offsets)
            if encoding.ids
            else TokenisedText([self.stand_in], [self.core.id_to_token(self.stand_in) or ""], [(0, 0)])
            for encoding in self._beginnings(texts, self.core.encode_batch)
        ]


def _is_settled(encoding: Any) -> bool:
    """Whether the tokens up to the limit are far enough from the text's end not to change if the text went on."""
    if not encoding.overflowing:
        return False
    last_words = [word for word in encoding.overflowing[-1].word_ids if word is not None]
    words = [word for word in encoding.word_ids if word is not None]
    return bool(words and last_words) and max(words) + _WORDS_BEFORE_A_CUT <= max(last_words)


class WindowBatch(NamedTuple):
    """A batch of windows of texts.

    Attributes:
        batch: the windows.
        texts: (B,) the position of each window's text.
        shares: (B,) float32, each window's share of its text's tokens.
    """

    batch: TokenBatch
    texts: NDArray[np.int64]
    shares: NDArray[np.float32]


def window_batches(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    group: Callable[[Sequence[Sequence[int]]], Iterable[TokenBatch]],
    *,
    whole: bool,
) -> Iterator[list[WindowBatch]]:
    """Tokenise texts and group them into batches, a few thousand texts at a time.

    Args:
        tokenizer: of the backbone.
        texts: strings.
        group: token ids -> batches, such as `pack`.
        whole: True reads texts of any length, in windows. False cuts what a text has beyond `max_tokens`.
    """
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        part = texts[start : start + _TEXTS_AT_A_TIME]
        windows = tokenizer.in_full(part) if whole else [[ids] for ids in tokenizer(part)]
        rows = np.repeat(np.arange(len(windows)), [len(each) for each in windows])
        sizes = np.array([len(ids) for each in windows for ids in each], np.float64)
        totals = np.bincount(rows, sizes, minlength=len(windows))
        shares = (sizes / totals[rows]).astype(np.float32)
        batches = group([ids for each in windows for ids in each])
        yield [WindowBatch(batch, start + rows[batch.rows], shares[batch.rows]) for batch in batches]


def pack(
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    batch_tokens: int = BATCH_TOKENS,
    batch_pairs: int = BATCH_PAIRS,
) -> Iterator[TokenBatch]:
    """Group sequences of like length into batches, longest first, so that a batch that is too big fails at once.

    Args:
        sequences: token ids; none empty.
        pad_id: fills the rows on the right.
        batch_tokens: bound on B·L. A longer sequence is a batch of its own.
        batch_pairs: bound on B·L².
    """
    order = sorted(range(len(sequences)), key=lambda row: -len(sequences[row]))
    start = 0
    while start < len(order):
        length = len(sequences[order[start]])
        count = max(1, min(batch_tokens // length, batch_pairs // (length * length)))
        rows = order[start : start + count]
        ids = np.full((len(rows), length), pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.bool_)
        for place, row in enumerate(rows):
            ids[place, : len(sequences[row])] = sequences[row]
            mask[place, : len(sequences[row])] = True
        yield TokenBatch(np.array(rows, dtype=np.int64), ids, mask)
        start += count
