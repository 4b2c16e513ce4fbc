from __future__ import annotations

import numpy as np
import pytest
import torch

from glot_rag.head.block_graph import BlockGraphConfig
from glot_rag.training.block_noise import (
    BlockDocument,
    BlockTraining,
    batches,
    block_means,
    calibrate,
    collate,
    crop,
    loss_of,
    prepare,
    train_blocks,
)

D = 6


def document(seed: int, blocks: int = 6, noise_direction: bool = True) -> BlockDocument:
    """Blocks of three words, a token each, whose states say in their first number whether they are noise."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(blocks) < 0.5
    text = "\n".join("Menu item here" if n else "some plain words" for n in noisy)
    spans, noise, at = [], [], 0
    for n in noisy:
        line = "Menu item here" if n else "some plain words"
        for word in line.split():
            start = text.index(word, at)
            spans.append((start, start + len(word)))
            at = start + len(word)
        if n:
            noise.append((at - len(line), at))
    states = rng.normal(size=(len(spans), D)).astype(np.float32) * 0.3
    if noise_direction:
        states[:, 0] += np.where(np.repeat(noisy, 3), 1, -1)
    return prepare(text, noise, np.array(spans), lambda start, end: states[start:end])


def test_prepare_labels_blocks_by_their_share_of_noise() -> None:
    text = "keep drop\nall of it"
    spans = np.array([[0, 4], [5, 9], [10, 13], [14, 16], [17, 19]])
    made = prepare(text, [(5, 9)], spans, lambda start, end: np.zeros((end - start, D), np.float32))
    assert made.block.tolist() == [0, 0, 1, 1, 1]
    assert made.noise.tolist() == [0.5, 0.0]
    assert made.token_noise.tolist() == [0, 1, 0, 0, 0]
    assert made.words.tolist() == [2, 3]


def test_crop_takes_whole_rows_of_what_it_covers() -> None:
    whole = document(0, blocks=40)
    part = crop(whole, np.random.default_rng(3), 30)
    assert part.block[0] == 0
    assert part.block[-1] == len(part.words) - 1
    assert len(part.block) <= 30
    first = next(i for i in range(40) if np.array_equal(whole.layout[i : i + len(part.words)], part.layout))
    start = int(np.searchsorted(whole.block, first))
    np.testing.assert_array_equal(part.states(0, 5), whole.states(start, start + 5))
    np.testing.assert_array_equal(part.noise, whole.noise[first : first + len(part.words)])
    assert crop(whole, np.random.default_rng(3), 1000) is whole


def test_a_batch_knows_whose_block_each_token_is() -> None:
    batch = collate([document(0, blocks=2), document(1, blocks=4)], window=8)
    assert batch.block.tolist()[0] == [0, 0, 0, 1, 1, 1, -1, -1]
    assert batch.block.tolist()[1] == [4, 4, 4, 5, 5, 5, 6, 6]
    assert batch.block.tolist()[2] == [6, 7, 7, 7, -1, -1, -1, -1]
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4]


def test_every_document_is_in_one_batch() -> None:
    documents = [document(seed, blocks=3 + seed) for seed in range(9)]
    groups = list(batches(documents, None, 60))
    assert sorted(id(each) for group in groups for each in group) == sorted(map(id, documents))
    assert max(sum(len(each.block) for each in group) for group in groups) <= 60


def test_means_are_the_means_of_a_blocks_tokens() -> None:
    whole = document(2)
    means = block_means(whole)
    expected = [whole.states(3 * i, 3 * i + 3).mean(0) for i in range(6)]
    np.testing.assert_allclose(means.states(0, 6), expected, rtol=1e-5)


@pytest.mark.parametrize("layout_size", [0, 15])
def test_it_learns_what_the_states_say(layout_size: int) -> None:
    config = BlockGraphConfig(state_size=D, layout_size=layout_size, count_size=0, hidden_size=8)
    learned = train_blocks(
        config,
        [document(seed) for seed in range(30)],
        BlockTraining(epochs=8, batch_tokens=120, learning_rate=1e-2),
    )
    batch = collate([document(100), document(101)])
    with torch.no_grad():
        out = learned(batch.states, batch.block, batch.mask, batch.layout)
    assert ((out.blocks > 0) == (batch.noise > 0.5)).all()
    real = batch.block >= 0
    assert ((out.tokens > 0) == (batch.token_noise > 0.5))[real].all()


def test_blocks_weigh_the_square_root_of_their_words() -> None:
    config = BlockGraphConfig(state_size=D, count_size=0, hidden_size=8)
    torch.manual_seed(0)
    head = train_blocks(config, [document(0)], BlockTraining(epochs=1))
    text = "a\nb c d e f g h i j"
    spans = np.array([[i, i + 1] for i in range(0, len(text), 2)])
    made = prepare(text, [(0, 1)], spans, lambda start, end: np.ones((end - start, D), np.float32))
    batch = collate([made])
    with torch.no_grad():
        logits = head(batch.states, batch.block, batch.mask, batch.layout).blocks[0].double()
        got = float(loss_of(head, batch, token_share=0.0))
    p = torch.sigmoid(logits)
    expected = (1 * -torch.log(p[0]) + 3 * -torch.log(1 - p[1])) / 4
    assert got == pytest.approx(float(expected), rel=1e-4)


def test_calibration_makes_probabilities_right() -> None:
    """Logits that are twice as sure as they should be, and shifted: the head's own logits are halved and moved back."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=20_000)
    noise = (rng.random(len(true)) < 1 / (1 + np.exp(-true))).astype(np.float32)
    claimed = (1 / (1 + np.exp(-(2 * true + 1)))).astype(np.float32)
    config = BlockGraphConfig(state_size=D, count_size=0, hidden_size=8)
    head = train_blocks(config, [document(0)], BlockTraining(epochs=1))
    batch = collate([document(1)])
    with torch.no_grad():
        before = head(batch.states, batch.block, batch.mask, batch.layout)
    scale, shift = calibrate(head, claimed, noise, np.ones(len(true), np.float32))
    assert scale == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(-0.5, abs=0.05)
    with torch.no_grad():
        after = head(batch.states, batch.block, batch.mask, batch.layout)
    torch.testing.assert_close(after.blocks, before.blocks * scale + shift)
    torch.testing.assert_close(after.tokens, before.tokens * scale + shift)
