from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from glot_rag.denoise import block_scores
from glot_rag.denoise.block_noise import NoiseFound, find_noise
from glot_rag.denoise.block_states import TokenStates, early_states
from glot_rag.documents.blocks import split_blocks
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.models.backbone import Backbone


def found(block_noise: list[float], word_noise: list[float]) -> NoiseFound:
    text = "ab cd\nef gh"
    words = np.array([[0, 2], [3, 5], [6, 8], [9, 11]])
    as_float = [np.array(each, np.float32) for each in (block_noise, word_noise)]
    return NoiseFound(split_blocks(text), as_float[0], words, np.array([0, 0, 1, 1]), as_float[1])


@pytest.mark.parametrize(
    ("word_noise", "expected"),
    [
        ([0.2, 0.6, 0.4, 0.9], [True, True, False, False]),  # leaning is not enough: blocks stay whole
        ([0.2, 0.9, 0.1, 0.9], [True, False, True, False]),  # clear disagreement is
    ],
)
def test_words_depart_from_their_block_only_where_they_clearly_disagree(
    word_noise: list[float], expected: list[bool]
) -> None:
    each = found([0.3, 0.8], word_noise)
    assert each.kept_words(0.5, margin=0.3).tolist() == expected


def test_the_text_has_a_line_a_block_and_its_own_spaces() -> None:
    each = found([0, 0], [0] * 4)
    assert each.text("ab\tcd\nef gh", np.array([True, True, False, True])) == "ab\tcd\ngh"
    assert each.text("ab\tcd\nef gh", np.array([False] * 4)) == ""


def test_states_of_a_long_text_hold_each_token_once(minilm: Backbone) -> None:
    text = " ".join(f"word{i} of the text." for i in range(150))
    (long, short, empty) = early_states(minilm, [text, "a short one", ""], 2)
    once = {span for window in minilm.tokenizer.windows(text) for span in window.spans if span[1] > span[0]}
    assert [tuple(span) for span in long.spans.tolist()] == sorted(once)
    assert long.states.shape == (len(long.spans), minilm.state_size)
    assert short.spans.tolist() == [[0, 1], [2, 7], [8, 11]]
    assert empty.states.shape == (0, minilm.state_size)
    # Each window is read alone: the last one as its part of the text is.
    (*_, before, end) = minilm.tokenizer.cuts(len(long.spans))
    (again,) = early_states(minilm, [text[long.spans[before][0] :]], 2)
    assert len(again.states) == end - before
    np.testing.assert_allclose(long.states[before:], again.states, atol=1e-4)


def test_of_each_block_the_first_tokens_are_read(minilm: Backbone) -> None:
    text = "one two three four five\n\nsix seven\neight nine ten eleven"
    (whole,) = early_states(minilm, [text], 2)
    (skimmed,) = early_states(minilm, [text], 2, skim=3)
    read = [text[start:end] for start, end in skimmed.spans.tolist()]
    assert read == ["one", "two", "three", "six", "seven", "eight", "nine", "ten"]
    (alone,) = early_states(minilm, [" ".join(read)], 2)
    np.testing.assert_allclose(skimmed.states, alone.states, atol=1e-5)
    assert len(whole.spans) == 11


def test_a_document_alone_and_among_others(minilm: Backbone) -> None:
    torch.manual_seed(0)
    head = BlockGraphHead(BlockGraphConfig(state_size=minilm.state_size, hidden_size=8)).eval()
    texts = ["Home | About\nA sentence about cats, and one about dogs.\n-----", "", "x"]
    states = early_states(minilm, texts, 2)
    together = find_noise(head, texts, states)
    alone = find_noise(head, texts[:1], early_states(minilm, texts[:1], 2))
    np.testing.assert_allclose(together[0].block_noise, alone[0].block_noise, atol=1e-2)
    assert [len(each.words) for each in together] == [12, 0, 1]
    assert together[0].word_block.tolist() == [0, 0, 0, *[1] * 8, 2]
    assert together[1].blocks == []


def test_the_head_scores_documents_alike_alone_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = BlockGraphHead(BlockGraphConfig(state_size=6, hidden_size=8)).eval()
    rng = np.random.default_rng(0)
    texts = ["\n".join("word " * length for length in rng.integers(1, 9, size)) for size in (3, 70, 1, 20, 9)]
    tokens = [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]
    states = [
        TokenStates(rng.standard_normal((len(each), 6)).astype(np.float32), np.array(each, np.int64)) for each in tokens
    ]
    asked = []
    own = head.score
    monkeypatch.setattr(head, "score", lambda *given: asked.append(given[2].shape) or own(*given))
    together = find_noise(head, texts, states)
    assert asked == [(5, 70)]
    monkeypatch.setattr(block_scores, "BATCH_PAIRS", 2 * 20**2)
    in_batches = find_noise(head, texts, states)
    assert asked[1:] == [(1, 70), (2, 20), (2, 3)]
    for row, found in enumerate(together):
        (alone,) = find_noise(head, [texts[row]], [states[row]])
        for other in (alone, in_batches[row]):
            np.testing.assert_allclose(found.block_noise, other.block_noise, atol=1e-6)
            np.testing.assert_allclose(found.word_noise, other.word_noise, atol=1e-6)
