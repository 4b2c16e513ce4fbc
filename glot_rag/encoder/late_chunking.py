"""Late chunking: the chunks of a text, each pooled over states that saw the whole window around it.

Source: Günther et al., "Late Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models", 2024, arXiv
2409.04701. There each chunk is mean-pooled; here any pooling reads it, so a head leaves out a chunk's noise. Texts
longer than the backbone's limit go through in windows, each of which repeats a quarter of the one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.embedder import Vectors
from glot_rag.encoder.encoding import unit
from glot_rag.errors import InputError
from glot_rag.head import Pooled, Pooling
from glot_rag.head.pooling import real_states
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch, TokenisedText


def pool_chunks(
    backbone: Backbone,
    pooling: Pooling,
    text: str,
    spans: Sequence[tuple[int, int]],
    *,
    prompt: str = "",
    batch_tokens: int | None = None,
) -> Vectors:
    """Embed the chunks of a text in one pass over the backbone.

    A chunk in several windows is pooled in each, and the vectors are averaged by the numbers of tokens that they stand
    for; so mean pooling is exact, and memory is bounded by the windows of a batch. In the drop form the tokens are
    scored and dropped with the whole window in sight, but the surest one of a chunk always stays.

    Args:
        backbone: the frozen transformer.
        pooling: reads the tokens of each chunk.
        text: of any length.
        spans: N chunks as (first character, end), of any splitter; they may overlap.
        prompt: put before the text; seen by the chunks of the first window, and in none of them.
        batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

    Returns:
        (N, O) float32, rows of norm 1.

    Raises:
        InputError: a span outside the text, or one that holds no token.
    """
    chunks = [(start + len(prompt), end + len(prompt)) for start, end in _check_spans(spans, len(text))]
    windows = backbone.tokenizer.windows(prompt + text)
    members = _members(windows, chunks)
    sums = np.zeros((len(chunks), pooling.output_size), np.float32)
    counts = np.zeros(len(chunks), np.int64)
    for found in members:
        np.add.at(counts, list(found), 1)
    if (empty := np.flatnonzero(counts == 0)).size:
        start, end = spans[int(empty[0])]
        raise InputError(f"chunk ({start}, {end}) holds no token: {text[start:end]!r:.60}; leave such chunks out")
    for batch in backbone.pack([window.ids for window in windows], batch_tokens):
        rows, places, numbers = _places(batch, members)
        if not rows:
            continue
        vectors, weight = _pool(backbone, pooling, batch, rows, places)
        np.add.at(sums, numbers, (vectors * weight[:, None]).cpu().numpy())
    return unit(torch.from_numpy(sums)).numpy()


def _check_spans(spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    try:
        checked = [(int(start), int(end)) for start, end in spans]
    except (TypeError, ValueError):
        raise InputError(f"expected chunks as (first character, end), got {spans!r:.80}") from None
    for start, end in checked:
        if not 0 <= start < end <= length:
            raise InputError(f"chunk ({start}, {end}) does not lie in a text of {length} characters")
    return checked


def _members(windows: Sequence[TokenisedText], chunks: Sequence[tuple[int, int]]) -> list[dict[int, NDArray[np.int64]]]:
    """For each window: chunk -> its tokens' places there. Every token of the text belongs to one window only."""
    found = []
    bounds = [np.array(window.spans, np.int64).reshape(-1, 2) for window in windows]
    # Of what two windows share, the first half is the first one's: each token is where it has more context.
    real = [each[each[:, 1] > each[:, 0]] for each in bounds]
    cuts = [0]
    for before, after in itertools.pairwise(real):
        cuts.append(int(after[0, 0] + before[-1, 1]) // 2)
    cuts.append(np.iinfo(np.int64).max)
    for number, each in enumerate(bounds):
        own = (each[:, 1] > each[:, 0]) & (each[:, 0] >= cuts[number]) & (each[:, 0] < cuts[number + 1])
        # A token counts by its last character: with byte-level tokenisers its first may be the space before it.
        last = each[:, 1] - 1
        in_chunk = {i: np.flatnonzero(own & (last >= start) & (last < end)) for i, (start, end) in enumerate(chunks)}
        found.append({i: places for i, places in in_chunk.items() if len(places)})
    return found


def _places(
    batch: TokenBatch, members: Sequence[dict[int, NDArray[np.int64]]]
) -> tuple[list[int], list[NDArray[np.int64]], list[int]]:
    """The chunks in a batch's windows: row of the batch, places of the tokens, number of the chunk."""
    listed = [
        (row, places, number)
        for row, window in enumerate(batch.rows)
        for number, places in members[int(window)].items()
    ]
    return [each[0] for each in listed], [each[1] for each in listed], [each[2] for each in listed]


@torch.inference_mode()
def _pool(
    backbone: Backbone, pooling: Pooling, batch: TokenBatch, rows: Sequence[int], places: Sequence[NDArray[np.int64]]
) -> tuple[Tensor, Tensor]:
    """Each chunk's vector within its window (C, O), and how many tokens it stands for (C,)."""
    chosen = torch.zeros(len(rows), batch.ids.shape[1], dtype=torch.bool, device=backbone.device)  # (C, L)
    for chunk, here in enumerate(places):
        chosen[chunk, torch.from_numpy(here)] = True
    row = torch.tensor(rows, device=backbone.device)
    ids = torch.from_numpy(batch.ids).to(backbone.device)
    if not pooling.drops:
        by_layer, _ = backbone.hidden_states(batch, pooling.layers)
        states, places_of, mask = _pick(torch.cat(by_layer, dim=-1), row, chosen)
        pooled: Pooled = pooling(states, mask, ids[row].gather(1, places_of))
        return pooled.vector, mask.sum(1).float()

    def choose(states: Tensor, mask: Tensor) -> Tensor:
        pooled: Pooled = pooling(states, mask, ids)
        assert pooled.logits is not None
        of_chunk = torch.where(chosen, pooled.logits[row], torch.finfo(torch.float32).min)  # (C, L)
        surest = torch.zeros_like(pooled.logits).index_put((row, of_chunk.argmax(1)), torch.ones(()).to(of_chunk))
        return (pooled.weights > 0) | (surest > 0)

    drop = backbone.drop(torch.from_numpy(batch.ids).to(backbone.device), pooling.layers, choose)
    whole, _ = backbone.hidden_states(batch, (-1,) if pooling.mix_weight < 1 else (), [drop])
    stays = chosen & drop.stays[row]  # (C, L)
    vectors = _means(drop.states, stays, row)
    if whole:
        vectors = torch.lerp(_means(whole[0], chosen, row), vectors, pooling.mix_weight)
    return vectors, stays.sum(1).float()


def _means(states: Tensor, of: Tensor, row: Tensor) -> Tensor:
    """The mean of each chunk's tokens: states (B, L, D), tokens (C, L), the chunks' rows (C,) -> (C, D)."""
    return torch.einsum("cl,cld->cd", of / of.sum(1, keepdim=True), real_states(states[row], of))


def _pick(states: Tensor, row: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The chunks' own tokens moved to the front: (C, L', S·D), their places (C, L') and a mask (C, L')."""
    counts = chosen.sum(1)
    order = torch.argsort((~chosen).to(torch.uint8), dim=1, stable=True)[:, : int(counts.max())]
    mask = torch.arange(order.shape[1], device=states.device) < counts[:, None]
    return torch.take_along_dim(states[row], order[..., None], dim=1), order, mask
