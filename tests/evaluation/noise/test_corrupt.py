from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.errors import InputError
from glot_rag.evaluation import NOISE_KINDS, NoiseSpec, corrupt
from glot_rag.evaluation.noise.boilerplate import boilerplate_line, templates
from glot_rag.evaluation.noise.families import LINE_FAMILIES, languages
from glot_rag.evaluation.noise.generators import evaluation_words

# What adds words; `ocr` damages them instead.
KINDS = [kind for kind in NOISE_KINDS if kind not in ("none", "ocr")]
# Words that no noise source makes, so that what comes from where can be told without trusting the mask.
ORIGINAL = [f"π{i}" for i in range(300)]
OTHERS = [" ".join(f"ω{n}.{i}" for i in range(60)) for n in range(3)]


def document(length: int) -> str:
    return " ".join(ORIGINAL[:length])


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("words:0.8", NoiseSpec("words", 0.8)),
        (" boilerplate:.5 ", NoiseSpec("boilerplate", 0.5)),
        ("gibberish:0", NoiseSpec("gibberish", 0.0)),
        ("none", NoiseSpec("none")),
    ],
)
def test_parse(text: str, spec: NoiseSpec) -> None:
    assert NoiseSpec.parse(text) == spec


@pytest.mark.parametrize("spec", [NoiseSpec("none"), NoiseSpec("words", 0.8), NoiseSpec("offtopic", 0.35)])
def test_text_form_round_trips(spec: NoiseSpec) -> None:
    assert NoiseSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words", r"Cannot read the noise setting 'words'.*KIND:RATIO.*boilerplate"),
        ("words:much", "Cannot read the noise setting 'words:much'"),
        ("words:80%", "Cannot read the noise setting"),
        ("spam:0.5", r"Unknown kind of noise 'spam'.*words, boilerplate, gibberish, offtopic"),
        ("words:1", r"must be in \[0, 1\), got 1.0"),
        ("words:-0.1", r"must be in \[0, 1\)"),
        ("words:nan", r"must be in \[0, 1\)"),
        ("none:0.5", "takes no ratio"),
        ("", "Cannot read the noise setting ''"),
    ],
)
def test_bad_spec(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NoiseSpec.parse(text)


def test_worked_example() -> None:
    # 10 words at 80%: the first 2 survive, 8 are noise.
    [noisy] = corrupt([document(50)], NoiseSpec("words", 0.8), seed=0, max_words=10)
    assert noisy.signal == "π0 π1"
    words = noisy.text.split()
    assert len(words) == 10
    assert [word for word, own in zip(words, noisy.signal_mask, strict=True) if own] == ["π0", "π1"]
    noise = [word for word, own in zip(words, noisy.signal_mask, strict=True) if not own]
    assert len(noise) == 8
    assert set(noise) <= set(evaluation_words())


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    ratio=st.floats(0.0, 0.95),
    length=st.integers(1, 300),
    max_words=st.sampled_from([0, 20, 170]),
    seed=st.integers(0, 5),
)
def test_ratio_and_signal(kind: str, ratio: float, length: int, max_words: int, seed: int) -> None:
    noisy = corrupt([document(length), *OTHERS], NoiseSpec(kind, ratio), seed=seed, max_words=max_words)[0]
    words = noisy.text.split()
    assert len(noisy.signal_mask) == len(words)
    # Lines and passages are cut, so the share is right to the word for every kind.
    assert abs(noisy.signal_mask.count(False) - ratio * len(words)) <= 1
    own = [word for word, signal in zip(words, noisy.signal_mask, strict=True) if signal]
    assert own == ORIGINAL[: len(own)] == noisy.signal.split()
    assert own == [word for word in words if word in set(ORIGINAL)]
    if max_words:
        assert len(words) <= max_words
        assert len(own) == min(length, max(1, round((1 - ratio) * max_words)))
        if len(own) < length:
            assert len(words) == max_words
    else:
        assert len(own) == length


