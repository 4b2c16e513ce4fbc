"""What the head takes for signal in a document that was found, for its metadata."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from glot_rag.errors import InputError
from glot_rag.head.config import TRAINED_POOLINGS
from glot_rag.onnx.encoder import OnnxEncoder
from langchain_glot.adapter import glot_inside

EVIDENCE = "glot_evidence"


def check_evidence(embeddings: Embeddings) -> None:
    """See whether `evidence_of` can be asked.

    Raises:
        InputError: not `GlotEmbeddings`, in a cache or not; no trained pooling; or an exported encoder.
    """
    glot = glot_inside(embeddings)
    if glot is None or isinstance(glot.encoder, OnnxEncoder) or glot.encoder.pooling.name not in TRAINED_POOLINGS:
        raise InputError(
            "evidence needs GlotEmbeddings with a trained pooling, 'glot' or 'adapool', that runs through torch"
        )


def evidence_of(embeddings: Embeddings, text: str) -> dict[str, Any]:
    """The kept words, their spans in the text and their share, as JSON holds them; after `check_evidence`."""
    glot = glot_inside(embeddings)
    assert glot is not None
    assert not isinstance(glot.encoder, OnnxEncoder)
    denoised = glot.encoder.denoise(text)
    return {"text": denoised.text, "spans": [list(span) for span in denoised.spans], "kept": denoised.kept}
