"""The inner loop: texts -> batches -> one run of the backbone -> every pooling's unit vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from glot_rag.backbone import Backbone
from glot_rag.collection import CollectionStatistics
from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.head import Pooled, Pooling
from glot_rag.head.pooling import real_states
from glot_rag.progress import bar
from glot_rag.tokens import BATCH_TOKENS, TokenBatch, check_texts, pack

# Texts tokenised and sorted at a time: enough for even batches, few enough that memory does not grow with the corpus.
_WINDOW = 4_096


def pool_texts(
    backbone: Backbone,
    poolings: Mapping[str, Pooling],
    texts: Sequence[str],
    *,
    prompt: str = "",
    show_progress: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> dict[str, Vectors]:
    """Embed texts with several poolings over one run of the backbone.

    Args:
        backbone: the frozen transformer.
        poolings: by name.
        texts: N strings.
        prompt: put before every text.
        show_progress: draw a progress bar on stderr.
        batch_tokens: tokens a batch may hold, padding included.

    Returns:
        For each name (N, O) float32 with rows of norm 1, in the order of the texts.

    Raises:
        InputError: not a list of strings, or a budget below 1.
    """
    checked = check_texts(texts)
    if batch_tokens < 1:
        raise InputError(f"batch_tokens must be at least 1; got {batch_tokens}")
    if prompt:
        checked = [prompt + text for text in checked]
    out = {name: np.empty((len(checked), pooling.output_size), np.float32) for name, pooling in poolings.items()}
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("embedding", total=len(checked))
        for start in range(0, len(checked), _WINDOW):
            sequences = backbone.tokenizer(checked[start : start + _WINDOW])
            for batch in pack(sequences, backbone.tokenizer.pad_id, batch_tokens):
                for name, pooled in _pool_batch(backbone, poolings, batch).items():
                    out[name][start + batch.rows] = unit(pooled.vector).cpu().numpy()
                progress.advance(task, len(batch.rows))
    return out


def count_collection(backbone: Backbone, texts: Sequence[str], *, show_progress: bool = False) -> CollectionStatistics:
    """Count what a collection repeats, over its documents' whole length; the transformer is not run."""

    def documents() -> Iterator[list[int]]:
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("counting", total=len(texts))
            for start in range(0, len(texts), _WINDOW):
                for ids in backbone.tokenizer.whole(texts[start : start + _WINDOW]):
                    yield ids
                    progress.advance(task)

    return CollectionStatistics.count(documents(), backbone.tokenizer.vocabulary_size)


@torch.inference_mode()
def _pool_batch(backbone: Backbone, poolings: Mapping[str, Pooling], batch: TokenBatch) -> dict[str, Pooled]:
    """One batch through the backbone and every pooling; what is dropped in the backbone takes a pass of its own."""
    layers = {layer for pooling in poolings.values() if not pooling.drops for layer in pooling.layers}
    for pooling in poolings.values():
        if pooling.drops and pooling.trust < 1:
            layers |= {*pooling.layers, -1}
    by_layer: dict[int, Tensor] = {}
    if layers:
        states, mask = backbone.hidden_states(batch, sorted(layers))
        by_layer = dict(zip(sorted(layers), states, strict=True))

    def pooled(pooling: Pooling) -> Pooled:
        if pooling.drops:
            return pool_dropping(backbone, pooling, batch, by_layer)
        out: Pooled = pooling(join_layers(by_layer, pooling.layers), mask, _ids(backbone, batch))
        return out

    return {name: pooled(pooling) for name, pooling in poolings.items()}


@torch.inference_mode()
def pool_dropping(
    backbone: Backbone, pooling: Pooling, batch: TokenBatch, by_layer: Mapping[int, Tensor] | None = None
) -> Pooled:
    """The drop form: the mean of the tokens that the head let go on, mixed with the whole text's (`Pooling.trust`).

    Args:
        backbone: the frozen transformer.
        pooling: one that drops.
        batch: token ids and mask, (B, L) each.
        by_layer: states (B, L, D) of a pass over the whole texts, of the layers that the pooling reads and of the last
            one (-1), if there was one; it is read only for a trust below 1.
    """
    if pooling.trust == 1:
        return _pool_kept(backbone, pooling, batch)
    if by_layer is None:
        layers = sorted({*pooling.layers, -1})
        by_layer = dict(zip(layers, backbone.hidden_states(batch, layers)[0], strict=True))
    mask = torch.from_numpy(batch.mask).to(backbone.device)
    weights = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    vector = torch.einsum("bl,bld->bd", weights, real_states(by_layer[-1], mask))
    head = pooling(join_layers(by_layer, pooling.layers), mask, _ids(backbone, batch))
    stays = (head.weights > 0) | torch.from_numpy(backbone.tokenizer.is_special(batch.ids)).to(backbone.device)
    # A text of which everything stays has its vector already.
    some = (mask & ~stays).any(dim=1).nonzero()[:, 0]
    if len(some):
        rows = some.cpu().numpy()
        part = TokenBatch(batch.rows[rows], batch.ids[rows], batch.mask[rows])
        kept = _pool_kept(backbone, pooling, part, stays[some])
        vector[some] = torch.lerp(vector[some], kept.vector, pooling.trust)
        weights[some] = torch.lerp(weights[some], kept.weights, pooling.trust)
    return Pooled(vector, weights, head.logits)


def _pool_kept(backbone: Backbone, pooling: Pooling, batch: TokenBatch, stays: Tensor | None = None) -> Pooled:
    """The mean of the last layer's states of the tokens that go on: the head's choice, or `stays` (B, L)."""
    seen: list[Pooled] = []

    def choose(states: Tensor, mask: Tensor) -> Tensor:
        if stays is not None:
            return stays
        seen.append(pooling(states, mask, _ids(backbone, batch)))
        return seen[0].weights > 0

    states, kept, mask = backbone.hidden_states_of_kept(batch, pooling.layers, choose)
    shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    vector = torch.einsum("bl,bld->bd", shares, real_states(states, mask))
    weights = torch.zeros(batch.ids.shape, device=shares.device).scatter_add(1, kept, shares)
    return Pooled(vector, weights, seen[0].logits if seen else None)


def _ids(backbone: Backbone, batch: TokenBatch) -> Tensor:
    return torch.from_numpy(batch.ids).to(backbone.device)


def join_layers(by_layer: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """The states of some layers side by side: (B, L, S·D)."""
    return by_layer[layers[0]] if len(layers) == 1 else torch.cat([by_layer[layer] for layer in layers], dim=-1)


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to norm 1, float32. The floor keeps a row of zeros at zero instead of NaN."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1, eps=1e-12)
