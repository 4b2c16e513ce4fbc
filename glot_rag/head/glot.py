"""The GLOT head: token graph -> graph layers -> jumping knowledge -> learned readout -> one vector.

Source: Mantri, Schönlieb, Lähner, Eliasof, "Towards Improved Sentence Representations using Token Graphs", ICLR 2026,
arXiv 2603.03389, section 3. The residual form, the drop form, several layers as input and the sigmoid readout are not
in the paper.
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
from glot_rag.head.readout import score_mlp, token_weights

PATHS = ("auto", "dense", "sparse")
# Up to here the dense path always wins. Beyond, PyG's edge list does, if the graph is sparse enough for it.
_DENSE_LENGTH = 1024


class GlotHead(TrainedPooling):
    r"""Learned pooling over the token graph (arXiv 2603.03389, section 3).

    .. math::
        A_{ij} = [\cos(x_i, x_j) > \tau], \quad H_0 = X, \quad H_k = \mathrm{relu}(\mathrm{conv}_k(H_{k-1}, A))

        H = [H_0 | H_1 | \dots | H_K] \text{ (or max, mean)}, \quad s_i = w_2^\top \tanh(W_1 H_i + b_1) + b_2

        \pi = \mathrm{readout}(s), \quad z = \sum_i \pi_i H_i

    The last line is the paper form; for the others see `HeadConfig.form`.

    Args:
        config: the head's settings.
        path: "dense" (masked matrix products), "sparse" (PyG's message passing), or "auto": dense, but sparse for a
            text of over 1,024 tokens whose graph has so few edges that the edge list is the smaller of the two.

    Shapes: states (B, L, S·D), mask (B, L) -> vector (B, O), weights (B, L), logits (B, L).
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
        self.score_layer = score_mlp(joint)
        self.projection: nn.Linear | None = None
        if config.form == "residual":
            self.output_size = config.state_size
            self.projection = nn.Linear(refined, config.state_size, bias=False)
            nn.init.zeros_(self.projection.weight)
        elif config.form == "drop":
            self.output_size = config.state_size
            self.drops = True
            self.mix_weight = config.mix_weight
        else:
            self.output_size = config.output_size or joint
            if config.output_size is not None:
                self.projection = nn.Linear(joint, config.output_size, bias=False)

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Pooled:
        """Pool a batch (see `Pooling.forward`).

        Args:
            states: (B, L, D), the token states of B texts of at most L tokens.
            mask: (B, L) boolean, True for real tokens.
            ids: (B, L), token ids, which only a head that is fitted to a corpus reads.

        In the drop form the vector is the mean of the kept tokens' states as they are given. An encoder takes only the
        scores from here and runs the backbone's upper layers over the tokens that stay.
        """
        x = real_states(states, mask)
        refined = self._jump(self.refine(x, mask))
        joint = [x, *refined] if self.config.jumping == "cat" else refined
        logits = self.adjusted(self._scores(joint), ids, mask)  # (B, L)
        weights = token_weights(logits, mask, self.config, self.min_drop_ratio)
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

    def parts(self, states: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Each token's part in the vector (see `Pooling.parts`): its states refined over the graph, in these forms."""
        if self.config.form == "drop":
            return super().parts(states, mask, weights)
        x = real_states(states, mask)
        refined = self._jump(self.refine(x, mask))
        if self.config.form == "residual":
            assert self.projection is not None
            value: Tensor = x[..., -self.output_size :] + self.projection(torch.cat(refined, dim=-1))
        else:
            joint = torch.cat([x, *refined] if self.config.jumping == "cat" else refined, dim=-1)
            value = joint if self.projection is None else self.projection(joint)
        return weights[..., None] * value

    def graph(self, x: Tensor, mask: Tensor) -> Tensor:
        """The token graph of the last layer listed: (B, L, S·D) -> (B, L, L)."""
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
        """The readout's scores (B, L) of concatenated states, given as a list of (B, L, …).

        W1 is split instead of concatenating the states, which would copy all of them. An exported graph concatenates:
        one product can be quantised to int8.
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
    """The weighted sums of several states (B, L, …) over the tokens, concatenated: (B, …)."""
    return torch.cat([torch.einsum("bl,blh->bh", weights, each) for each in joint], dim=-1)
