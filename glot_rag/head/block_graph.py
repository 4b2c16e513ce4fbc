"""Token states and layout -> noise scores of blocks and tokens, by a token graph within blocks and a graph of blocks.

GLOT's token graph (arXiv 2603.03389, section 3) with a second level. Tokens of one block are joined where their states
are alike, run through a graph layer and read out to the block's state. Blocks (lines, sentences) of a document are
joined where their mean states are alike, and each also hears its neighbours on the page and what the document is on
the whole: a line among prose means something else in an article than on a product page. A few hundred blocks stand for
thousands of tokens, so the whole document is seen at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glot_rag.errors import InputError
from glot_rag.head.graph import token_graph
from glot_rag.head.layers import AttentionBias, build, dense

WIDTH = 5  # neighbouring blocks that a convolution sees, itself included


@dataclass(frozen=True)
class BlockGraphConfig:
    """Hyper-parameters of the block graph head.

    Args:
        state_size: D, the width of the backbone's states; 0 leaves them out (layout alone).
        layer: the backbone layer that is read, as an index into transformers' `hidden_states`.
        layout_size: layout features a block; 0 leaves them out.
        count_size: corpus features a block (`glot_rag.denoise.recurrence`); 0 leaves them out.
        hidden_size: the width of all layers; divisible by 4.
        token_layers: graph layers over the tokens of a block; 0 reads the block's state out of the tokens alone.
        block_layers: rounds over the blocks of a document.
        block_graph: False leaves the edges between blocks out and keeps the convolutions over neighbours.
        token_threshold: tokens of a block are joined where the cosine of their states is above it.
        block_threshold: blocks are joined where the cosine of their mean states is above it.
        dropout: share of the values set to zero in training.
        noise_threshold: a block with a lower noise probability is never dropped, whatever is best for the document
            (`glot_rag.denoise.block_threshold`).

    Raises:
        InputError: a value out of its range.
    """

    state_size: int
    layer: int = 2
    layout_size: int = 15
    count_size: int = 4
    hidden_size: int = 64
    token_layers: int = 1
    block_layers: int = 3
    block_graph: bool = True
    token_threshold: float = 0.3
    block_threshold: float = 0.5
    dropout: float = 0.1
    noise_threshold: float = 0.5

    def __post_init__(self) -> None:
        least = {"hidden_size": 4, "block_layers": 1}
        for name in ("state_size", "layout_size", "count_size", "hidden_size", "token_layers", "block_layers"):
            value, lowest = getattr(self, name), least.get(name, 0)
            if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= 65_536:
                raise InputError(f"{name} must be a whole number from {lowest} to 65536; got {value!r}")
        if self.hidden_size % 4:
            raise InputError(
                f"the block graph has four attention heads: hidden_size must be divisible by 4; got {self.hidden_size}"
            )
        if self.state_size == 0 and self.layout_size == 0:
            raise InputError("a head needs states or layout features: state_size and layout_size are both 0")
        for name, low in (("token_threshold", -1.0), ("block_threshold", -1.0), ("dropout", 0.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not low <= value < 1.0:
                raise InputError(f"{name} must be in [{low:g}, 1); got {value!r}")
        if not isinstance(self.noise_threshold, (int, float)) or not 0.0 < self.noise_threshold < 1.0:
            raise InputError(f"noise_threshold must be above 0 and below 1; got {self.noise_threshold!r}")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; `from_dict` takes it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BlockGraphConfig:
        """Make a configuration from what `to_dict` gave.

        Raises:
            InputError: an unknown or missing field, or a value out of its range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown block head settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"block head settings are incomplete: {error}") from error


class NoiseLogits(NamedTuple):
    """Noise logits: above 0 is more likely noise than signal.

    Attributes:
        blocks: (B, N).
        tokens: (W, L).
    """

    blocks: Tensor
    tokens: Tensor


