from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from glot_rag.errors import InputError
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead, NoiseLogits

D, F, C, WINDOW = 12, 5, 4, 8


def head(**settings: object) -> BlockGraphHead:
    torch.manual_seed(0)
    config = BlockGraphConfig(**{"state_size": D, "layout_size": F, "count_size": C, "hidden_size": 8, **settings})  # type: ignore[arg-type]
    return BlockGraphHead(config).eval()


def document(seed: int, lengths: list[int]) -> dict[str, Tensor]:
    """One document of blocks with so many tokens each, its tokens in windows."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    rows = -(-len(block) // WINDOW)
    padded = torch.full((rows * WINDOW,), -1)
    padded[: len(block)] = block
    states = torch.randn(rows * WINDOW, D, generator=generator) + 0.4
    return {
        "states": states.reshape(rows, WINDOW, D),
        "block": padded.reshape(rows, WINDOW),
        "mask": torch.ones(1, len(lengths), dtype=torch.bool),
        "layout": torch.rand(1, len(lengths), F, generator=generator),
        "counts": torch.rand(1, len(lengths), C, generator=generator),
    }


def side_by_side(documents: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Documents as one batch, padded to the most blocks."""
    most = max(each["mask"].shape[1] for each in documents)

    def pad(value: Tensor) -> Tensor:
        return torch.cat([value, value.new_zeros(1, most - value.shape[1], *value.shape[2:])], dim=1)

    return {
        "states": torch.cat([each["states"] for each in documents]),
        "block": torch.cat(
            [torch.where(each["block"] < 0, -1, each["block"] + row * most) for row, each in enumerate(documents)]
        ),
        **{name: torch.cat([pad(each[name]) for each in documents]) for name in ("mask", "layout", "counts")},
    }


@torch.no_grad()
def run(module: BlockGraphHead, batch: dict[str, Tensor]) -> NoiseLogits:
    out: NoiseLogits = module(**batch)
    return out


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias if layer.bias is not None else layer.weight @ x


def sequence(layers: torch.nn.Sequential, x: Tensor) -> Tensor:
    first, activation, last = layers
    return linear(last, activation(linear(first, x)))