@pytest.mark.parametrize("kind", NOISE_KINDS[1:])
@pytest.mark.parametrize(("max_words", "kept"), [(170, 170), (0, 300)])
def test_at_ratio_0_the_document_is_only_cut(kind: str, max_words: int, kept: int) -> None:
    [noisy] = corrupt([document(300)], NoiseSpec(kind, 0.0), seed=0, max_words=max_words)
    assert noisy.text == noisy.signal == document(kept)
    assert noisy.signal_mask == [True] * kept


def test_no_noise_leaves_whole_documents_with_their_line_breaks() -> None:
    text = "Home | News\n\n" + document(300) + "\n  End.  "
    [noisy] = corrupt([text], NoiseSpec("none"), seed=0, max_words=170)
    assert noisy.text == noisy.signal == text
    assert noisy.signal_mask == [True] * len(text.split())


@pytest.mark.parametrize("kind", KINDS)
def test_deterministic_and_seeded(kind: str) -> None:
    texts = [document(100), *OTHERS]
    spec = NoiseSpec(kind, 0.5)
    assert corrupt(texts, spec, seed=1) == corrupt(texts, spec, seed=1)
    first, second = corrupt(texts, spec, seed=1)[0], corrupt(texts, spec, seed=2)[0]
    assert first.text != second.text
    assert first.signal == second.signal
    other_ratio = corrupt(texts, NoiseSpec(kind, 0.6), seed=1)[0]
    assert [w for w, own in zip(first.text.split(), first.signal_mask, strict=True) if not own][:20] != [
        w for w, own in zip(other_ratio.text.split(), other_ratio.signal_mask, strict=True) if not own
    ][:20]


KNOWN = {
    "words": "give alpha beta contain direct",
    "boilerplate": "About us | alpha beta",
    "gibberish": "aUCiDcBofK UdxxUP alpha rpP beta",
    "offtopic": "alpha gamma gamma gamma beta",
    "log": "11:41:59.439 #22 collected alpha beta",
    "markup": "alpha beta @media print {",
    "strings": "%BE%24%83N%E6%C5&utm_id=100591 alpha beta eyJTw7SMOeih48B.RpY9dvvzXDXBRW0JX-gN.QaHP7ChxIQqq9E0D "
    "eyJlmvUODTSL-2D.js9_ShvJT1xnR36MydBk.HnCaY-1S9DdHJl6I",
    "chat": "alpha beta Today 7:09 New",
    "headers": "Rev. C Consultation alpha beta",
    "foreign": "Il nostro maestro alpha beta",
    "ocr": "al pha beta",
}


def test_known_noise() -> None:
    # The figures of a report can be made again only as long as the same seed gives the same noise.
    texts = {kind: corrupt(["alpha beta", "gamma " * 20], NoiseSpec(kind, 0.6), seed=0)[0].text for kind in KNOWN}
    assert texts == KNOWN
    assert set(KNOWN) == set(NOISE_KINDS) - {"none"}


@pytest.mark.parametrize("kind", sorted({*NOISE_KINDS} - {"none", "offtopic"}))
def test_documents_are_independent(kind: str) -> None:
    spec = NoiseSpec(kind, 0.7)
    alone = corrupt([document(80)], spec, seed=3)[0]
    beside = corrupt([document(80), "another", "third text"], spec, seed=3)[0]
    assert alone == beside


def test_off_topic_noise_is_not_drawn_from_the_own_text() -> None:
    spec = NoiseSpec("offtopic", 0.5)
    texts = [document(200), *OTHERS]
    assert corrupt(texts, spec, seed=3)[0] == corrupt([document(300), *OTHERS], spec, seed=3)[0]


def test_off_topic_noise_is_whole_passages_of_the_other_documents() -> None:
    noisy = corrupt([document(85), *OTHERS], NoiseSpec("offtopic", 0.5), seed=0)[0]
    runs = "".join("s" if own else "n" for own in noisy.signal_mask).split("s")
    assert all(word.startswith(("π", "ω")) for word in noisy.text.split())
    assert noisy.signal_mask.count(False) == 85
    # 85 words in runs of 15 to 40, the last cut: three to six runs, some perhaps in one gap.
    assert 1 <= sum(bool(run) for run in runs) <= 6
    words = noisy.text.split()
    followers = sum(
        second == f"{first.split('.')[0]}.{int(first.split('.')[1]) + 1}"
        for first, second in pairwise(words)
        if first.startswith("ω") and second.startswith("ω")
    )
    assert followers >= 85 - 6


