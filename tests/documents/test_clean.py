"""What is kept of a document, and where it stood."""

import re

import numpy as np
import pytest

from glot_rag.documents import Block, Document
from glot_rag.documents.clean import CleanDocument

TEXT = "Home | Shop\nGuide\nThe kettle boils.\nAccept cookies\nIt is fast."


def kept(*parts, blocks=()):
    spans = [(TEXT.index(part), TEXT.index(part) + len(part)) for part in parts]
    return CleanDocument(Document(TEXT, "x", {"title": "t"}, blocks), spans)


def test_places_in_the_original():
    clean = kept("Guide\nThe kettle boils.", "It is fast.")
    text = clean.document.text
    assert (clean.document.id, clean.document.metadata) == ("x", {"title": "t"})
    for word in re.finditer(r"\w+", text):
        start, end = clean.in_original(*word.span())
        assert TEXT[start:end] == word[0]
    assert TEXT[slice(*clean.in_original(6, len(text)))] == TEXT[18:]  # with what was dropped between


def test_blocks_of_what_is_kept():
    blocks = [Block(0, 11, "list"), Block(12, 17, "heading", 2), Block(18, 50, "paragraph"), Block(51, 62, "code")]
    clean = kept("Guide\nThe kettle boils.", "is fast.", blocks=blocks)
    found = [(each.kind, each.level, clean.document.text[each.start : each.end]) for each in clean.document.blocks]
    assert found == [("heading", 2, "Guide"), ("paragraph", 0, "The kettle boils."), ("code", 0, "is fast.")]


PAGE = "Menu\nGuide\nUse\nIt boils.\nSafety\nLogin\nMore\nShop"
LEVELS = [("Menu", 2), ("Guide", 1), ("Use", 2), ("Safety", 2), ("More", 1)]


def headed(*parts):
    blocks = [Block(PAGE.index(name), PAGE.index(name) + len(name), "heading", level) for name, level in LEVELS]
    spans = [(PAGE.index(part), PAGE.index(part) + len(part)) for part in parts]
    return CleanDocument(Document(PAGE, blocks=blocks), spans).document


def test_headings_stay_where_something_of_their_section_is_kept():
    document = headed("It boils.")
    assert document.text == "Guide\nUse\nIt boils."
    assert [(document.text[each.start : each.end], each.level) for each in document.blocks] == [
        ("Guide", 1),
        ("Use", 2),
    ]


def test_headings_that_are_kept_alone_have_no_section_above_but_their_own():
    assert headed("Use", "Shop").text == "Guide\nUse\nMore\nShop"


def test_no_heading_comes_back_to_a_document_of_which_nothing_is_kept():
    assert headed().text == ""


def test_a_block_that_lost_its_middle_spans_the_rest():
    clean = kept("Home", "Shop", blocks=[Block(0, 11, "list")])
    (block,) = clean.document.blocks
    assert clean.document.text[block.start : block.end] == "Home Shop"


def test_a_document_that_is_kept_whole():
    document = Document(TEXT, "x", {}, [Block(12, 17, "heading", 1)])
    clean = CleanDocument.whole(document)
    assert clean.document == document
    assert clean.document.blocks == document.blocks
    assert clean.in_original(12, 30) == (12, 30)


@pytest.mark.parametrize("seed", range(5))
def test_any_part_of_any_rest_is_where_it_stood(seed):
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice(list("abcdefgh"), 60))
    edges = np.sort(rng.choice(61, 12, replace=False)).reshape(-1, 2).tolist()
    clean = CleanDocument(Document(text), edges)
    for start in range(len(clean.document.text)):
        if clean.document.text[start] != " ":
            place, end = clean.in_original(start, start + 1)
            assert (text[place], end) == (clean.document.text[start], place + 1)
