"""The GLOT head against a reimplementation from the paper: a loop over documents and PyG layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import GATConv, GCNConv, GINConv, GINEConv, TransformerConv

from glot_rag.errors import InputError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooled, glot, layers
from glot_rag.head.config import CONVOLUTIONS, FORMS, JUMPING, NORMS, READOUTS, HeadConfig

D, LENGTH = 6, 10
MakeHead = Callable[..., GlotHead]


def batch(seed: int = 0, size: int = D, length: int = LENGTH) -> tuple[Tensor, Tensor]:
    """No padding, right padding, left padding, one token, none."""
    states = torch.randn(5, length, size, generator=torch.Generator().manual_seed(seed)) + 0.3
    mask = torch.ones(5, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    mask[2, : length // 3] = False
    mask[3, 1:] = False
    mask[4] = False
    return states, mask


def paper_layer(name: str, inputs: int, outputs: int) -> torch.nn.Module:
    def mlp() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(inputs, outputs), torch.nn.ReLU(), torch.nn.Linear(outputs, outputs))

    if name == "gat":
        return GATConv(inputs, outputs, heads=1, edge_dim=1, add_self_loops=True, fill_value="mean")
    if name == "gcn":
        return GCNConv(inputs, outputs)
    if name == "gin":
        return GINConv(mlp())
    if name == "gine":
        return GINEConv(mlp(), edge_dim=1)
    assert name == "transformer"
    return TransformerConv(inputs, outputs // 4, heads=4)


def paper(config: HeadConfig, parameters: dict[str, Tensor], states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Section 3 of the paper, one document at a time, over its real tokens only: vectors and token weights."""
    vectors, all_weights = [], torch.zeros(mask.shape)
    sizes = [config.input_size] + [config.hidden_size] * config.num_layers
    layers = []
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(paper_layer(config.convolution, inputs, outputs))
        layers[k].load_state_dict(
            {key.removeprefix(f"convs.{k}."): v for key, v in parameters.items() if key.startswith(f"convs.{k}.")}
        )
    for b in range(len(states)):
        x = states[b][mask[b]]
        pooled_layer = x[:, -config.state_size :]
        similarity = functional.cosine_similarity(pooled_layer[:, None, :], pooled_layer[None, :, :], dim=-1)
        edges = (similarity > config.threshold).nonzero().T.flip(0)  # j -> i, the diagonal with them
        hidden = [x]
        for conv in layers:
            with_attributes = (
                {"edge_attr": torch.ones(edges.shape[1], 1)} if config.convolution in ("gat", "gine") else {}
            )
            out = conv(hidden[-1], edges, **with_attributes)
            if config.norm == "layer":
                scale, shift = (parameters[f"norms.{len(hidden) - 1}.{name}"] for name in ("weight", "bias"))
                out = (out - out.mean(1, keepdim=True)) / (out.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
                out = out * scale + shift
            hidden.append(torch.relu(out))
        if config.jumping == "cat":
            refined = torch.cat(hidden[1:], dim=1)
            joint = torch.cat(hidden, dim=1)
        else:
            stack = torch.stack(hidden[1:])
            joint = refined = stack.max(dim=0).values if config.jumping == "max" else stack.mean(dim=0)
        scores = torch.tanh(joint @ parameters["score_layer.0.weight"].T + parameters["score_layer.0.bias"])
        scores = (scores @ parameters["score_layer.2.weight"].T + parameters["score_layer.2.bias"]).squeeze(1)
        if config.readout == "softmax":
            weights = scores.exp() / scores.exp().sum()
        else:
            weights = torch.sigmoid(scores) / torch.sigmoid(scores).sum()
        if config.form == "drop":
            least = math.ceil(len(scores) * config.min_keep_ratio)
            stays = ((scores >= 0) | (scores >= scores.sort(descending=True).values[least - 1])).float()
            weights = stays / stays.sum()
            pooled = weights @ x[:, -config.state_size :]
        elif config.form == "residual":
            pooled = weights @ x[:, -config.state_size :] + (weights @ refined) @ parameters["projection.weight"].T
        else:
            pooled = weights @ joint
            if "projection.weight" in parameters:
                pooled = pooled @ parameters["projection.weight"].T
        vectors.append(pooled)
        all_weights[b, mask[b]] = weights
    return torch.stack(vectors), all_weights


def by_both_paths(head: GlotHead) -> Iterator[tuple[str, Pooled, Tensor, Tensor]]:
    """The path, what the head makes of `batch()` by it, and the paper's vectors and weights of the first four texts."""
    states, mask = batch()
    with torch.no_grad():
        expected, weights = paper(head.config, head.state_dict(), states[:4], mask[:4])
        for path in ("dense", "sparse"):
            head.path = path
            yield path, head(states, mask), expected, weights


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("jumping", JUMPING)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_both_paths_equal_the_paper(
    convolution: str, jumping: str, form: str, readout: str, make_head: MakeHead
) -> None:
    head = make_head(
        state_size=D, convolution=convolution, jumping=jumping, form=form, readout=readout, hidden_size=4,
        num_layers=2, threshold=0.3, min_keep_ratio=0.34,
    )  # fmt: skip
    for path, pooled, expected, weights in by_both_paths(head):
        scale = max(1.0, expected.abs().max().item())
        assert (pooled.vector[:4] - expected).abs().max() < 2e-5 * scale, path
        assert (pooled.weights[:4] - weights).abs().max() < 2e-5, path
        assert pooled.vector.isfinite().all()
        assert pooled.vector[4].abs().max() == 0 or head.projection is None
        assert (pooled.weights[4] == 0).all()
        assert expected.std() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_with_and_without_layer_norm(convolution: str, norm: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, convolution=convolution, norm=norm, hidden_size=8, num_layers=2, form="residual")
    for _, pooled, expected, weights in by_both_paths(head):
        assert torch.allclose(pooled.vector[:4], expected, atol=1e-4, rtol=1e-4)
        assert torch.allclose(pooled.weights[:4], weights, atol=1e-5)


@pytest.mark.parametrize("output_size", [None, 3])
@pytest.mark.parametrize("layers", [(-1,), (2, -1)])
@pytest.mark.parametrize("num_layers", [1, 4])
def test_other_shapes_equal_the_paper(
    output_size: int | None, layers: tuple[int, ...], num_layers: int, make_head: MakeHead
) -> None:
    head = make_head(
        state_size=D, layers=layers, form="paper", output_size=output_size, num_layers=num_layers, hidden_size=4
    )
    states, mask = batch(size=D * len(layers))
    with torch.no_grad():
        expected, _ = paper(head.config, head.state_dict(), states[:4], mask[:4])
        vector = head(states, mask).vector[:4]
    assert vector.shape == (4, head.output_size)
    assert head.output_size == (output_size or D * len(layers) + 4 * num_layers)
    assert (vector - expected).abs().max() < 2e-5


def test_a_state_dict_of_the_authors_code_loads_and_gives_its_numbers() -> None:
    """Their key names and shapes, written out by hand."""
    hidden, scores = 4, 128
    generator = torch.Generator().manual_seed(5)
    shapes = {
        "convs.0.att_src": (1, 1, hidden),
        "convs.0.att_dst": (1, 1, hidden),
        "convs.0.att_edge": (1, 1, hidden),
        "convs.0.bias": (hidden,),
        "convs.0.lin.weight": (hidden, D),
        "convs.0.lin_edge.weight": (hidden, 1),
        "convs.1.att_src": (1, 1, hidden),
        "convs.1.att_dst": (1, 1, hidden),
        "convs.1.att_edge": (1, 1, hidden),
        "convs.1.bias": (hidden,),
        "convs.1.lin.weight": (hidden, hidden),
        "convs.1.lin_edge.weight": (hidden, 1),
        "score_layer.0.weight": (scores, D + 2 * hidden),
        "score_layer.0.bias": (scores,),
        "score_layer.2.weight": (1, scores),
        "score_layer.2.bias": (1,),
    }
    theirs = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    config = HeadConfig(state_size=D, hidden_size=hidden, num_layers=2, form="paper")
    head = GlotHead(config).eval()
    head.load_state_dict(theirs, strict=True)
    states, mask = batch(seed=6)
    with torch.no_grad():
        expected, _ = paper(config, theirs, states[:4], mask[:4])
        assert (head(states, mask).vector[:4] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_an_untrained_residual_head_is_mean_pooling(convolution: str, readout: str) -> None:
    head = GlotHead(HeadConfig(state_size=2 * D, convolution=convolution, readout=readout)).eval()
    states, mask = batch(size=2 * D)
    with torch.no_grad():
        vector = head(states, mask).vector
        mean = BaselinePooling("mean", 2 * D)(states, mask).vector
    assert (vector - mean).abs().max() <= 1e-6
    assert functional.cosine_similarity(vector[:4], mean[:4]).min() >= 1 - 1e-6
    by_hand = torch.stack([states[b][mask[b]].mean(dim=0) for b in range(4)])
    assert (vector[:4] - by_hand).abs().max() <= 1e-6


def test_an_untrained_residual_head_over_two_layers_pools_the_last_listed() -> None:
    head = GlotHead(HeadConfig(state_size=D, layers=(2, -1))).eval()
    states, mask = batch(size=2 * D)
    with torch.no_grad():
        vector = head(states, mask).vector
    assert torch.allclose(vector[0], states[0, :, D:].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_token_order_does_not_matter(convolution: str, form: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, convolution=convolution, form=form, hidden_size=4, min_keep_ratio=0.7)
    states, mask = batch()
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        one, other = head(states, mask), head(states[:, order], mask[:, order])
    assert (one.vector - other.vector).abs().max() < 1e-4
    assert (one.weights[:, order] - other.weights).abs().max() < 1e-5
    assert one.weights[0].std() > 1e-3


@pytest.mark.parametrize("pooling", ["glot", "adapool"])
@pytest.mark.parametrize("readout", READOUTS)
def test_weights_sum_to_1_and_padding_has_none(pooling: str, readout: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, pooling=pooling, readout=readout, scale=5.0)
    states, mask = batch()
    with torch.no_grad():
        weights = head(states, mask).weights
    assert torch.allclose(weights.sum(dim=1), torch.tensor([1.0, 1, 1, 1, 0]), atol=1e-6)
    assert (weights[~mask] == 0).all()
    assert (weights >= 0).all()


@pytest.mark.parametrize("path", ["dense", "sparse"])
@pytest.mark.parametrize("pooling", ["glot", "adapool"])
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_and_what_it_holds_changes_nothing(side: str, pooling: str, path: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, pooling=pooling, hidden_size=4)
    head.path = path
    states = batch()[0][:1]
    left = {"left": 7, "right": 0, "both": 3}[side]
    padded = torch.full((1, LENGTH + 7, D), torch.nan)  # the worst that padding can hold
    padded[:, left : left + LENGTH] = states
    mask = torch.zeros(1, LENGTH + 7, dtype=torch.bool)
    mask[:, left : left + LENGTH] = True
    with torch.no_grad():
        alone, among = head(states, torch.ones(1, LENGTH, dtype=torch.bool)), head(padded, mask)
    assert (alone.vector - among.vector).abs().max() < 1e-5
    assert (alone.weights[0] - among.weights[mask]).abs().max() < 1e-6


@pytest.mark.parametrize("path", ["dense", "sparse"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_gradients_reach_every_parameter(convolution: str, form: str, path: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, convolution=convolution, form=form, hidden_size=8)
    head.path = path
    states, mask = batch()
    pooled = head(states, mask)
    (pooled.vector.pow(2).sum() + pooled.logits[mask].sum()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_head_can_learn_though_it_starts_at_zero() -> None:
    head = GlotHead(HeadConfig(state_size=D))
    states, mask = batch()
    pooled = head(states, mask)
    (pooled.vector - 1).pow(2).sum().backward()
    assert head.projection.weight.grad.abs().max() > 0
    assert head.score_layer[2].weight.grad.abs().max() > 0


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_nothing_but_padding_is_finite_forwards_and_backwards(path: str, make_head: MakeHead) -> None:
    head = make_head(state_size=D, hidden_size=4)
    head.path = path
    states = torch.randn(2, 4, D)
    vector = head(states, torch.zeros(2, 4, dtype=torch.bool)).vector
    assert torch.equal(vector, torch.zeros(2, D))
    vector.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_are_pooled_in_float32(dtype: torch.dtype, make_head: MakeHead) -> None:
    head = make_head(state_size=D, hidden_size=4)
    states, mask = batch()
    with torch.no_grad():
        pooled = head(states.to(dtype), mask)
        same = head(states.to(dtype).float(), mask)
    assert pooled.vector.dtype == torch.float32
    assert torch.equal(pooled.vector, same.vector)


@pytest.mark.parametrize(
    ("path", "length", "dense_graph", "sparse_layers"),
    [
        ("auto", 8, False, 0),  # short: dense, however few the edges
        ("auto", 16, False, 2),  # 16 edges of 3 floats, fewer than 256 pairs
        ("auto", 16, True, 0),  # 256 edges of 3 floats
        ("dense", 16, False, 0),
        ("sparse", 8, True, 2),
    ],
)
def test_which_path_is_taken(
    path: str, length: int, dense_graph: bool, sparse_layers: int, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glot, "_DENSE_LENGTH", 8)
    calls = {"dense": 0, "sparse": 0}

    def counted(name: str) -> Callable[..., Tensor]:
        run: Callable[..., Tensor] = getattr(layers, name)

        def call(*arguments: Any) -> Tensor:
            calls[name] += 1
            return run(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(glot.layers, name, counted(name))
    head = make_head(state_size=16, hidden_size=3, threshold=0.5)
    head.path = path
    # Orthogonal states have no edge but their own; equal ones have all.
    states = torch.ones(1, length, 16) if dense_graph else torch.eye(16)[None, :length]
    with torch.no_grad():
        head(states, torch.ones(1, length, dtype=torch.bool))
    assert calls == {"dense": 2 - sparse_layers, "sparse": sparse_layers}


def test_an_unknown_path() -> None:
    with pytest.raises(InputError, match="path must be one of auto, dense, sparse; got 'fast'"):
        GlotHead(HeadConfig(state_size=D), path="fast")


def test_adapool_by_hand() -> None:
    head = AdaPool(HeadConfig(state_size=2, pooling="adapool")).eval()
    with torch.no_grad():
        head.score_layer[0].weight.zero_()[0, 0] = 1.0  # one of the hidden units reads the first dimension
        head.score_layer[0].bias.zero_()
        head.score_layer[2].weight.fill_(2.0)
        head.score_layer[2].bias.fill_(0.5)
        states = torch.tensor([[[0.0, 1.0], [1.0, 3.0], [9.0, 9.0]]])
        pooled = head(states, torch.tensor([[True, True, False]]))
    scores = torch.tensor([0.5, 2 * torch.tanh(torch.tensor(1.0)) + 0.5])
    weights = torch.softmax(scores, dim=0)
    assert torch.allclose(pooled.logits[0, :2], scores)
    assert torch.allclose(pooled.vector[0], weights[0] * states[0, 0] + weights[1] * states[0, 1])


def test_adapool_over_two_layers_scores_both_and_pools_the_last(make_head: MakeHead) -> None:
    head = make_head(state_size=D, pooling="adapool", layers=(2, -1))
    states, mask = batch(size=2 * D)
    p = head.state_dict()
    with torch.no_grad():
        pooled = head(states, mask)
    x = states[1][mask[1]]
    scores = torch.tanh(x @ p["score_layer.0.weight"].T + p["score_layer.0.bias"])
    scores = (scores @ p["score_layer.2.weight"].T + p["score_layer.2.bias"]).squeeze(1)
    assert torch.allclose(pooled.vector[1], scores.softmax(dim=0) @ x[:, D:], atol=1e-5)
