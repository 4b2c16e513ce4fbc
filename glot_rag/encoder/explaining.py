"""Evidence through torch: runs the backbone over one text and keeps what each token gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from glot_rag.denoise.block_evidence import BlockEvidence, block_evidence
from glot_rag.encoder.encoding import Read, pool_batch
from glot_rag.encoder.evidence import Evidence, ReadTokens, character_places, dropped_parts, token_evidence
from glot_rag.head import GlotHead, Pooling
from glot_rag.models.tokenizer import TokenBatch, check_texts

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import TorchEncoder


def explain(encoder: TorchEncoder, text: str, query: str | None = None) -> Evidence:
    """See `GlotEncoder.explain`."""
    (clean,) = check_texts([text])
    query_vector = None if query is None else encoder.encode_queries([query])[0]
    denoiser, prompt = encoder.denoiser, encoder.document_prompt
    denoised = None if denoiser is None else denoiser.denoise([clean])[0]
    ((ids, tokens, spans),) = encoder.backbone.tokenizer.with_offsets(
        [prompt + (clean if denoised is None else denoised.text)]
    )
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), np.bool_))
    poolings = {"head": encoder.pooling, **({} if denoised is None else {"vector": encoder.query_pooling})}
    found = pool_batch(encoder.backbone, poolings, batch, parts=True)
    scored, vector = found["head"], found.get("vector", found["head"])
    assert vector.parts is not None
    logits = scored.pooled.logits
    read = ReadTokens(
        tokens,
        spans,
        vector.pooled.weights[0].cpu().numpy(),
        None if logits is None else torch.sigmoid(-logits[0]).cpu().numpy(),
        vector.parts[0].float().cpu().numpy(),
    )
    evidence, score = token_evidence(read, character_places(clean, denoised, len(prompt)), query_vector)
    blocks = _blocks(encoder, clean)
    return Evidence(
        text=clean,
        tokens=evidence,
        graph=_graph(encoder.pooling, scored),
        denoised=denoised,
        query=query,
        score=score,
        dropped=() if denoised is None else dropped_parts(clean, denoised, () if blocks is None else blocks.reasons),
        blocks=blocks,
    )


@torch.inference_mode()
def _graph(pooling: Pooling, read: Read) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None:
    if not isinstance(pooling, GlotHead):
        return None
    graph: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = pooling.graph(read.states, read.mask)[0].cpu().numpy()
    return graph


def _blocks(encoder: TorchEncoder, text: str) -> BlockEvidence | None:
    denoiser = encoder.denoiser
    if denoiser is None or denoiser.block_head is None:
        return None
    config = denoiser.block_head.config
    return block_evidence(
        denoiser.backbone,
        denoiser.block_head,
        text,
        threshold=config.noise_threshold,
        similarity_threshold=config.block_threshold,
    )
