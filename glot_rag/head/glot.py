"""The GLOT head: token graph -> graph layers -> jumping knowledge -> learned readout -> one vector.

Source: Mantri, Schönlieb, Lähner, Eliasof, "Towards Improved Sentence Representations using Token Graphs", ICLR 2026,
arXiv 2603.03389, section 3. The residual form, the drop form, the reading of several layers and
the sigmoid readout are ours.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from glot_rag.checks import choose
from glot_rag.head import layers
from glot_rag.head.config import HeadConfig
from glot_rag.head.graph import token_graph
from glot_rag.head.pooling import Pooled, TrainedPooling, real_states

PATHS = ("auto", "dense", "sparse")
# Up to here the dense path always wins. Beyond, PyG's edge list does, if the graph is sparse enough for it.
_DENSE_LENGTH = 1024


def score_mlp(input_size: int, hidden_size: int) -> nn.Sequential:
    """The scores s = w2 · tanh(W1 H + b1) + b2; w2 = b2 = 0 at first, so that every token weighs the same."""
    last = nn.Linear(hidden_size, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(input_size, hidden_size), nn.Tanh(), last)


def readout_weights(logits: Tensor, mask: Tensor, readout: str) -> Tensor:
    """pi, (B, L): softmax of the scores over real tokens, or the scores' sigmoids scaled to sum to 1."""
    if readout == "sigmoid":
        logits = functional.logsigmoid(logits)
    return layers.masked_softmax(logits, mask)


def keep_tokens(logits: Tensor, mask: Tensor, least: float, gate: float = 0.0) -> Tensor:
    """Which tokens stay, (B, L) boolean: those more likely signal than noise, and the surest `least` of each text.

    The second clause is for texts that are mostly noise: there the scores of signal are low, too, but still the higher
    ones. A text of which every token is more likely signal is left alone, and so is one that would lose less than
    `gate` of its tokens: it is clean, and what the head doubts there is an unusual word.
    """
    filled = torch.where(mask, logits.float(), torch.finfo(torch.float32).min)
    count = (mask.sum(dim=1, keepdim=True) * least).ceil().long().clamp(min=1)
    last = filled.sort(dim=1, descending=True).values.gather(1, count - 1)
    kept = ((filled >= 0) | (filled >= last)) & mask
    if gate > 0:
        clean = (mask & ~kept).sum(dim=1, keepdim=True) < gate * mask.sum(dim=1, keepdim=True)
        kept = kept | (clean & mask)  # not `where`: ONNX Runtime has none for booleans
    return kept


def _weights(logits: Tensor, mask: Tensor, config: HeadConfig, gate: float) -> Tensor:
    """pi, (B, L): the readout's, or in the drop form the same for every token that stays."""
    if config.form != "drop":
        return readout_weights(logits, mask, config.readout)
    kept = keep_tokens(logits, mask, config.keep**config.rounds, gate).float()
    return kept / kept.sum(dim=1, keepdim=True).clamp(min=1)


class AdaPool(TrainedPooling):
    """Adaptive pooling: the same learned readout over the states themselves, with no graph (the paper's baseline)."""

    name = "adapool"

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = config.layers
        self.output_size = config.state_size
        self.drops = config.form == "drop"
        self.trust = config.trust
        self.score_layer = score_mlp(config.input_size, config.readout_size)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """(B, L, S·D) and (B, L) -> (B, D)."""
        x = real_states(states, mask)
        logits = self.adapted(self.score_layer(x).squeeze(-1), ids, mask)
        weights = _weights(logits, mask, self.config, self.gate)
        return Pooled(torch.einsum("bl,bld->bd", weights, x[..., -self.output_size :]), weights, logits)


