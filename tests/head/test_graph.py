from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glot_rag.head import graph
from glot_rag.head.graph import blockwise, token_graph

T, F = True, False


def by_loop(states: Tensor, mask: Tensor, threshold: float) -> np.ndarray:
    """The definition, document by document and pair by pair, in float64."""
    values, real = states.double().numpy(), mask.numpy()
    out = np.zeros((*real.shape, real.shape[1]), bool)
    for b, i, j in np.ndindex(out.shape):
        if real[b, i] and real[b, j]:
            x, y = values[b, i], values[b, j]
            cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
            assert i == j or abs(cosine - threshold) > 1e-5, "the example is too close to the threshold to decide"
            out[b, i, j] = i == j or cosine > threshold
    return out


def random_batch(seed: int, batch: int = 4, length: int = 9, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(batch, length, size, generator=generator) + 0.5
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[1, 5:] = False  # right padding
    mask[2, :4] = False  # left padding
    return states, mask


def test_hand_worked_example() -> None:
    # Cosines: 01 0.71, 02 0, 03 -1, 12 0.71, 13 -0.71, 23 0.
    states = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [-1.0, 0.0]]])
    real = torch.ones(1, 4, dtype=torch.bool)
    expected = torch.tensor([[[T, T, F, F], [T, T, T, F], [F, T, T, F], [F, F, F, T]]])
    assert torch.equal(token_graph(states, real, 0.5), expected)


@pytest.mark.parametrize(("threshold", "joined"), [(0.0, False), (-1e-6, True)])
def test_the_threshold_is_strict(threshold: float, joined: bool) -> None:
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    edges = token_graph(states, torch.ones(1, 2, dtype=torch.bool), threshold)
    assert edges[0, 0, 1].item() is joined
    assert edges[0, 1, 0].item() is joined


def test_the_lowest_threshold_still_leaves_out_opposites() -> None:
    states = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert torch.equal(
        token_graph(states, torch.ones(1, 2, dtype=torch.bool), -1.0), torch.eye(2, dtype=torch.bool)[None]
    )


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.8])
def test_equals_a_loop_over_pairs(threshold: float) -> None:
    states, mask = random_batch(seed=1)
    edges = token_graph(states, mask, threshold)
    assert np.array_equal(edges.numpy(), by_loop(states, mask, threshold))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.1, 0.3, 0.6, 0.999999]))
def test_symmetric_diagonal_set_and_padding_without_edges(seed: int, threshold: float) -> None:
    states, mask = random_batch(seed)
    edges = token_graph(states, mask, threshold)
    assert torch.equal(edges, edges.transpose(1, 2))
    assert torch.equal(torch.diagonal(edges, dim1=1, dim2=2), mask)
    assert not edges[~mask].any()
    assert not edges.transpose(1, 2)[~mask].any()


def test_the_diagonal_does_not_hang_on_rounding() -> None:
    # In float32 about half of all states have a cosine with themselves below 1 - 2**-25.
    states = torch.randn(1, 200, 7, generator=torch.Generator().manual_seed(2))
    edges = token_graph(states, torch.ones(1, 200, dtype=torch.bool), 1.0 - 2**-25)
    assert torch.diagonal(edges[0]).all()


def test_a_zero_state_is_alone() -> None:
    states = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [1.0, 1.1]]])
    edges = token_graph(states, torch.ones(1, 3, dtype=torch.bool), 0.3)
    assert torch.equal(edges[0], torch.tensor([[T, F, F], [F, T, T], [F, T, T]]))


def test_all_padding_has_no_edge() -> None:
    assert not token_graph(torch.randn(2, 5, 3), torch.zeros(2, 5, dtype=torch.bool), -0.5).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_equals_float32_of_the_same_values(dtype: torch.dtype) -> None:
    states, mask = random_batch(seed=3, length=40, size=64)
    halves = states.to(dtype)
    assert torch.equal(token_graph(halves, mask, 0.3), token_graph(halves.float(), mask, 0.3))
    # and a cosine in that dtype would have given another graph: the test can fail
    unit = torch.nn.functional.normalize(halves, dim=-1)
    assert not torch.equal(unit @ unit.mT > 0.3, token_graph(halves.float(), torch.ones_like(mask), 0.3))


@pytest.mark.parametrize("block", [1, 2, 4, 9, 100])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    states, mask = random_batch(seed=4)
    whole = token_graph(states, mask, 0.3)
    monkeypatch.setattr(graph, "blockwise", functools.partial(blockwise, block=block))
    assert torch.equal(token_graph(states, mask, 0.3), whole)


def test_blockwise_covers_every_row_once() -> None:
    matrix = torch.arange(2 * 7 * 3).view(2, 7, 3)
    asked: list[tuple[int, int]] = []

    def rows(block: slice) -> Tensor:
        asked.append((block.start, block.stop))
        return matrix[:, block]

    assert torch.equal(blockwise(rows, 7, block=3), matrix)
    assert asked == [(0, 3), (3, 6), (6, 7)]
    asked.clear()
    assert torch.equal(blockwise(rows, 7, block=7), matrix)
    assert asked == [(0, 7)]
