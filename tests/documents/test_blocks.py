from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.documents.blocks import LONG_LINE, Block, TextBuilder, split_blocks


def texts(text: str, known: tuple[Block, ...] = ()) -> list[str]:
    return [text[block.start : block.end] for block in split_blocks(text, known)]


def test_a_line_is_a_block() -> None:
    assert texts("Home\n\n  About us \r\nOne sentence. Another one.\u2028last") == [
        "Home", "About us", "One sentence. Another one.", "last"
    ]  # fmt: skip


def test_a_text_without_line_breaks_falls_back_to_sentences() -> None:
    text = "Dr. Lee came, e.g. by train. “It works!” she said. 3 of 4 agreed… Did they? yes. 水は冷。火は熱。"
    assert texts(text) == [
        "Dr. Lee came, e.g. by train.", "“It works!” she said.",
        "3 of 4 agreed…", "Did they? yes.", "水は冷。", "火は熱。"
    ]  # fmt: skip


def test_sentences_of_languages_without_spaces_or_with_stops_of_their_own() -> None:
    assert texts("他说：「水烧好了。」然后走了。真的吗？！好。") == [
        "他说：「水烧好了。」",
        "然后走了。",
        "真的吗？！",
        "好。",
    ]
    assert texts("هل الماء ساخن؟ نعم، إنه ساخن. شكرا") == ["هل الماء ساخن؟", "نعم، إنه ساخن.", "شكرا"]
    assert texts("पानी गर्म है। चाय बनाओ।") == ["पानी गर्म है।", "चाय बनाओ।"]
    assert texts("กาต้มน้ำสามารถต้มน้ำได้เร็ว ไฟจะดับเอง") == ["กาต้มน้ำสามารถต้มน้ำได้เร็ว", "ไฟจะดับเอง"]
    assert texts("ราคา 20 บาท ต่อชิ้น") == ["ราคา 20 บาท ต่อชิ้น"]


def test_long_text_without_spaces_is_cut_after_clauses_and_not_within_a_letter() -> None:
    clause = "水烧好了就会自己关掉" * 10 + "，"
    assert texts(clause * 9) == [clause * 5, clause * 4]
    parts = texts("xx" + "น้ำ" * 400)  # a tone mark stands over each first letter
    assert [part[0] for part in parts] == ["x", "น", "น"]
    assert [len(part) for part in parts] == [599, 600, 3]


def test_a_text_without_sentences_falls_back_to_runs_of_words() -> None:
    text = " ".join(f"word{n}" for n in range(100)) + " end" * 100
    assert [len(part.split()) for part in texts(text)] == [40, 40, 40, 40, 40]
    assert [len(part) for part in texts("字" * 1500)] == [LONG_LINE, LONG_LINE, 300]


def test_a_long_line_among_others_becomes_its_sentences() -> None:
    long = "This sentence is repeated. " * 30
    assert texts(f"Short one. Stays whole.\n{long}") == [
        "Short one. Stays whole.",
        *["This sentence is repeated."] * 30,
    ]


def test_known_kinds_are_taken_over() -> None:
    builder = TextBuilder()
    builder.add("Title", "heading", 1)
    builder.add("  first line\nsecond line  ")
    builder.add("\n    if x:\n        y\n", "code")
    builder.add("  ")
    assert builder.text == "Title\nfirst line\nsecond line\n    if x:\n        y"
    assert [(builder.text[b.start : b.end], b.kind, b.level) for b in split_blocks(builder.text, builder.blocks)] == [
        ("Title", "heading", 1),
        ("first line", "paragraph", 0),
        ("second line", "paragraph", 0),
        ("if x:", "code", 0),
        ("y", "code", 0),
    ]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab.A! \n\t\u2028字。"), max_size=80).map(lambda text: text * 9))
def test_blocks_hold_all_but_white_space(text: str) -> None:
    blocks = split_blocks(text)
    assert "".join("".join(text[b.start : b.end] for b in blocks).split()) == "".join(text.split())
    assert all(first.end <= second.start for first, second in pairwise(blocks))
    assert all(text[b.start : b.end].strip() == text[b.start : b.end] != "" for b in blocks)


@pytest.mark.parametrize("text", ["x" * 200_000, " " * 200_000, "a. " * 70_000, "." * 200_000 + " A"])
def test_hostile_lines_end(text: str) -> None:
    assert sum(b.end - b.start for b in split_blocks(text)) <= len(text)
