"""The inner loop: texts -> batches -> one run of the backbone -> every pooling's unit vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glot_rag.embedder import Vectors
from glot_rag.head import Pooled, Pooling
from glot_rag.head.pooling import real_states
from glot_rag.models.backbone import Backbone
from glot_rag.models.pruning import Pruned, Pruning, mix
from glot_rag.models.tokenizer import TokenBatch, check_texts, window_batches
from glot_rag.progress import bar


def pool_texts(
    backbone: Backbone,
    poolings: Mapping[str, Pooling],
    texts: Sequence[str],
    *,
    prompt: str = "",
    whole: bool = False,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """Embed texts with several poolings over one run of the backbone.

    Args:
        backbone: the frozen transformer.
        poolings: by name.
        texts: N strings.
        prompt: put before every text.
        whole: True reads texts of any length, in windows: the vector is the mean of the windows', each weighted by its
            tokens. False cuts what a text has beyond `Backbone.max_tokens`.
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
    out = {name: np.zeros((len(checked), pooling.output_size), np.float32) for name, pooling in poolings.items()}
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("embedding", total=len(checked))
        pack = partial(backbone.pack, batch_tokens=batch_tokens)
        for batches in window_batches(backbone.tokenizer, checked, pack, whole=whole):
            for batch, rows, shares in batches:
                for name, read in pool_batch(backbone, poolings, batch).items():
                    np.add.at(out[name], rows, read.pooled.vector.float().cpu().numpy() * shares[:, None])
                progress.advance(task, float(shares.sum()))
    return {name: unit(torch.from_numpy(vectors)).numpy() for name, vectors in out.items()}


class Read(NamedTuple):
    """What a pooling gave for a batch, and what it gave it for.

    Attributes:
        states: (B, L, S·D), the states that the pooling read.
        mask: (B, L) boolean, the real tokens.
        pooled: the vectors, token weights and scores.
        parts: (B, L, O), each token's part in the vector; None where nobody asked.
        kept: what became of a choice of tokens; None for a pooling that makes none.
    """

    states: Tensor
    mask: Tensor
    pooled: Pooled
    parts: Tensor | None = None
    kept: Pruned | None = None


@torch.inference_mode()
def pool_batch(
    backbone: Backbone, poolings: Mapping[str, Pooling], batch: TokenBatch, *, parts: bool = False
) -> dict[str, Read]:
    """Run the backbone over one batch and pool it with every pooling; with `parts`, say what each token gave."""
    ids, mask = (torch.from_numpy(each).to(backbone.device) for each in (batch.ids, batch.mask))
    return pool_ids(backbone, poolings, ids, mask, parts=parts)


def pool_ids(
    backbone: Backbone,
    poolings: Mapping[str, Pooling],
    ids: Tensor,
    mask: Tensor,
    *,
    shorten: bool = True,
    parts: bool = False,
) -> dict[str, Read]:
    """`pool_batch` for tensors on the backbone's device, in whatever gradient mode is on.

    The lower layers run once for all. Each pooling that drops tokens has a run of the layers above its choice to
    itself, beside the whole texts' run where anything needs that.

    Args:
        backbone: the frozen transformer.
        poolings: by name.
        ids: (B, L).
        mask: (B, L) boolean.
        shorten: False leaves dropped tokens in their places, masked, for a graph that ONNX can hold.
        parts: also give each token's part in the vector.
    """
    chosen: dict[str, Read] = {}

    def prune(name: str, pooling: Pooling) -> Pruning:
        def choose(states: Tensor, mask: Tensor) -> Tensor:
            chosen[name] = Read(states, mask, pooling(states, mask, ids))
            return chosen[name].pooled.weights > 0

        return backbone.pruning(ids, pooling.layers, choose)

    prunings = {name: prune(name, pooling) for name, pooling in poolings.items() if pooling.drops}
    layers = {layer for pooling in poolings.values() if not pooling.drops for layer in pooling.layers}
    if any(poolings[name].mix_weight < 1 for name in prunings):
        layers.add(-1)
    states, pruned = backbone.run(ids, mask, sorted(layers), list(prunings.values()), shorten=shorten)
    by_layer = dict(zip(sorted(layers), states, strict=True))
    out: dict[str, Read] = {}
    for name, pooling in poolings.items():
        if not pooling.drops:
            joined = join_layers(by_layer, pooling.layers)
            pooled = pooling(joined, mask, ids)
            out[name] = Read(joined, mask, pooled, pooling.parts(joined, mask, pooled.weights) if parts else None)
    for name, kept in zip(prunings, pruned, strict=True):
        vector, weights = token_mean(kept.states, kept.stays)
        of_tokens = token_parts(kept.states, kept.stays) if parts else None
        if poolings[name].mix_weight < 1:
            vector_of_all, weights_of_all = token_mean(by_layer[-1], mask)
            vector = mix(vector, vector_of_all, poolings[name].mix_weight)
            weights = mix(weights, weights_of_all, poolings[name].mix_weight)
            if of_tokens is not None:
                of_tokens = mix(of_tokens, token_parts(by_layer[-1], mask), poolings[name].mix_weight)
        pooled = Pooled(vector, weights, chosen[name].pooled.logits)
        out[name] = chosen[name]._replace(pooled=pooled, parts=of_tokens, kept=kept)
    return out


def token_mean(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each text's tokens, (B, L, D) -> (B, D) float32, and each token's share in it, (B, L)."""
    shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bl,bld->bd", shares, real_states(states, mask)), shares


def token_parts(states: Tensor, mask: Tensor) -> Tensor:
    """Each token's part in `token_mean`: (B, L, D)."""
    return real_states(states, mask) / mask.sum(dim=1).clamp(min=1)[:, None, None]


def join_layers(by_layer: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """The states of some layers side by side: (B, L, S·D)."""
    return by_layer[layers[0]] if len(layers) == 1 else torch.cat([by_layer[layer] for layer in layers], dim=-1)


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to norm 1, float32. The floor keeps a row of zeros at zero instead of NaN."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1, eps=1e-12)
