"""Graph layers: PyTorch Geometric's own modules hold the parameters; two ways run them.

`dense` runs a layer over a boolean adjacency matrix with batched matrix products, softmax and where, which is several
times faster than message passing on token graphs and exports to ONNX. `sparse` is PyG's own forward over an edge
list. Both give the same numbers (tests/head/test_layers.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GATConv, GCNConv, GINConv, GINEConv, TransformerConv

from glot_rag.head.graph import BLOCK, blockwise

ATTENTION_HEADS = 4  # of the transformer layer; hidden_size is theirs together


def _mlp(input_size: int, hidden_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))


# Every edge carries the attribute 1 (an edge is there or it is not), hence edge_dim=1 as in the authors' code.
_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "gat": lambda i, o: GATConv(i, o, edge_dim=1),
    "gcn": lambda i, o: GCNConv(i, o),
    "gin": lambda i, o: GINConv(_mlp(i, o)),
    "gine": lambda i, o: GINEConv(_mlp(i, o), edge_dim=1),
    "transformer": lambda i, o: TransformerConv(i, o // ATTENTION_HEADS, heads=ATTENTION_HEADS),
}


def build(name: str, input_size: int, output_size: int) -> nn.Module:
    """A PyG layer by name: gat (GATConv), gcn, gin, gine or transformer (TransformerConv)."""
    return _BUILDERS[name](input_size, output_size)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` holds, 0 elsewhere, and 0 throughout a row that is all masked.

    The fill is the dtype's finite minimum: -inf would make such a row NaN, in torch and in ONNX Runtime.
    """
    filled = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    return torch.softmax(filled, dim=-1) * mask


def _with_self_loops(adjacency: Tensor, block: slice) -> Tensor:
    eye = torch.eye(adjacency.shape[-1], dtype=torch.bool, device=adjacency.device)
    return adjacency[:, block] | eye[block]


def _sum_neighbours(adjacency: Tensor, messages: Tensor) -> Tensor:
    return blockwise(lambda block: adjacency[:, block].to(messages.dtype) @ messages, adjacency.shape[1])


def _gcn(layer: GCNConv, x: Tensor, adjacency: Tensor) -> Tensor:
    """Kipf & Welling 2017: D^-1/2 (A or I) D^-1/2 X W, D the in-degree with the self-loop."""
    h = layer.lin(x)
    off_diagonal = adjacency.sum(-1) - torch.diagonal(adjacency, dim1=1, dim2=2).long()
    scale = (off_diagonal + 1).to(h.dtype).rsqrt()[..., None]
    scaled = h * scale

    def rows(block: slice) -> Tensor:
        return _with_self_loops(adjacency, block).to(h.dtype).matmul(scaled)

    out: Tensor = blockwise(rows, x.shape[1]) * scale + layer.bias
    return out


def _gin(layer: GINConv, x: Tensor, adjacency: Tensor) -> Tensor:
    """Xu et al. 2019: MLP((1 + eps) x_i + sum_j x_j)."""
    out: Tensor = layer.nn((1 + layer.eps) * x + _sum_neighbours(adjacency, x))
    return out


def _gine(layer: GINEConv, x: Tensor, adjacency: Tensor) -> Tensor:
    """Hu et al. 2020: MLP((1 + eps) x_i + sum_j relu(x_j + e)); e is the same for every edge."""
    edge = layer.lin.weight[:, 0] + layer.lin.bias
    out: Tensor = layer.nn((1 + layer.eps) * x + _sum_neighbours(adjacency, functional.relu(x + edge)))
    return out


class AttentionBias:
    """A boolean adjacency matrix in the form that attention adds to its scores, made once for all layers.

    A text longer than a block would take four bytes a pair of tokens, so for those it is made anew block by block.

    Args:
        adjacency: (B, L, L).
        dtype: of the scores.
        self_loops: True lets every token hear itself, whatever the matrix says.
    """

    def __init__(self, adjacency: Tensor, dtype: torch.dtype, *, self_loops: bool = False) -> None:
        self._adjacency = adjacency
        self._dtype = dtype
        self._self_loops = self_loops
        length = adjacency.shape[1]
        whole = torch.compiler.is_compiling() or length <= BLOCK
        self._whole = self._make(slice(0, length)) if whole else None

    def rows(self, block: slice) -> tuple[Tensor, Tensor]:
        """(B, l, L) to add, and (B, l, 1) boolean: padding and tokens without neighbours, which hear nothing."""
        if self._whole is None:
            return self._make(block)
        bias, alone = self._whole
        return bias[:, block], alone[:, block]

    def _make(self, block: slice) -> tuple[Tensor, Tensor]:
        edges = _with_self_loops(self._adjacency, block) if self._self_loops else self._adjacency[:, block]
        # 0 or as good as -inf, and finite with any score added to it. Several times faster than `where` and `any`.
        bias = (edges.to(self._dtype) - 1) * (torch.finfo(self._dtype).max / 2)
        return bias, bias.amax(dim=-1, keepdim=True) < 0


