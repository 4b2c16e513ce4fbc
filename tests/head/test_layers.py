"""The dense path against PyTorch Geometric's own forward, over the same parameters."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GINEConv

from glot_rag.head import layers
from glot_rag.head.config import CONVOLUTIONS
from glot_rag.head.graph import blockwise
from glot_rag.head.layers import AttentionBias, build, dense, masked_softmax, sparse

SIZES = (5, 4)  # input and output width


def layer(name: str, dtype: torch.dtype, sizes: tuple[int, int] = SIZES) -> nn.Module:
    """With every parameter random: PyG starts biases at 0, which would hide a missing one."""
    generator = torch.Generator().manual_seed(7)
    made = build(name, *sizes).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return made


def random_adjacency(seed: int, mask: Tensor, density: float, diagonal: bool, symmetric: bool) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    length = mask.shape[1]
    edges = torch.rand(len(mask), length, length, generator=generator) < density
    if symmetric:
        edges = edges | edges.transpose(1, 2)
    edges[:, 3 % length, :] = False  # hears nobody
    edges[:, :, 3 % length] = False  # and is heard by nobody
    eye = torch.eye(length, dtype=torch.bool)
    edges = edges | eye if diagonal else edges & ~eye
    return edges & mask[:, :, None] & mask[:, None, :]


def by_document(module: nn.Module, x: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
    """PyG's forward, one document at a time, over its real tokens only; 0 for padding."""
    out = None
    for b in range(len(x)):
        real = mask[b].nonzero().squeeze(-1)
        if not len(real):
            continue
        target, source = adjacency[b][real][:, real].nonzero(as_tuple=True)
        edges = torch.stack([source, target])
        if isinstance(module, (GATConv, GINEConv)):
            rows = module(x[b, real], edges, edge_attr=torch.ones(edges.shape[1], 1, dtype=x.dtype))
        else:
            rows = module(x[b, real], edges)
        out = x.new_zeros(*mask.shape, rows.shape[-1]) if out is None else out
        out[b, real] = rows
    assert out is not None
    return out


