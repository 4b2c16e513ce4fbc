from __future__ import annotations

import math
from importlib.resources import files

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.documents.layout import LAYOUT_FEATURES, layout_features

LISTED = files("glot_rag.documents").joinpath("stop_words.txt").read_text(encoding="utf-8").splitlines()
STOP_WORDS = {word for line in LISTED if not line.startswith("#") for word in line.split()}


def split_words(line: str) -> list[str]:
    """Words, one character at a time: two ideographs are one, and four letters of Thai."""
    words: list[str] = []
    kind, run = "", 0
    for before, character in zip(" " + line, line, strict=False):
        now = "ideograph" if character in "字水は冷" else "thai" if character in "กรุง" else ""
        run = run + 1 if now == kind else 0
        begins = run % (2 if now == "ideograph" else 4) == 0 if now else kind != "" and character.isalnum()
        if not character.isspace() and (before.isspace() or (begins and (before.isalnum() or before in ",.，。ุ"))):
            words.append("")
        if not character.isspace():
            words[-1] += character
        kind = now
    return words


def by_hand(text: str, blocks: list[Block]) -> list[list[float]]:
    """The oracle: one block, one word and one character at a time."""
    shown = [text[block.start : block.end] for block in blocks]
    folded = [line.lower() for line in shown]
    counts = [len(split_words(line)) for line in shown]
    rows = []
    for number, line in enumerate(shown):
        words = split_words(line)
        bare = [word.lower() for word in words]
        for side in ("lstrip", "rstrip"):
            bare = [getattr(word, side)("".join(c for c in word if not c.isalnum())) for word in bare]
        ending = line
        for _ in range(3):
            ending = ending[:-1] if len(ending) > 1 and ending[-1] in "\"'”’»)]}」』）】］" else ending
        rows.append(
            [
                math.log1p(len(words)),
                math.log1p(len(line)),
                line[-1] in ".!?…。！？\"'”’»)]}」』）】:;：；,，、",
                ending[-1] in ".!?…。！？",
                line[0].isupper() or line[0].isdigit(),
                sum(word[0].isupper() for word in words) / len(words),
                sum(any(c.isdigit() for c in word) for word in words) / len(words),
                sum(word in STOP_WORDS or "は" in word for word in bare) / len(words),
                sum(line.count(c) for c in ",，、") / len(words),
                sum(line.count(c) for c in "|›‹»«•·∙▪►▸→←/\\>~¦") / len(words),
                folded.count(folded[number]) > 1,
                sum(map(len, words)) / len(words) / 10,
                any(sign in line for sign in ("@", "©", "http", "www.")),
                number / max(len(shown) - 1, 1),
                sum(counts[:number]) / sum(counts),
            ]
        )
    return rows


PAGE = """Home | About | Contact
Sign in
The kettle boils a litre of water, and it switches itself off.
“It works (well.)”
Tel. 030 1234, mail@example.org or https://example.org/a
sign in
© 2024 Das ist nicht von uns! ÄÖ
"""


def test_every_number_against_the_oracle() -> None:
    blocks = split_blocks(PAGE)
    found = layout_features(PAGE, blocks)
    assert found.shape == (7, len(LAYOUT_FEATURES)) == (7, 15)
    np.testing.assert_allclose(found, by_hand(PAGE, blocks), rtol=1e-6)


@settings(deadline=None)
@given(st.text(st.sampled_from("aÄ7 .,|@”\n\u2028字は。กุß😀"), min_size=1, max_size=60))
def test_any_text_against_the_oracle(text: str) -> None:
    blocks = split_blocks(text)
    if blocks:
        np.testing.assert_allclose(layout_features(text, blocks), by_hand(text, blocks), rtol=1e-6)


def test_blocks_within_a_word_begin_one() -> None:
    text = "x" * 700
    blocks = split_blocks(text)
    assert layout_features(text, blocks)[:, 0].tolist() == [np.float32(math.log1p(1))] * 2


def test_chinese_prose_looks_like_prose_and_its_menu_like_a_menu() -> None:
    words, stops, length = (LAYOUT_FEATURES.index(name) for name in ("words", "stop words", "word length"))
    features = {}
    for name, text in {
        "menu": "首页\n联系方式\n新闻中心",
        "prose": "水壶在几分钟内就能把一升水烧开，然后它会自己关掉。",
        "english menu": "Home\nContact details\nNews centre",
        "english prose": "The kettle boils a litre of water in a few minutes, and then it switches itself off.",
        "thai": "กาต้มน้ำสามารถต้มน้ำหนึ่งลิตรได้ภายในไม่กี่นาที",
    }.items():
        features[name] = layout_features(text, split_blocks(text))
    for language in ("", "english "):
        menu, prose = features[language + "menu"], features[language + "prose"]
        assert menu[:, stops].max() == 0 < 0.3 < prose[0, stops]
        assert np.expm1(menu[:, words].max()) <= 2 < 10 < np.expm1(prose[0, words])
    assert round(float(np.expm1(features["thai"][0, words]))) == 12  # 48 characters
    assert all(each[:, length].max() < 0.9 for each in features.values())


def test_no_blocks() -> None:
    assert layout_features("", []).shape == (0, 15)
    assert layout_features(" \n ", split_blocks(" \n ")).shape == (0, 15)
