from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.errors import InputError
from glot_rag.models import tokenizer as tokenizer_module
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import Tokenizer, check_texts, pack


@settings(deadline=None, max_examples=200)
@given(
    lengths=st.lists(st.integers(1, 60), max_size=60),
    batch_tokens=st.integers(1, 400),
    batch_pairs=st.integers(1, 8000),
)
def test_packing_covers_every_row_once_within_its_budgets(
    lengths: list[int], batch_tokens: int, batch_pairs: int
) -> None:
    sequences = [list(range(100 * row + 1, 100 * row + 1 + length)) for row, length in enumerate(lengths)]
    batches = list(pack(sequences, -1, batch_tokens, batch_pairs))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(len(lengths)))
    widths = [batch.ids.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch in batches:
        count, width = batch.ids.shape
        assert batch.ids.dtype == batch.rows.dtype == np.int64
        assert count == 1 or (count * width <= batch_tokens and count * width * width <= batch_pairs)
        assert width == max(lengths[row] for row in batch.rows)
        for place, row in enumerate(batch.rows):
            assert batch.ids[place][batch.mask[place]].tolist() == sequences[row]
            assert batch.mask[place].tolist() == [True] * lengths[row] + [False] * (width - lengths[row])
            assert (batch.ids[place][~batch.mask[place]] == -1).all()


def test_packing_by_hand() -> None:
    batches = list(pack([[1], [2, 2, 2], [3, 3], [4, 4, 4]], pad_id=0, batch_tokens=6, batch_pairs=1000))
    assert [batch.rows.tolist() for batch in batches] == [[1, 3], [2, 0]]
    assert batches[1].ids.tolist() == [[3, 3], [1, 0]]
    by_pairs = list(pack([[1], [2, 2, 2], [3, 3], [4, 4, 4]], pad_id=0, batch_tokens=6, batch_pairs=9))
    assert [batch.rows.tolist() for batch in by_pairs] == [[1], [3], [2, 0]]


def test_packing_nothing() -> None:
    assert list(pack([], 0)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a\0b", "a\0b"),
        ("😀", "😀"),
        ("\ud83d\ude00", "😀"),  # the two halves of a pair, as some JSON parsers leave them
        ("x\ud83d", "x\ufffd"),
        ("\ud83dx", "\ufffdx"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\udcffb", "a\ufffdb"),  # what surrogateescape makes of a byte that is not UTF-8
        ("東\ud800京😀", "東\ufffd京😀"),
    ],
)
def test_surrogates(text: str, expected: str) -> None:
    assert check_texts([text]) == [expected]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=()))))
def test_checked_texts_are_utf8_and_whole_ones_are_kept(texts: list[str]) -> None:
    for given_text, checked in zip(texts, check_texts(texts), strict=True):
        checked.encode("utf-8")
        if not any(0xD800 <= ord(character) < 0xE000 for character in given_text):
            assert checked == given_text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "expected a list of strings, got one str: put it in a list"),
        (b"bytes", "expected a list of strings, got one bytes: put it in a list"),
        (None, "expected a list of strings, got NoneType"),
        (7, "expected a list of strings, got int"),
        (["a", None], "expected strings, got NoneType at position 1: None"),
        (["a", "b", b"c"], "expected strings, got bytes at position 2: b'c'"),
        ([["a"]], r"expected strings, got list at position 0: \['a'\]"),
        ([float("nan")], "expected strings, got float at position 0: nan"),
        (np.array([1.5]), "expected strings, got float64 at position 0"),
    ],
)
def test_what_is_not_a_list_of_strings(texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_texts(texts)


def test_any_iterable_of_strings_is_a_list() -> None:
    assert check_texts(text for text in ("a", "b")) == ["a", "b"]
    assert check_texts(np.array(["a", "b"])) == ["a", "b"]


# ---- MiniLM's tokeniser


def test_ids_by_hand(minilm: Backbone) -> None:
    assert minilm.tokenizer(["Hello, world!"]) == [[101, 7592, 1010, 2088, 999, 102]]


def test_cut_at_the_limit_with_the_special_tokens_kept(minilm: Backbone) -> None:
    (ids,) = minilm.tokenizer(["word " * 1000])
    assert len(ids) == minilm.max_tokens == 256
    assert (ids[0], ids[-1]) == (101, 102)


def test_offsets_slice_the_text(minilm: Backbone) -> None:
    text = "Zürich’s naïve  café, 東京 😀!"
    (tokenised,) = minilm.tokenizer.with_offsets([text])
    assert tokenised.ids == minilm.tokenizer([text])[0]
    pieces = [text[start:end] for start, end in tokenised.spans]
    assert pieces == ["", "Zürich", "’", "s", "naïve", "café", ",", "東", "京", "😀", "!", ""]


def test_a_tokeniser_without_a_fast_version_is_refused() -> None:
    from transformers import PythonBackend

    class Slow(PythonBackend):
        vocab_size = 1

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    with pytest.raises(InputError, match=r"Slow has no fast \(Rust\) version; glot-rag needs its character offsets"):
        Tokenizer.from_transformers(Slow(), 8)


def test_a_text_without_a_token_gets_one() -> None:
    """A tokeniser that adds no special tokens gives nothing for an empty text; there would be no state to pool."""
    from tokenizers import Tokenizer as Core
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    core = Core(WordLevel({"[UNK]": 0, "a": 1, "</s>": 2}, unk_token="[UNK]"))
    core.pre_tokenizer = Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="[UNK]")
    tokenizer = Tokenizer.from_transformers(wrapped, 8)
    assert tokenizer.pad_id == 0
    assert tokenizer(["", "a b", "  "]) == [[2], [1, 0], [2]]
    assert tokenizer.with_offsets(["", "a"]) == [([2], ["</s>"], [(0, 0)]), ([1], ["a"], [(0, 1)])]