class GlotHead(TrainedPooling):
    """Learned pooling over the token graph. See `HeadConfig` for the settings.

    Args:
        config: the head's settings.
        path: "dense" (masked matrix products), "sparse" (PyG's message passing), or "auto": dense, but sparse for a
            text of over 1,024 tokens whose graph has so few edges that the edge list is the smaller of the two.
    """

    name = "glot"

    def __init__(self, config: HeadConfig, path: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.path = choose("path", path, PATHS)
        self.layers = config.layers
        sizes = [config.input_size] + [config.hidden_size] * config.num_layers
        self.convs = nn.ModuleList(layers.build(config.convolution, i, o) for i, o in itertools.pairwise(sizes))
        layer_norm = config.norm == "layer"
        self.norms = nn.ModuleList(nn.LayerNorm(size) if layer_norm else nn.Identity() for size in sizes[1:])
        refined = config.hidden_size * (config.num_layers if config.jumping == "cat" else 1)
        joint = config.input_size + refined if config.jumping == "cat" else refined
        self.score_layer = score_mlp(joint, config.readout_size)
        self.projection: nn.Linear | None = None
        if config.form == "residual":
            self.output_size = config.state_size
            self.projection = nn.Linear(refined, config.state_size, bias=False)
            nn.init.zeros_(self.projection.weight)
        elif config.form == "drop":
            self.output_size = config.state_size
            self.drops = True
            self.trust = config.trust
        else:
            self.output_size = config.output_size or joint
            if config.output_size is not None:
                self.projection = nn.Linear(joint, config.output_size, bias=False)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """(B, L, S·D) and (B, L) boolean -> (B, O), the weights pi (B, L) and the readout's scores (B, L).

        In the drop form the vector is the mean of the kept tokens' states as they are given; the encoder takes the
        scores alone and runs the backbone's upper layers over what is kept (`glot_rag.encoder.encoding`).
        """
        x = real_states(states, mask)
        refined = self._jump(self.refine(x, mask))
        joint = [x, *refined] if self.config.jumping == "cat" else refined
        logits = self.adapted(self._scores(joint), ids, mask)  # (B, L)
        weights = _weights(logits, mask, self.config, self.gate)
        if self.config.form == "drop":
            return Pooled(_pooled(weights, [x[..., -self.output_size :]]), weights, logits)
        if self.config.form == "residual":
            assert self.projection is not None
            vector = _pooled(weights, [x[..., -self.output_size :]]) + self.projection(_pooled(weights, refined))
        else:
            vector = _pooled(weights, joint)
            if self.projection is not None:
                vector = self.projection(vector)
        return Pooled(vector, weights, logits)

    def graph(self, x: Tensor, mask: Tensor) -> Tensor:
        """The token graph over the pooled layer's states, (B, L, L): there, tokens of one topic are most alike."""
        return token_graph(x[..., -self.config.state_size :], mask, self.config.threshold)

    def refine(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """The graph layers' outputs H1..HK, each (B, L, hidden size)."""
        adjacency = self.graph(x, mask)
        if self._use_sparse(adjacency):
            return self._refine_sparse(x, mask, adjacency)
        bias = layers.attention_bias(self.convs[0], adjacency, x.dtype)
        outputs = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(layers.dense(conv, x, adjacency, bias)))
            outputs.append(x)
        return outputs

    def _use_sparse(self, adjacency: Tensor) -> bool:
        if self.path != "auto":
            return self.path == "sparse"
        length = adjacency.shape[1]
        if length <= _DENSE_LENGTH:
            return False
        # Message passing holds hidden_size floats an edge; the dense path about one float a pair.
        return int(adjacency.sum()) * self.config.hidden_size < adjacency.numel()

    def _refine_sparse(self, x: Tensor, mask: Tensor, adjacency: Tensor) -> list[Tensor]:
        batch, target, source = adjacency.nonzero(as_tuple=True)
        node = mask.flatten().cumsum(0).sub(1).view_as(mask)  # the number of each real token among all real tokens
        edges = torch.stack([node[batch, source], node[batch, target]])
        h, outputs = x[mask], []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = functional.relu(norm(layers.sparse(conv, h, edges)))
            outputs.append(h.new_zeros(*mask.shape, h.shape[-1]).masked_scatter(mask[..., None], h))
        return outputs

    def _jump(self, outputs: list[Tensor]) -> list[Tensor]:
        """Jumping knowledge (Xu et al. 2018) over H1..HK: one (B, L, hidden size), or for "cat" all of them."""
        if self.config.jumping == "cat":
            return outputs
        stacked = torch.stack(outputs)
        return [stacked.amax(dim=0) if self.config.jumping == "max" else stacked.mean(dim=0)]

    def _scores(self, joint: list[Tensor]) -> Tensor:
        """The readout's scores (B, L) of states that stand side by side, (B, L, …) each.

        They are not put there, which would copy all of them. An exported graph does that: its one product can be int8.
        """
        if torch.compiler.is_compiling():
            return self.score_layer(torch.cat(joint, dim=-1)).squeeze(-1)  # type: ignore[no-any-return]
        first, *rest = self.score_layer
        assert isinstance(first, nn.Linear)
        parts = torch.split(first.weight, [each.shape[-1] for each in joint], dim=1)
        scores = functional.linear(joint[0], parts[0], first.bias)
        for each, weight in zip(joint[1:], parts[1:], strict=True):
            scores = scores + functional.linear(each, weight)
        for layer in rest:
            scores = layer(scores)
        return scores.squeeze(-1)


def _pooled(weights: Tensor, joint: list[Tensor]) -> Tensor:
    """Sums over the tokens of states that stand side by side, (B, L, …) each."""
    return torch.cat([torch.einsum("bl,blh->bh", weights, each) for each in joint], dim=-1)
