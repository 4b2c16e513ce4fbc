"""What the head takes for signal in a document that was found, for its metadata."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from glot_rag.config import TRAINED_POOLINGS
from langchain_glot.adapter import glot_inside

EVIDENCE = "glot_evidence"


def tells_noise(embeddings: Embeddings) -> bool:
    """True for `GlotEmbeddings` with a trained pooling, in a cache or not."""
    glot = glot_inside(embeddings)
    return glot is not None and glot.encoder.pooling.name in TRAINED_POOLINGS


def evidence_of(embeddings: Embeddings, text: str) -> dict[str, Any]:
    """The kept words, their spans in the text and their share, as JSON holds them; for what `tells_noise`."""
    glot = glot_inside(embeddings)
    assert glot is not None
    denoised = glot.encoder.denoise(text)
    return {"text": denoised.text, "spans": [list(span) for span in denoised.spans], "kept": denoised.kept}