# ---- long texts, of which only the beginning is tokenised


def _byte_level(texts: list[str]) -> Any:
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers, trainers

    core = Core(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=600, special_tokens=["<|a_long_special_token|>"], show_progress=False)
    )
    return core


def _unigram(texts: list[str]) -> Any:
    from tokenizers import Tokenizer as Core
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    core = Core(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=400, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    )
    return core


@pytest.fixture(scope="module")
def cores(minilm_folder: Path, prose: list[tuple[str, str]]) -> dict[str, Any]:
    from tokenizers import Tokenizer as Core

    texts = [text for _, text in prose]
    return {
        "wordpiece": Core.from_file(str(minilm_folder / "tokenizer.json")),
        "byte-level": _byte_level(texts),
        "unigram": _unigram(texts),
    }


_PIECES = [
    "wing ",
    "slipstream",
    "x" * 150,
    "東京都の天気は",
    "。",
    "[SEP]",
    "<|a_long_special_token|>",
    "  \n\n ",
    "e\u0301",
]
_PIECES += [" ", "'", "s ", "2026-11-28", "😀", "#####", "\u200b", "naïve, "]


@pytest.mark.parametrize("name", ["wordpiece", "byte-level", "unigram"])
@settings(deadline=None)
@given(pieces=st.lists(st.sampled_from(_PIECES), min_size=40, max_size=400), max_tokens=st.sampled_from([4, 8, 33]))
def test_the_beginning_of_a_long_text_is_that_of_the_whole(
    name: str, cores: dict[str, Any], pieces: list[str], max_tokens: int
) -> None:
    core, text = cores[name], "".join(pieces)
    tokenizer = Tokenizer(core, max_tokens, pad_id=0, stand_in=0, special_ids=())
    whole = core.encode(text)
    assert tokenizer([text, "short", text[::-1]])[0] == (whole.ids or [0])
    (tokenised,) = tokenizer.with_offsets([text])
    if whole.ids:
        assert tokenised == (whole.ids, whole.tokens, whole.offsets)


def test_real_texts_are_tokenised_as_if_they_were_read_to_the_end(
    cores: dict[str, Any], prose: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(text for _, text in prose)
    assert len(text) > 100_000
    sizes: list[int] = []
    settled = tokenizer_module._is_settled

    def note(encoding: Any) -> bool:
        sizes.append(sum(len(window.ids) for window in (encoding, *encoding.overflowing)))
        return settled(encoding)

    monkeypatch.setattr(tokenizer_module, "_is_settled", note)
    for name, core in cores.items():
        tokenizer = Tokenizer(core, 256, pad_id=0, stand_in=0, special_ids=())
        for start in range(0, 50_000, 3_571):
            assert tokenizer([text[start:]]) == [core.encode(text[start:]).ids], name
    assert len(sizes) == 3 * 15  # the first cut was far enough
    assert max(sizes) < 5_000  # of 30,000 tokens and more


def test_texts_in_full_are_cut_into_windows_of_like_length(minilm: Backbone) -> None:
    tokenizer = minilm.tokenizer
    long = " ".join(f"word{number}" for number in range(400))
    texts = ["a short one", long, ""]
    found = tokenizer.in_full(texts)
    assert [found[0][0], found[2][0]] == [tokenizer(texts)[0], tokenizer(texts)[2]]
    before, after = tokenizer.ends
    inside = [window[len(before) : len(window) - len(after)] for window in found[1]]
    assert [window[0] for window in found[1]] == [before[0]] * len(inside)
    assert [i for window in inside for i in window] == tokenizer.whole([long])[0]
    assert max(map(len, found[1])) <= minilm.max_tokens
    assert max(map(len, inside)) - min(map(len, inside)) <= 1
    with_offsets = tokenizer.in_full_with_offsets(long)
    assert [window.ids for window in with_offsets] == found[1]
    pieces = [long[a:b] for window in with_offsets for a, b in window.spans if b > a]
    assert "".join(pieces) == long.replace(" ", "")
    assert tokenizer.in_full_with_offsets("a short one")[0].ids == found[0][0]
