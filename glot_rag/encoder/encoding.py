"""The inner loop: texts -> batches -> one run of the backbone -> every pooling's unit vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glot_rag.embedder import Vectors
from glot_rag.head import Pooled, Pooling
from glot_rag.head.pooling import real_states
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch, check_texts
from glot_rag.progress import bar

# Texts tokenised and sorted at a time: enough for even batches, few enough that memory does not grow with the corpus.
_WINDOW = 4_096


def pool_texts(
    backbone: Backbone,
    poolings: Mapping[str, Pooling],
    texts: Sequence[str],
    *,
    prompt: str = "",
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """Embed texts with several poolings over one run of the backbone.

    Args:
        backbone: the frozen transformer.
        poolings: by name.
        texts: N strings.
        prompt: put before every text.
        show_progress: draw a progress bar on stderr.
        batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

    Returns:
        For each name (N, O) float32 with rows of norm 1, in the order of the texts.

    Raises:
        InputError: not a list of strings, or a budget below 1.
    """
    checked = check_texts(texts)
    if prompt:
        checked = [prompt + text for text in checked]
    out = {name: np.empty((len(checked), pooling.output_size), np.float32) for name, pooling in poolings.items()}
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("embedding", total=len(checked))
        for start in range(0, len(checked), _WINDOW):
            sequences = backbone.tokenizer(checked[start : start + _WINDOW])
            for batch in backbone.pack(sequences, batch_tokens):
                for name, read in pool_batch(backbone, poolings, batch).items():
                    out[name][start + batch.rows] = unit(read.pooled.vector).cpu().numpy()
                progress.advance(task, len(batch.rows))
    return out


class Read(NamedTuple):
    """What a pooling read of a batch, and what it made of it.

    Attributes:
        states: (B, L, S·D).
        mask: (B, L) boolean.
        pooled: the vectors and weights.
    """

    states: Tensor
    mask: Tensor
    pooled: Pooled


class _Choice:
    """A dropping pooling's look at a batch, on the batch's way through the backbone."""

    def __init__(self, pooling: Pooling, ids: Tensor) -> None:
        self.pooling = pooling
        self.ids = ids
        self.read: Read

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        self.read = Read(states, mask, self.pooling(states, mask, self.ids))
        return self.read.pooled.weights > 0


@torch.inference_mode()
def pool_batch(backbone: Backbone, poolings: Mapping[str, Pooling], batch: TokenBatch) -> dict[str, Read]:
    """One batch through the backbone and every pooling."""
    ids, mask = (torch.from_numpy(each).to(backbone.device) for each in (batch.ids, batch.mask))
    return pool_ids(backbone, poolings, ids, mask)


def pool_ids(
    backbone: Backbone, poolings: Mapping[str, Pooling], ids: Tensor, mask: Tensor, *, shorten: bool = True
) -> dict[str, Read]:
    """`pool_batch` for tensors on the backbone's device, in whatever gradient mode is on.

    The lower layers run once for all. What a pooling drops takes a run of the upper layers of its own, beside the whole
    text's if anything needs that.

    Args:
        backbone: the frozen transformer.
        poolings: by name.
        ids: (B, L).
        mask: (B, L) boolean.
        shorten: False leaves dropped tokens in their places, for a graph that ONNX can hold: see `Drop`.
    """
    choices = {name: _Choice(pooling, ids) for name, pooling in poolings.items() if pooling.drops}
    drops = {
        name: backbone.drop(ids, choice.pooling.layers, choice, shorten=shorten) for name, choice in choices.items()
    }
    layers = {layer for pooling in poolings.values() if not pooling.drops for layer in pooling.layers}
    if drops and (layers or len(drops) > 1 or any(poolings[name].mix_weight < 1 for name in drops)):
        layers.add(-1)
    states = backbone.states_of(ids, mask, sorted(layers), list(drops.values()))
    by_layer = dict(zip(sorted(layers), states, strict=True))

    def read(name: str, pooling: Pooling) -> Read:
        if name in drops:
            seen, drop = choices[name].read, drops[name]
            vector, weights = _mix(drop.states, drop.stays, by_layer.get(-1), mask, pooling.mix_weight)
            return seen._replace(pooled=Pooled(vector, weights, seen.pooled.logits))
        joined = join_layers(by_layer, pooling.layers)
        return Read(joined, mask, pooling(joined, mask, ids))

    return {name: read(name, pooling) for name, pooling in poolings.items()}


def _mix(kept: Tensor, stays: Tensor, whole: Tensor | None, mask: Tensor, mix_weight: float) -> tuple[Tensor, Tensor]:
    """The drop form: the mean of the tokens that went on, mixed with the whole text's (`Pooling.mix_weight`).

    Args:
        kept: (B, L, D) last states of the tokens that went on without the others.
        stays: (B, L) boolean, which those are.
        whole: (B, L, D) last states of the whole texts; read only for a mix weight below 1.
        mask: (B, L) boolean, the real tokens.
        mix_weight: share of the kept tokens' mean.

    Returns:
        Vectors (B, D) and shares (B, L).
    """
    vector, weights = _mean(kept, stays)
    if mix_weight < 1:
        assert whole is not None
        vector_of_all, share_of_all = _mean(whole, mask)
        vector = vector_of_all + mix_weight * (vector - vector_of_all)
        weights = share_of_all + mix_weight * (weights - share_of_all)
    return vector, weights


def _mean(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, D) -> (B, D), and each token's share (B, L)."""
    shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bl,bld->bd", shares, real_states(states, mask)), shares


def join_layers(by_layer: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """The states of some layers side by side: (B, L, S·D)."""
    return by_layer[layers[0]] if len(layers) == 1 else torch.cat([by_layer[layer] for layer in layers], dim=-1)


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to norm 1, float32. The floor keeps a row of zeros at zero instead of NaN."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1, eps=1e-12)