def attention_bias(layer: nn.Module, adjacency: Tensor, dtype: torch.dtype) -> AttentionBias | None:
    """What a layer adds to its scores, which others of its kind can share; None for a layer without scores."""
    if not isinstance(layer, (GATConv, TransformerConv)):
        return None
    # PyG's GATConv drops self-loops and adds (i, i) again, so every token attends to itself.
    return AttentionBias(adjacency, dtype, self_loops=isinstance(layer, GATConv))


def _gat(layer: GATConv, x: Tensor, bias: AttentionBias) -> Tensor:
    """Velickovic et al. 2018, heads=1."""
    h = layer.lin(x)
    edge = (layer.lin_edge.weight[:, 0] * layer.att_edge[0, 0]).sum()
    source = h @ layer.att_src[0, 0]
    target = h @ layer.att_dst[0, 0] + edge

    def rows(block: slice) -> Tensor:
        scores = functional.leaky_relu(target[:, block, None] + source[:, None, :], layer.negative_slope)
        return torch.softmax(scores + bias.rows(block)[0], dim=-1).matmul(h)

    out: Tensor = blockwise(rows, x.shape[1]) + layer.bias
    return out


def _transformer(layer: TransformerConv, x: Tensor, bias: AttentionBias) -> Tensor:
    """Shi et al. 2021: W1 x_i + sum_j softmax_j(q_i · k_j / sqrt(d)) v_j, heads side by side.

    Its scores are of the pair (i, j), where GAT's rank the neighbours of every token alike.
    """
    batch, length, _ = x.shape

    def by_head(projection: nn.Module) -> Tensor:
        h: Tensor = projection(x)
        return h.view(batch, length, layer.heads, layer.out_channels).transpose(1, 2)

    query, key, value = by_head(layer.lin_query), by_head(layer.lin_key), by_head(layer.lin_value)

    def rows(block: slice) -> Tensor:
        added, alone = (each[:, None] for each in bias.rows(block))  # the same for every head
        heard = functional.scaled_dot_product_attention(query[:, :, block], key, value, attn_mask=added)
        return heard.masked_fill(alone, 0.0).transpose(1, 2)

    out: Tensor = layer.lin_skip(x) + blockwise(rows, length).flatten(2)
    return out


_DENSE: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    GCNConv: _gcn,
    GINConv: _gin,
    GINEConv: _gine,
}


def dense(layer: nn.Module, x: Tensor, adjacency: Tensor, bias: AttentionBias | None = None) -> Tensor:
    """Run a PyG layer over a boolean adjacency matrix.

    Args:
        layer: what `build` made.
        x: (B, L, F) node features.
        adjacency: (B, L, L) boolean, A[b, i, j] where j speaks to i.
        bias: `attention_bias`; None makes it.

    Returns:
        (B, L, F'). Rows of padding are finite and mean nothing.
    """
    bias = bias or attention_bias(layer, adjacency, x.dtype)
    if bias is not None:
        return (_gat if isinstance(layer, GATConv) else _transformer)(layer, x, bias)
    return _DENSE[type(layer)](layer, x, adjacency)


def sparse(layer: nn.Module, x: Tensor, edges: Tensor) -> Tensor:
    """Run a PyG layer by its own forward.

    Args:
        layer: what `build` made.
        x: (N, F) node features, the real tokens of all texts one after the other.
        edges: (2, E) int64, source above target.

    Returns:
        (N, F').
    """
    if isinstance(layer, (GATConv, GINEConv)):
        out: Tensor = layer(x, edges, edge_attr=x.new_ones(edges.shape[1], 1))
    else:
        out = layer(x, edges)
    return out