def test_off_topic_finds_the_one_other_document_with_text() -> None:
    noisy = corrupt(["own words here", *[""] * 500, "the other one"], NoiseSpec("offtopic", 0.5), seed=0)
    assert set(noisy[0].text.split()) == {"own", "words", "here", "the", "other", "one"}


@pytest.mark.parametrize("texts", [["only one document"], ["one", "", "  "]])
def test_off_topic_needs_another_document(texts: list[str]) -> None:
    with pytest.raises(InputError, match="at least two with text"):
        corrupt(texts, NoiseSpec("offtopic", 0.5), seed=0)


def test_gibberish_looks_like_gibberish() -> None:
    [noisy] = corrupt([document(1)], NoiseSpec("gibberish", 0.99), seed=0, max_words=2000)
    noise = [word for word in noisy.text.split() if not word.startswith("π")]
    assert len(noise) == 99
    assert all(3 <= len(word) <= 10 and word.isascii() and word.isalnum() for word in noise)
    assert 0.4 < sum(word.islower() and word.isalpha() for word in noise) / len(noise) < 0.9
    assert len(set(noise)) == len(noise)


def test_noise_words_are_plain_and_listed_once() -> None:
    words = evaluation_words()
    assert len(words) > 300
    assert len(set(words)) == len(words)
    assert all(word.isalpha() and word.islower() for word in words)


def test_every_template_can_be_filled() -> None:
    assert len(set(templates())) == len(templates()) >= 80
    rng = random.Random(0)
    lines = [boilerplate_line(rng) for _ in range(2000)]
    assert not any("{" in line or "}" in line for line in lines)
    assert len(set(lines)) > 1000


def test_empty_documents_stay_empty() -> None:
    for noisy in corrupt(["", "  \n"], NoiseSpec("words", 0.5), seed=0):
        assert (noisy.text, noisy.signal, noisy.signal_mask) == ("", "", [])
    assert corrupt([], NoiseSpec("words", 0.5), seed=0) == []


def test_negative_max_words() -> None:
    with pytest.raises(InputError, match="max_words must be 0"):
        corrupt(["a"], NoiseSpec("none"), seed=0, max_words=-1)


def test_headers_come_back_and_only_their_page_number_changes() -> None:
    lines = LINE_FAMILIES["headers"](random.Random(3))
    pages = [(next(lines), next(lines)) for _ in range(30)]
    assert len({head for head, _ in pages}) == 1
    numbers = [[int(word.split("/")[0]) for word in foot.split() if word.split("/")[0].isdigit()] for _, foot in pages]
    assert [len(set(column)) for column in zip(*numbers, strict=True)].count(30) == 1


def test_other_languages_are_many_and_full() -> None:
    grammars = languages.grammars()
    assert len(grammars) == 12
    for slots in grammars.values():
        assert [len(fillers) for fillers in slots] == [6, 6, 6, 6]
        assert all(filler.strip() == filler != "" for fillers in slots for filler in fillers)


@pytest.mark.parametrize("kind", LINE_FAMILIES)
def test_families_are_open_ended(kind: str) -> None:
    noisy = corrupt([document(1)] * 30, NoiseSpec(kind, 0.98), seed=0, max_words=0)
    # A document's own noise repeats itself (one log, one language); that of thirty documents does not.
    noise = [word for each in noisy for word, own in zip(each.text.split(), each.signal_mask, strict=True) if not own]
    assert len(noise) == 30 * 49
    assert len(set(noise)) > 90
    assert not any(
        "{" + slot + "}" in each.text for each in noisy for slot in ("n", "d", "u", "h", "ip", "name", "time")
    )
    assert len({each.text for each in noisy}) == 30
