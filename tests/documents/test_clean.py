"""What is kept of a document, and where it stood."""

import re

import numpy as np
import pytest

from glot_rag.documents import Block, Document
from glot_rag.documents.clean import CleanDocument

TEXT = "Home | Shop\nGuide\nThe kettle boils.\nAccept cookies\nIt is fast."


def kept(*parts, blocks=()):
    spans = [(TEXT.index(part), TEXT.index(part) + len(part)) for part in parts]
    return CleanDocument(Document(TEXT, "x", {"title": "t"}, blocks), "\n".join(parts), spans)


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


def test_a_block_that_lost_its_middle_spans_the_rest():
    clean = kept("Home", "Shop", blocks=[Block(0, 11, "list")])
    (block,) = clean.document.blocks
    assert clean.document.text[block.start : block.end] == "Home\nShop"


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
    clean = CleanDocument(Document(text), " ".join(text[start:end] for start, end in edges), edges)
    for start in range(len(clean.document.text)):
        if clean.document.text[start] != " ":
            place, end = clean.in_original(start, start + 1)
            assert (text[place], end) == (clean.document.text[start], place + 1)
