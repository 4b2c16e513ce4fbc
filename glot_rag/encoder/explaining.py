"""Evidence through torch: runs the backbone over one text and keeps what each token gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.block_evidence import BlockEvidence, block_evidence
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.documents.blocks import has_lines, split_blocks
from glot_rag.encoder.encoding import pool_batch
from glot_rag.encoder.evidence import Evidence, ReadTokens, character_places, dropped_parts, token_evidence
from glot_rag.head import GlotHead
from glot_rag.models.tokenizer import TokenBatch, check_texts

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import TorchEncoder


def explain(encoder: TorchEncoder, text: str, query: str | None = None) -> Evidence:
    """See `GlotEncoder.explain`."""
    (clean,) = check_texts([text])
    query_vector = None if query is None else encoder.encode_queries([query])[0]
    denoiser, prompt = encoder.denoiser, encoder.document_prompt
    denoised = None if denoiser is None else denoiser.denoise([clean])[0]
    read_text = prompt + (clean if denoised is None else denoised.text)
    tokenizer = encoder.backbone.tokenizer
    windows = tokenizer.in_full_with_offsets(read_text) if encoder.whole else tokenizer.with_offsets([read_text])
    found = [_read(encoder, window.ids) for window in windows]
    # A document is the mean of its windows, each weighted by its tokens.
    shares = np.array([len(window.ids) for window in windows]) / sum(len(window.ids) for window in windows)
    read = ReadTokens(
        [token for window in windows for token in window.tokens],
        [span for window in windows for span in window.spans],
        np.concatenate([share * each.weights for share, each in zip(shares, found, strict=True)]),
        None if found[0].noise is None else np.concatenate([each.noise for each in found if each.noise is not None]),
        np.concatenate([share * each.parts for share, each in zip(shares, found, strict=True)]),
    )
    evidence, score = token_evidence(read, character_places(clean, denoised, len(prompt)), query_vector)
    blocks = _blocks(encoder, clean)
    return Evidence(
        text=clean,
        tokens=evidence,
        graph=_graph(found),
        denoised=denoised,
        query=query,
        score=score,
        dropped=() if denoised is None else dropped_parts(clean, denoised, () if blocks is None else blocks.reasons),
        blocks=blocks,
    )


class _Window(NamedTuple):
    """What L tokens gave: their weights (L,), noise (L,), parts of the vector (L, O) and graph (L, L)."""

    weights: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    parts: NDArray[np.float32]
    graph: NDArray[np.bool_] | None


@torch.inference_mode()
def _read(encoder: TorchEncoder, ids: list[int]) -> _Window:
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), np.bool_))
    head, reading = encoder.pooling, encoder.reading_pooling
    poolings = {"head": head, **({} if reading is head else {"vector": reading})}
    found = pool_batch(encoder.backbone, poolings, batch, parts=True)
    scored, vector = found["head"], found.get("vector", found["head"])
    assert vector.parts is not None
    logits = scored.pooled.logits
    return _Window(
        vector.pooled.weights[0].cpu().numpy(),
        None if logits is None else torch.sigmoid(-logits[0]).cpu().numpy(),
        vector.parts[0].float().cpu().numpy(),
        head.graph(scored.states, scored.mask)[0].cpu().numpy() if isinstance(head, GlotHead) else None,
    )


def _graph(windows: list[_Window]) -> NDArray[np.bool_] | None:
    """(L, L): tokens of different windows are not joined."""
    places = np.cumsum([0, *(len(each.weights) for each in windows)])
    graph = np.zeros((places[-1], places[-1]), np.bool_)
    for each, start, end in zip(windows, places[:-1], places[1:], strict=True):
        if each.graph is None:
            return None
        graph[start:end, start:end] = each.graph
    return graph


def _blocks(encoder: TorchEncoder, text: str) -> BlockEvidence | None:
    denoiser = encoder.denoiser
    if not isinstance(denoiser, TorchDenoiser) or denoiser.block_head is None or not has_lines(text):
        return None
    counts = None if denoiser.recurrence is None else denoiser.recurrence.features(text, split_blocks(text))
    return block_evidence(
        denoiser.backbone,
        denoiser.block_head,
        text,
        threshold=denoiser.block_threshold,
        similarity_threshold=denoiser.block_head.config.block_threshold,
        counts=counts,
    )
