"""Late chunking: the chunks of a text, each pooled over states that saw the whole window around it.

Source: Günther et al., "Late Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models", 2024, arXiv
2409.04701. There each chunk is mean-pooled; here any pooling reads it, so a head leaves out a chunk's noise. Texts
longer than the backbone's limit go through in windows, each of which repeats a quarter of the one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.embedder import Vectors
from glot_rag.encoder.encoding import unit
from glot_rag.errors import InputError
from glot_rag.head import Pooled, Pooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.pruning import mix
from glot_rag.models.tokenizer import TokenBatch, TokenisedText, pack


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
    for; so mean pooling is exact, and memory is bounded by the windows of a batch. A head in the drop form scores and
    drops tokens with the whole window in sight, but the surest token of a chunk always stays.

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
        here = [
            (number, _Part(row, places))
            for row, window in enumerate(batch.rows)
            for number, places in members[int(window)].items()
        ]
        if here:
            numbers, parts = zip(*here, strict=True)
            pool = _pool_pruned if pooling.drops else _pool
            vectors, weights = pool(backbone, pooling, batch, parts)
            np.add.at(sums, list(numbers), (vectors * weights[:, None]).cpu().numpy())
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
    starts, ends = np.array(chunks, np.int64).reshape(-1, 2).T
    bounds = [np.array(window.spans, np.int64).reshape(-1, 2) for window in windows]
    # Two windows share some tokens: the first half of those is the first window's, the rest the second's, so that each
    # token has as much text on both sides as there is.
    real = [each[each[:, 1] > each[:, 0]] for each in bounds]
    cuts = [0]
    for before, after in itertools.pairwise(real):
        cuts.append(int(after[0, 0] + before[-1, 1]) // 2)
    cuts.append(np.iinfo(np.int64).max)
    for number, each in enumerate(bounds):
        own = (each[:, 1] > each[:, 0]) & (each[:, 0] >= cuts[number]) & (each[:, 0] < cuts[number + 1])
        # A token belongs where its last character is: with byte-level tokenisers its first may be the space before it.
        last = each[:, 1] - 1
        in_window: dict[int, NDArray[np.int64]] = {}
        if own.any():
            for chunk in np.flatnonzero((starts <= last[own].max()) & (ends > last[own].min())).tolist():
                places = np.flatnonzero(own & (last >= starts[chunk]) & (last < ends[chunk]))
                if len(places):
                    in_window[chunk] = places
        found.append(in_window)
    return found


class _Part(NamedTuple):
    """What one window holds of a chunk: the window's row in its batch, and the places of the tokens in the row."""

    row: int
    places: NDArray[np.int64]


@torch.inference_mode()
def _pool(backbone: Backbone, pooling: Pooling, batch: TokenBatch, parts: Sequence[_Part]) -> tuple[Tensor, Tensor]:
    """Each part's vector (C, O), and how many tokens it stands for (C,)."""
    by_layer, _ = backbone.hidden_states(batch, pooling.layers)
    states = torch.cat(by_layer, dim=-1)
    ids = torch.from_numpy(batch.ids).to(states.device)
    rows = torch.tensor([part.row for part in parts], device=states.device)
    vectors = states.new_empty(len(parts), pooling.output_size, dtype=torch.float32)
    # Parts of like length together: what is copied is no more than the tokens of the parts and a little padding.
    for some in pack([part.places.tolist() for part in parts], 0, batch.ids.size):
        chosen = torch.from_numpy(some.rows).to(states.device)
        places, mask = (torch.from_numpy(each).to(states.device) for each in (some.ids, some.mask))
        row = rows[chosen][:, None]
        vectors[chosen] = pooling(states[row, places], mask, ids[row, places]).vector
    return vectors, torch.tensor([len(part.places) for part in parts], device=states.device).float()


@torch.inference_mode()
def _pool_pruned(
    backbone: Backbone, pooling: Pooling, batch: TokenBatch, parts: Sequence[_Part]
) -> tuple[Tensor, Tensor]:
    """`_pool` for a pooling that drops tokens inside the backbone, with the whole window in sight."""
    ids, mask = (torch.from_numpy(each).to(backbone.device) for each in (batch.ids, batch.mask))
    lengths = [len(part.places) for part in parts]
    # One entry a token of a part: its part's number, its row and its place.
    part = torch.arange(len(parts)).repeat_interleave(torch.tensor(lengths)).to(ids.device)
    row = torch.tensor([each.row for each in parts]).to(ids.device)[part]
    place = torch.from_numpy(np.concatenate([each.places for each in parts])).to(ids.device)

    def choose(states: Tensor, mask: Tensor) -> Tensor:
        pooled: Pooled = pooling(states, mask, ids)
        assert pooled.logits is not None
        logits = pooled.logits.float()[row, place]
        highest = logits.new_full((len(parts),), -torch.inf).scatter_reduce(0, part, logits, "amax")
        surest = torch.zeros_like(mask).index_put((row, place), logits == highest[part], accumulate=True)
        return (pooled.weights > 0) | surest

    def means(states: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of each part's tokens (C, D), of those alone for which `of` is true; and their numbers (C,)."""
        sums = torch.zeros(len(parts), states.shape[-1], device=ids.device)
        sums.index_add_(0, part[of], states[row[of], place[of]].float())
        counts = torch.bincount(part[of], minlength=len(parts)).float()
        return sums / counts[:, None], counts

    whole, (kept,) = backbone.run(
        ids, mask, (-1,) if pooling.mix_weight < 1 else (), [backbone.pruning(ids, pooling.layers, choose)]
    )
    vectors, counts = means(kept.states, kept.stays[row, place])
    if whole:
        vectors = mix(vectors, means(whole[0], torch.ones_like(place, dtype=torch.bool))[0], pooling.mix_weight)
    return vectors, counts
