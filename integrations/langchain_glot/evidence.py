"""What the head takes for signal in a document that was found, for its metadata."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from glot_rag.errors import InputError
from langchain_glot.adapter import glot_inside

EVIDENCE = "glot_evidence"


def check_evidence(embeddings: Embeddings) -> None:
    """See whether `evidence_of` can be asked.

    Raises:
        InputError: not `GlotEmbeddings`, in a cache or not, or an encoder that cannot denoise.
    """
    glot = glot_inside(embeddings)
    if glot is None or "denoise" not in glot.encoder.capabilities:
        raise InputError(
            "evidence needs GlotEmbeddings with a trained pooling, 'glot' or 'adapool', that runs through torch"
        )


def evidence_of(embeddings: Embeddings, text: str, query: str | None) -> dict[str, Any]:
    """The kept words, their spans in the text and their share, as JSON holds them; after `check_evidence`.

    With a query also `best`: the lines or sentences that add most to its score, as [start, end, part of the score].
    """
    glot = glot_inside(embeddings)
    assert glot is not None
    (denoised,) = glot.encoder.denoise([text])
    found = {"text": denoised.text, "spans": [list(span) for span in denoised.spans], "kept": denoised.kept}
    if query is not None:
        found["best"] = [list(span) for span in glot.encoder.explain(text, query).best_spans()]
    return found