class BlockGraphHead(nn.Module):
    """Finds noise in documents from token states, layout and corpus counts.

    Args:
        config: hyper-parameters.
    """

    def __init__(self, config: BlockGraphConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        if config.state_size:
            self.token_in = nn.Linear(config.state_size, size)
            self.token_graph = nn.ModuleList(build("gat", size, size) for _ in range(config.token_layers))
            self.readout = nn.Linear(size, 1)
            self.token_out = nn.Sequential(nn.Linear(2 * size, size), nn.Tanh(), nn.Linear(size, 1))
        if config.layout_size:
            self.layout_in = nn.Sequential(nn.Linear(config.layout_size, size), nn.ReLU(), nn.Linear(size, size))
        if config.count_size:
            self.count_in = nn.Sequential(
                nn.Linear(config.count_size, size // 4), nn.ReLU(), nn.Linear(size // 4, size, bias=False)
            )
        # Each round looks twice as far over the page as the one before.
        self.neighbours = nn.ModuleList(
            nn.Conv1d(size, size, WIDTH, padding=(WIDTH // 2) << depth, dilation=1 << depth)
            for depth in range(config.block_layers)
        )
        self.whole = nn.ModuleList(nn.Linear(2 * size, size, bias=False) for _ in range(config.block_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(config.block_layers))
        graph = config.block_graph and config.state_size
        self.blocks = nn.ModuleList(
            build("transformer", size, size) for _ in range(config.block_layers if graph else 0)
        )
        self.block_out = nn.Linear(size, 1)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def layer(self) -> int:
        """The backbone layer that it reads."""
        return self.config.layer

    @property
    def noise_threshold(self) -> float:
        """Blocks with a higher noise probability are dropped, unless another threshold is asked for."""
        return self.config.noise_threshold

    def forward(
        self,
        states: Tensor,
        block: Tensor,
        mask: Tensor,
        layout: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> NoiseLogits:
        """Score the blocks and tokens of some documents.

        Args:
            states: (W, L, D) token states of all documents together, in windows. Tokens of one block may stand in
                several windows.
            block: (W, L) int64, the block of each token: b·N + n for block n of document b, -1 for padding.
            mask: (B, N) boolean, True for real blocks, which come first in their row.
            layout: (B, N, F) layout features; None or zeros where there is none.
            counts: (B, N, C) corpus features; None or zeros where nothing was counted.
        """
        documents, number = mask.shape
        size = self.config.hidden_size
        real = mask[..., None].float()
        nodes = states.new_zeros(documents, number, size)
        graph: Tensor | None = None
        tokens = states.new_zeros(*block.shape, size)
        if self.config.state_size:
            tokens = self._tokens(states, block)
            nodes = self.dropout(_mean_by_block(tokens, self._weights(tokens), block, mask))
            if len(self.blocks):
                means = _mean_by_block(states, torch.ones_like(states[..., :1]), block, mask)
                graph = token_graph(means, mask, self.config.block_threshold)
        if layout is not None and self.config.layout_size:
            # A document without layout features must not look like one whose features are all zero.
            present = (layout != 0).any(dim=-1, keepdim=True).any(dim=1, keepdim=True)
            nodes = nodes + self.layout_in(layout) * present
        if counts is not None and self.config.count_size:
            present = (counts != 0).any(dim=-1, keepdim=True).any(dim=1, keepdim=True)
            nodes = nodes + self.count_in(counts) * present
        nodes = self._rounds(nodes * real, mask, graph)
        blocks = self.block_out(nodes)[..., 0]
        if not self.config.state_size:
            return NoiseLogits(blocks, _at(blocks.reshape(-1, 1), block)[..., 0])
        around = _at(nodes.reshape(-1, size), block)
        # A word departs from its block where its own state says so.
        own = self.token_out(torch.cat([tokens, around], dim=-1))[..., 0]
        return NoiseLogits(blocks, _at(blocks.reshape(-1, 1), block)[..., 0] + own)

    @torch.inference_mode()
    def score(
        self,
        states: NDArray[np.float32],
        block: NDArray[np.int64],
        mask: NDArray[np.bool_],
        layout: NDArray[np.float32],
        counts: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`forward` in NumPy: (B, N) and (W, L) noise logits."""
        given = (states, block, mask, layout) if counts is None else (states, block, mask, layout, counts)
        logits = self(*map(torch.from_numpy, given))
        return logits.blocks.numpy(), logits.tokens.numpy()

    def _tokens(self, states: Tensor, block: Tensor) -> Tensor:
        """(W, L, H): the states made small, and what the tokens of a block tell each other."""
        tokens: Tensor = self.dropout(torch.relu(self.token_in(self.dropout(states))))
        if len(self.token_graph):
            together = block[:, :, None] == block[:, None, :]
            adjacency = token_graph(states, block >= 0, self.config.token_threshold) & together
            edges = AttentionBias(adjacency, tokens.dtype, self_loops=True)
            for layer in self.token_graph:
                tokens = tokens + torch.relu(dense(layer, tokens, adjacency, edges))
        return tokens

    def _weights(self, tokens: Tensor) -> Tensor:
        """(W, L, 1): what each token counts for in its block's state."""
        return torch.sigmoid(self.readout(tokens))

    def _rounds(self, nodes: Tensor, mask: Tensor, graph: Tensor | None) -> Tensor:
        """(B, N, H): the blocks after they have heard their neighbours, the whole document and blocks like them."""
        real = mask[..., None].float()
        edges = None if graph is None else AttentionBias(graph, nodes.dtype)
        for depth, convolution in enumerate(self.neighbours):
            heard = convolution(nodes.transpose(1, 2)).transpose(1, 2) + self.whole[depth](_whole(nodes, mask))
            if graph is not None:
                heard = heard + dense(self.blocks[depth], nodes, graph, edges)
            nodes = (nodes + self.dropout(torch.relu(self.norms[depth](heard)))) * real
        return nodes


def _mean_by_block(values: Tensor, weights: Tensor, block: Tensor, mask: Tensor) -> Tensor:
    """Weighted means of the tokens of each block: values (W, L, H), weights (W, L, 1) -> (B, N, H); 0 for none."""
    width = values.shape[-1]
    weights = weights * (block >= 0)[..., None]
    place = (block.clamp(min=0).reshape(-1),)
    # index_put, not scatter_add: in ONNX it takes one index a token, not one a value.
    total = values.new_zeros(mask.numel(), width)
    total = total.index_put(place, (values * weights).reshape(-1, width), accumulate=True)
    weight = values.new_zeros(mask.numel(), 1).index_put(place, weights.reshape(-1, 1), accumulate=True)
    return (total / weight.clamp(min=1e-6)).reshape(*mask.shape, width)


def _whole(nodes: Tensor, mask: Tensor) -> Tensor:
    """The mean and the maximum of each document's blocks: (B, N, H) -> (B, 1, 2·H)."""
    real = mask[..., None]
    mean = (nodes * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    most = torch.where(real, nodes, torch.finfo(nodes.dtype).min).amax(1, keepdim=True) * real.any(1, keepdim=True)
    return torch.cat([mean, most], dim=-1)


def _at(nodes: Tensor, block: Tensor) -> Tensor:
    """Rows of (B·N, H) for each token: (W, L, H)."""
    rows: Tensor = nodes[block.clamp(min=0)]
    return rows
