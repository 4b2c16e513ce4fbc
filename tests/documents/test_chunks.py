from __future__ import annotations

import re
from itertools import pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.chunks import Chunk, chunk_document
from glot_rag.documents.document import Document
from glot_rag.errors import InputError


def words(text: str) -> list[tuple[int, int]]:
    """A tokeniser whose tokens are words."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def characters(text: str) -> list[tuple[int, int]]:
    return [(n, n + 1) for n, character in enumerate(text) if not character.isspace()]


def guide() -> Document:
    builder = TextBuilder()
    builder.add("Kettles", "heading", 1)
    builder.add("One two three four five.")
    builder.add("Care", "heading", 2)
    builder.add("Six seven eight nine ten.")
    builder.add("Lime", "heading", 3)
    builder.add("Eleven twelve thirteen.")
    builder.add("Repair", "heading", 2)
    builder.add("Fourteen fifteen.")
    return Document(builder.text, "/docs/guide.md", {"title": "Guide", "source": "/docs/guide.md"}, builder.blocks)


def test_headings_stay_with_what_follows() -> None:
    chunks = list(chunk_document(guide(), words, max_tokens=9, overlap=0))
    assert [chunk.text.split("\n") for chunk in chunks] == [
        ["Kettles", "One two three four five."],
        ["Care", "Six seven eight nine ten."],
        ["Lime", "Eleven twelve thirteen.", "Repair", "Fourteen fifteen."],
    ]
    assert [chunk.id for chunk in chunks][:3] == ["/docs/guide.md#0", "/docs/guide.md#1", "/docs/guide.md#2"]
    assert [chunk.headings for chunk in chunks][:3] == [(), ("Kettles",), ("Kettles", "Care")]
    assert {chunk.title for chunk in chunks} == {"Guide"}
    for chunk in chunks:
        assert guide().text[chunk.start : chunk.end] == chunk.text


def test_the_prefix_is_embedded_not_shown_and_counted() -> None:
    chunks = list(chunk_document(guide(), words, max_tokens=20, overlap=0, prefix=True))
    assert chunks[0].prefix == "Guide"
    assert chunks[-1].prefix.startswith("Guide > Kettles")
    assert chunks[-1].embedded == f"{chunks[-1].prefix}\n{chunks[-1].text}"
    assert all(len(words(chunk.embedded)) <= 20 for chunk in chunks)
    assert "Guide" not in chunks[-1].text
    plain = Chunk("s", 3, "text", 0, 4)
    assert (plain.embedded, plain.id) == ("text", "s#3")


def test_a_prefix_that_is_too_long_gives_way() -> None:
    document = Document("body text here", "d", {"title": "a title of very many words indeed"})
    (chunk,) = chunk_document(document, words, max_tokens=8, overlap=0, prefix=True)
    assert chunk.prefix == ""


def test_overlap_repeats_whole_blocks_where_they_fit_and_words_elsewhere() -> None:
    lines = Document("\n".join(f"a{n} b{n} c{n}" for n in range(6)), "d")
    assert [c.text.split("\n")[0][:2] for c in chunk_document(lines, words, max_tokens=9, overlap=4)] == [
        "a0",
        "a2",
        "a4",
    ]
    running = Document("w0 " + " ".join(f"w{n}" for n in range(1, 30)) + "\nlast", "d")
    chunks = list(chunk_document(running, words, max_tokens=12, overlap=2))
    assert chunks[1].text.split()[0] == f"w{int(chunks[0].text.split()[-1][1:]) - 1}"
    assert all(len(words(chunk.text)) <= 12 for chunk in chunks)


def test_no_grapheme_is_split() -> None:
    family, flag, accent = "👨‍👩‍👧‍👦", "🇩🇪", "e\u0301"
    for grapheme in (family, flag, accent):
        text = grapheme * 40
        chunks = list(chunk_document(Document(text, "d"), characters, max_tokens=9, overlap=0))
        assert "".join(chunk.text for chunk in chunks) == text
        assert len(chunks) > 1
        for chunk in chunks:
            assert set(regex.findall(r"\X", chunk.text)) == {grapheme}


@settings(deadline=None)
@given(st.text(st.sampled_from("ab. \n字e\u0301🇩👨\u200d"), max_size=120), st.integers(1, 12), st.booleans())
def test_chunks_cover_the_text_and_stay_within_the_limit(text: str, most: int, overlapping: bool) -> None:
    chunks = list(chunk_document(Document(text, "d"), characters, max_tokens=most, overlap=most // 2 * overlapping))
    covered = {n for chunk in chunks for n in range(chunk.start, chunk.end)}
    assert {n for n, character in enumerate(text) if not character.isspace()} <= covered
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))
    # A single grapheme of more tokens than the limit is the only thing that goes beyond it.
    assert all(len(characters(c.text)) <= most or len(regex.findall(r"\X", c.text)) == 1 for c in chunks)


def test_a_long_text_is_tokenised_in_pieces() -> None:
    seen: list[int] = []

    def counted(text: str) -> list[tuple[int, int]]:
        seen.append(len(text))
        return words(text)

    text = "\n".join(f"This is line number {n}." for n in range(20_000))
    chunks = list(chunk_document(Document(text, "d"), counted, max_tokens=100, overlap=0))
    assert max(seen) <= 1 << 16
    assert "\n".join(chunk.text for chunk in chunks) == text


def test_settings_that_cannot_work() -> None:
    with pytest.raises(InputError, match="max_tokens must be 1 or more, got 0"):
        list(chunk_document(Document("a"), words, max_tokens=0))
    with pytest.raises(InputError, match=r"overlap must be from 0 to half of max_tokens \(5\), got 6"):
        list(chunk_document(Document("a"), words, max_tokens=10, overlap=6))
