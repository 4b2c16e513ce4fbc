from __future__ import annotations

import numpy as np
import pytest

from glot_rag.documents.layout import LAYOUT_FEATURES
from glot_rag.training import block_mixing
from glot_rag.training.block_mixing import PageMixer, joined
from glot_rag.training.block_noise import BlockDocument


def page(start: int, noise: list[int], tokens: list[int]) -> BlockDocument:
    """Blocks with so many tokens and words each; states, layout and counts are numbers from `start` on."""
    number = len(noise)
    block = np.repeat(np.arange(number), tokens)
    states = (start + np.arange(len(block), dtype=np.float32))[:, None]
    return BlockDocument(
        block=block,
        layout=np.full((number, len(LAYOUT_FEATURES)), start, np.float32),
        counts=np.full((number, 4), start, np.float32),
        words=np.array(tokens, np.float32),
        noise=np.array(noise, np.float32),
        token_noise=np.repeat(np.array(noise, np.float32), tokens),
        states=lambda first, end: states[first:end],
    )


FIRST = page(0, [1, 0, 0, 1], [2, 1, 3, 2])
SECOND = page(100, [1, 1, 0, 1, 0], [1, 1, 2, 1, 1])


def test_joined_runs_keep_their_tokens_labels_and_states() -> None:
    made = joined([(FIRST, 0, 1), (SECOND, 2, 5), (FIRST, 3, 4)])
    assert made.block.tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    assert made.states(0, 8)[:, 0].tolist() == [0, 1, 102, 103, 104, 105, 6, 7]
    assert made.states(1, 3)[:, 0].tolist() == [1, 102]
    assert made.noise.tolist() == [1, 0, 1, 0, 1]
    assert made.token_noise.tolist() == [1, 1, 0, 0, 1, 0, 1, 1]
    assert made.counts[:, 0].tolist() == [0, 100, 100, 100, 0]


def test_places_are_those_in_the_new_document() -> None:
    made = joined([(FIRST, 1, 3), (SECOND, 0, 1)])
    assert made.layout[:, LAYOUT_FEATURES.index("place by lines")].tolist() == [0, 0.5, 1]
    assert made.layout[:, LAYOUT_FEATURES.index("place by words")] == pytest.approx([0, 1 / 5, 4 / 5])
    assert FIRST.layout.max() == 0, "the document itself stays as it was"


def test_a_page_gets_the_content_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_mixing, "SWAPPED", 1.0)
    monkeypatch.setattr(block_mixing, "GAPS", 0.0)
    mixer = PageMixer([FIRST, SECOND])
    found = {tuple(mixer(FIRST, np.random.default_rng(seed)).states(0, 99)[:, 0].tolist()) for seed in range(20)}
    assert found == {tuple(range(8)), (0, 1, 102, 103, 104, 105, 6, 7)}


def test_gaps_take_whole_blocks_and_never_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_mixing, "SWAPPED", 0.0)
    monkeypatch.setattr(block_mixing, "GAPS", 1.0)
    mixer = PageMixer([FIRST])
    for seed in range(20):
        made = mixer(FIRST, np.random.default_rng(seed))
        assert 0 < len(made.block) <= 8
        assert sorted(set(made.block.tolist())) == list(range(len(made.words)))
        assert set(made.states(0, 99)[:, 0].tolist()) <= set(range(8))


def test_other_documents_stay_as_they_are() -> None:
    assert PageMixer([FIRST])(SECOND, np.random.default_rng(0)) is SECOND
