"""Several encoders over one backbone: one run of it serves them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glot_rag.embedder import Vectors
from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.encoding import pool_texts
from glot_rag.encoder.torch_encoder import FittedHeads, TorchEncoder, as_torch
from glot_rag.errors import InputError


def encode_documents_together(
    encoders: Mapping[str, GlotEncoder],
    texts: Sequence[str],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """Embed documents with several encoders that share a backbone, running it once.

    An encoder that denoises or reads whole documents sees other tokens than the rest, and takes a run of its own.

    Args:
        encoders: by name; all over the same `Backbone` object, with the same prompts (see `TorchEncoder.with_pooling`).
        texts: N strings.
        show_progress: draw a progress bar on stderr.
        batch_tokens: tokens a batch may hold; None is `Backbone.batch_tokens`.

    Returns:
        For each name what that encoder's `encode_documents` gives.

    Raises:
        InputError: the encoders do not share a backbone and prompts, or the texts are not a list of strings.
        UnsupportedError: an encoder does not run through torch.
    """
    checked = _over_one_backbone(encoders)
    first = next(iter(checked.values()))
    poolings = {name: each.pooling for name, each in checked.items() if not each.whole}
    vectors: dict[str, Vectors] = {}
    if poolings:
        vectors = pool_texts(
            first.backbone,
            poolings,
            texts,
            prompt=first.document_prompt,
            show_progress=show_progress,
            batch_tokens=batch_tokens,
        )
    for name in checked.keys() - poolings.keys():
        vectors[name] = checked[name].encode_documents(texts, show_progress=show_progress, batch_tokens=batch_tokens)
    return {name: vectors[name] for name in checked}


def encode_queries_together(
    encoders: Mapping[str, GlotEncoder],
    texts: Sequence[str],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """As `encode_documents_together`, for queries."""
    checked = _over_one_backbone(encoders)
    first = next(iter(checked.values()))
    return pool_texts(
        first.backbone,
        {name: encoder.query_pooling for name, encoder in checked.items()},
        texts,
        prompt=first.query_prompt,
        show_progress=show_progress,
        batch_tokens=batch_tokens,
    )


def fit_together(
    encoders: Mapping[str, GlotEncoder], documents: Sequence[str], groups: Sequence[str] | None = None
) -> dict[str, TorchEncoder]:
    """`TorchEncoder.fit` of several encoders over one backbone; those with the same head share the work."""
    heads: FittedHeads = {}
    return {name: as_torch(encoder).fit(documents, groups, heads=heads) for name, encoder in encoders.items()}


def _over_one_backbone(encoders: Mapping[str, GlotEncoder]) -> dict[str, TorchEncoder]:
    checked = {name: as_torch(encoder) for name, encoder in encoders.items()}
    if not checked:
        raise InputError("expected at least one encoder, got none")
    first = next(iter(checked.values()))
    for name, encoder in checked.items():
        same_prompts = (encoder.query_prompt, encoder.document_prompt) == (first.query_prompt, first.document_prompt)
        if encoder.backbone is not first.backbone or not same_prompts:
            raise InputError(f"encoder {name!r} has another backbone or other prompts: make it with with_pooling()")
    return checked