def masks(length: int) -> Tensor:
    """No padding, right padding, left padding, padding in between, and nothing but padding."""
    mask = torch.ones(5, length, dtype=torch.bool)
    if length > 1:
        mask[1, length // 2 :] = False
        mask[2, : length // 2] = False
        mask[3, length // 3 : length // 2] = False
    mask[4] = False
    return mask


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("diagonal", [True, False], ids=["loops", "no-loops"])
@pytest.mark.parametrize("density", [0.0, 0.15, 0.6, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_dense_equals_pyg(name: str, diagonal: bool, density: float, dtype: torch.dtype, tolerance: float) -> None:
    module, mask = layer(name, dtype), masks(12)
    x = torch.randn(5, 12, SIZES[0], dtype=dtype, generator=torch.Generator().manual_seed(8))
    # Not symmetric: an edge in the wrong direction would show.
    adjacency = random_adjacency(9, mask, density, diagonal, symmetric=False)
    with torch.no_grad():
        expected, got = by_document(module, x, adjacency, mask), dense(module, x, adjacency)
    assert got.isfinite().all()
    assert (got - expected)[mask].abs().max() <= tolerance * max(1.0, expected.abs().max().item())
    assert expected[mask].std() > 0.1


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_direction_matters_in_this_comparison(name: str) -> None:
    """The graphs above tell j -> i from i -> j, for every layer."""
    module, mask = layer(name, torch.float64), masks(12)
    x = torch.randn(5, 12, SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    adjacency = random_adjacency(9, mask, 0.15, True, symmetric=False)
    with torch.no_grad():
        expected, turned = by_document(module, x, adjacency, mask), dense(module, x, adjacency.transpose(1, 2))
    assert (turned - expected)[mask].abs().max() > 0.1


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_texts(name: str, length: int) -> None:
    module, mask = layer(name, torch.float64), masks(length)
    x = torch.randn(5, length, SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for diagonal in (True, False):
        adjacency = random_adjacency(2, mask, 1.0, diagonal, symmetric=True)
        with torch.no_grad():
            expected, got = by_document(module, x, adjacency, mask), dense(module, x, adjacency)
        assert (got - expected)[mask].abs().max() < 1e-10


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("block", [1, 5, 11])
def test_blocks_change_nothing(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module, mask = layer(name, torch.float64), masks(12)
    x = torch.randn(5, 12, SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    adjacency = random_adjacency(4, mask, 0.4, True, symmetric=True)
    monkeypatch.setattr(layers, "blockwise", functools.partial(blockwise, block=block))
    monkeypatch.setattr(layers, "BLOCK", block)
    with torch.no_grad():
        expected, got = by_document(module, x, adjacency, mask), dense(module, x, adjacency)
    assert (got - expected)[mask].abs().max() < 1e-10


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_sparse_is_pygs_forward_over_all_texts_at_once(name: str) -> None:
    module, mask = layer(name, torch.float64), masks(12)
    x = torch.randn(5, 12, SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    adjacency = random_adjacency(6, mask, 0.3, True, symmetric=False)
    numbers = torch.full(mask.shape, -1)
    numbers[mask] = torch.arange(int(mask.sum()))
    b, target, source = adjacency.nonzero(as_tuple=True)
    with torch.no_grad():
        got = sparse(module, x[mask], torch.stack([numbers[b, source], numbers[b, target]]))
        expected = by_document(module, x, adjacency, mask)[mask]
    assert (got - expected).abs().max() < 1e-10


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_equal_pygs(name: str) -> None:
    mask = masks(8)
    x = torch.randn(5, 8, SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    adjacency = random_adjacency(6, mask, 0.3, True, symmetric=False)
    weights = torch.randn(5, 8, SIZES[1], dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    gradients = []
    for run in (lambda module: dense(module, x, adjacency), lambda module: by_document(module, x, adjacency, mask)):
        module = layer(name, torch.float64)
        (run(module) * weights)[mask].sum().backward()
        gradients.append({key: value.grad for key, value in module.named_parameters()})
    for key, expected in gradients[1].items():
        assert (gradients[0][key] - expected).abs().max() < 1e-9 * max(1.0, expected.abs().max().item()), key


def test_hand_worked_gin() -> None:
    # Token 0 hears 1 and 2; token 1 hears 2; token 2 hears nobody.
    x = torch.tensor([[[1.0], [10.0], [100.0]]])
    adjacency = torch.tensor([[[False, True, True], [False, False, True], [False, False, False]]])
    gin = build("gin", 1, 1)
    with torch.no_grad():
        for linear in (gin.nn[0], gin.nn[2]):
            linear.weight.fill_(1.0)
            linear.bias.fill_(0.0)
        assert dense(gin, x, adjacency).flatten().tolist() == [111.0, 110.0, 100.0]


def test_masked_softmax_by_hand() -> None:
    scores = torch.tensor([[0.0, 1.0, 50.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    e = torch.e
    expected = torch.tensor([[1 / (1 + e), e / (1 + e), 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.0, 0.0]])
    assert torch.allclose(masked_softmax(scores, mask), expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_masked_softmax_of_nothing_is_zero_in_every_dtype(dtype: torch.dtype) -> None:
    out = masked_softmax(torch.full((2, 4), -1e4, dtype=dtype), torch.zeros(2, 4, dtype=torch.bool))
    assert torch.equal(out, torch.zeros(2, 4, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("score", [-1e4, 0.0, 1e4])
def test_a_bias_lets_nothing_through_but_edges(score: float, dtype: torch.dtype) -> None:
    adjacency = torch.tensor([[[True, False, True], [False, False, False], [False, True, False]]])
    bias, alone = AttentionBias(adjacency, dtype).rows(slice(0, 3))
    assert alone[..., 0].tolist() == [[False, True, False]]
    shares = torch.softmax(bias + torch.tensor([0.0, score, 0.0], dtype=dtype), dim=-1)
    assert shares[0, 0].tolist() == [0.5, 0.0, 0.5]
    assert shares[0, 2].tolist() == [0.0, 1.0, 0.0]
    assert shares.isfinite().all()  # of the token that is alone, too
    _, none_alone = AttentionBias(adjacency, dtype, self_loops=True).rows(slice(1, 3))
    assert none_alone[..., 0].tolist() == [[False, False]]