def by_loop(module: BlockGraphHead, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The head's definition, token by token and block by block, for one document."""
    config = module.config
    tokens = [
        [int(block), window, batch["states"][window, place]]
        for window, blocks in enumerate(batch["block"])
        for place, block in enumerate(blocks)
        if block >= 0
    ]
    hidden = [torch.relu(linear(module.token_in, state)) for _, _, state in tokens]
    gat = module.token_graph[0]
    projected = [gat.lin.weight @ each for each in hidden]
    edge = (gat.lin_edge.weight[:, 0] * gat.att_edge[0, 0]).sum()
    heard = []
    for i, (block, window, state) in enumerate(tokens):
        near = [
            j
            for j, (other, its, its_state) in enumerate(tokens)
            if other == block
            and its == window
            and (i == j or cosine_similarity(state, its_state, dim=0) > config.token_threshold)
        ]
        scores = torch.stack([projected[i] @ gat.att_dst[0, 0] + projected[j] @ gat.att_src[0, 0] + edge for j in near])
        weights = torch.softmax(torch.nn.functional.leaky_relu(scores, gat.negative_slope), dim=0)
        heard.append(sum(w * projected[j] for w, j in zip(weights, near, strict=True)) + gat.bias)
    hidden = [h + torch.relu(new) for h, new in zip(hidden, heard, strict=True)]

    number, size = batch["mask"].shape[1], config.hidden_size
    nodes, means = [], []
    for block in range(number):
        own = [i for i, token in enumerate(tokens) if token[0] == block]
        gates = [torch.sigmoid(linear(module.readout, hidden[i])) for i in own]
        node = sum(g * hidden[i] for g, i in zip(gates, own, strict=True)) / sum(gates) if own else torch.zeros(size)
        means.append(sum(tokens[i][2] for i in own) / len(own) if own else torch.zeros(D))
        node = node + sequence(module.layout_in, batch["layout"][0, block])
        nodes.append(node + sequence(module.count_in, batch["counts"][0, block]))

    for depth, convolution in enumerate(module.neighbours):
        layer = module.blocks[depth]
        mean, most = sum(nodes) / number, torch.stack(nodes).max(0).values
        whole = linear(module.whole[depth], torch.cat([mean, most]))
        per_head = size // 4
        after = []
        for i in range(number):
            value = convolution.bias + whole
            for k in range(5):
                j = i + (k - 2) * (1 << depth)
                if 0 <= j < number:
                    value = value + convolution.weight[:, :, k] @ nodes[j]
            near = [
                j
                for j in range(number)
                if i == j or cosine_similarity(means[i], means[j], dim=0) > config.block_threshold
            ]
            parts = []
            for part in range(4):
                rows = slice(part * per_head, (part + 1) * per_head)
                query = linear(layer.lin_query, nodes[i])[rows]
                scores = torch.stack([query @ linear(layer.lin_key, nodes[j])[rows] for j in near]) / per_head**0.5
                weights = torch.softmax(scores, dim=0)
                parts.append(
                    sum(w * linear(layer.lin_value, nodes[j])[rows] for w, j in zip(weights, near, strict=True))
                )
            value = value + linear(layer.lin_skip, nodes[i]) + torch.cat(parts)
            after.append(nodes[i] + torch.relu(module.norms[depth](value)))
        nodes = after
    logits = torch.stack([linear(module.block_out, node)[0] for node in nodes])
    words = [
        logits[block] + sequence(module.token_out, torch.cat([hidden[i], nodes[block]]))[0]
        for i, (block, _, _) in enumerate(tokens)
    ]
    return logits, words


@pytest.mark.parametrize("seed", [0, 1])
def test_values_against_a_naive_loop(seed: int) -> None:
    module, batch = head(), document(seed, [3, 1, 9, 2, 5, 4])
    with torch.no_grad():
        blocks, tokens = by_loop(module, batch)
    out = run(module, batch)
    torch.testing.assert_close(out.blocks[0], blocks, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.tokens[batch["block"] >= 0], torch.stack(tokens), atol=1e-5, rtol=1e-4)


def test_a_batch_gives_what_each_document_gives_alone() -> None:
    module = head()
    documents = [document(0, [3, 1, 9]), document(1, [2] * 11), document(2, [20])]
    together = run(module, side_by_side(documents))
    first = 0
    for row, each in enumerate(documents):
        alone = run(module, each)
        torch.testing.assert_close(together.blocks[row, : each["mask"].shape[1]], alone.blocks[0])
        windows = len(each["block"])
        real = each["block"] >= 0
        torch.testing.assert_close(together.tokens[first : first + windows][real], alone.tokens[real])
        first += windows


def test_what_stands_in_the_padding_does_not_matter() -> None:
    module = head()
    batch = side_by_side([document(0, [3, 1, 9]), document(1, [2] * 6)])
    before = run(module, batch)
    batch["states"] = torch.where(batch["block"][..., None] < 0, torch.tensor(7.0), batch["states"])
    for name in ("layout", "counts"):
        batch[name] = torch.where(batch["mask"][..., None], batch[name], torch.tensor(9.0))
    after = run(module, batch)
    torch.testing.assert_close(after.blocks[batch["mask"]], before.blocks[batch["mask"]])
    real = batch["block"] >= 0
    torch.testing.assert_close(after.tokens[real], before.tokens[real])


def test_the_order_of_tokens_within_a_block_does_not_matter() -> None:
    # The backbone's states hold the order of words; the graph adds none of its own.
    module, batch = head(), document(0, [4, 4])
    order = torch.tensor([2, 0, 3, 1, 7, 6, 4, 5])
    mixed = {**batch, "states": batch["states"][:, order]}
    torch.testing.assert_close(run(module, mixed).blocks, run(module, batch).blocks)
    torch.testing.assert_close(run(module, mixed).tokens, run(module, batch).tokens[:, order])


def test_every_block_hears_blocks_like_it_wherever_they_stand() -> None:
    """A change of block 0 reaches a like block far outside the convolutions' reach, through the graph alone."""
    states = torch.zeros(5, WINDOW, D)
    states[..., 0] = 1
    batch = document(0, [1] * 40)
    batch["states"] = states
    changed = {**batch, "layout": batch["layout"].clone()}
    changed["layout"][0, 0] += 1
    with_graph, without = head(), head(block_graph=False)
    for module in (with_graph, without):  # what the document is on the whole reaches everywhere, too
        for layer in module.whole:
            torch.nn.init.zeros_(layer.weight)
    assert (run(with_graph, changed).blocks - run(with_graph, batch).blocks)[0, 39].abs() > 1e-6
    assert (run(without, changed).blocks - run(without, batch).blocks)[0, 39].abs() == 0
    assert (run(without, changed).blocks - run(without, batch).blocks)[0, 4].abs() > 1e-6


def test_every_block_hears_what_the_document_is_on_the_whole() -> None:
    batch = document(0, [1] * 40)
    changed = {**batch, "layout": batch["layout"].clone()}
    changed["layout"][0, 0] += 1
    module = head(block_graph=False)
    assert (run(module, changed).blocks - run(module, batch).blocks)[0, 39].abs() > 1e-6


def test_a_document_without_blocks_leaves_the_others_alone() -> None:
    module, batch = head(), document(0, [3, 1, 9])
    empty = {name: torch.cat([batch[name], torch.zeros_like(batch[name])]) for name in ("mask", "layout", "counts")}
    out = run(module, {**batch, **empty})
    assert out.blocks.isfinite().all()
    torch.testing.assert_close(out.blocks[0], run(module, batch).blocks[0])


def test_features_left_out_are_the_same_as_zeros() -> None:
    module, batch = head(), document(0, [3, 1, 9])
    zeros = run(
        module, {**batch, "layout": torch.zeros_like(batch["layout"]), "counts": torch.zeros_like(batch["counts"])}
    )
    none = run(module, {name: batch[name] for name in ("states", "block", "mask")})
    torch.testing.assert_close(zeros.blocks, none.blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 6}, "hidden_size must be divisible by 4; got 6"),
        ({"state_size": 0, "layout_size": 0}, "state_size and layout_size are both 0"),
        ({"block_threshold": 1.5}, r"block_threshold must be in \[-1, 1\); got 1.5"),
        ({"noise_threshold": 0.0}, "noise_threshold must be above 0 and below 1; got 0.0"),
        ({"block_layers": 0}, "block_layers must be a whole number from 1 to 65536; got 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        head(**settings)


def test_settings_survive_json() -> None:
    config = BlockGraphConfig(state_size=384, token_layers=2, noise_threshold=0.7)
    assert BlockGraphConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InputError, match="unknown block head settings colour; known: block_graph"):
        BlockGraphConfig.from_dict({"state_size": 3, "colour": 1})


def test_onnx_gives_what_torch_gives(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    module, example = head(), side_by_side([document(0, [3, 1, 9]), document(1, [2] * 6)])
    windows, batch, blocks = (torch.export.Dim(name, min=1) for name in ("windows", "batch", "blocks"))
    by_block = {0: batch, 1: blocks}
    program = torch.onnx.export(
        module,
        tuple(example.values()),
        dynamo=True,
        opset_version=18,
        input_names=list(example),
        output_names=["block_logits", "token_logits"],
        dynamic_shapes=({0: windows}, {0: windows}, by_block, by_block, by_block),
        verbose=False,
    )
    assert program is not None
    program.save(tmp_path / "head.onnx")
    assert {node.domain for node in program.model_proto.graph.node} == {""}
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    for lengths in ([3, 1, 9], [1], [2] * 30, [40, 3]):
        inputs = side_by_side([document(5, lengths), document(6, [4, 4])])
        got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        expected = run(module, inputs)
        np.testing.assert_allclose(got[0], expected.blocks.numpy(), atol=2e-5)
        np.testing.assert_allclose(got[1], expected.tokens.numpy(), atol=2e-5)
