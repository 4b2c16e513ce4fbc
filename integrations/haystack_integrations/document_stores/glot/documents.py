"""Haystack's documents as those of a `GlotIndex`, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from haystack import Document

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.index import Document as IndexDocument

OWN = "_haystack"  # among the metadata: what a document of Haystack lacks that one of the index has


def to_index(document: Document) -> IndexDocument:
    """A document as it is stored.

    Raises:
        InputError: It has what the store cannot keep.
    """
    for name in ("blob", "sparse_embedding"):
        if getattr(document, name, None) is not None:
            raise InputError(f"document {document.id!r} has a {name}, which this store cannot keep; take it out")
    check_own(document.meta, f"document {document.id!r}")
    lacks = {
        **({"no_content": True} if document.content is None else {}),
        **({"no_embedding": True} if document.embedding is None else {}),
    }
    metadata = {**document.meta, OWN: lacks} if lacks else dict(document.meta)
    return IndexDocument(document.content or "", document.id, metadata)


def check_own(meta: Mapping[str, Any], what: str) -> None:
    """Refuse metadata that have the store's own field.

    Raises:
        InputError: They have.
    """
    if OWN in meta:
        raise InputError(f"{what} has the metadata field {OWN!r}, which the store needs; rename it")


def vector_of(document: Document, dimension: int) -> Sequence[float]:
    """The embedding; a placeholder, which no search compares, where there is none.

    Raises:
        InputError: It has another length than the store's.
    """
    if document.embedding is not None:
        if len(document.embedding) != dimension:
            raise InputError(
                f"document {document.id!r} has an embedding of {len(document.embedding)} numbers, this store takes "
                f"{dimension} (embedding_dim)"
            )
        return document.embedding
    return [1.0] + [0.0] * (dimension - 1)


def from_index(
    id: str, text: str, metadata: Mapping[str, Any], vector: Vectors | None, score: float | None = None
) -> Document:
    """A document as it was written, with its embedding where that is given."""
    lacks = metadata.get(OWN, {})
    return Document(
        id=id,
        content=None if "no_content" in lacks else text,
        meta={key: value for key, value in metadata.items() if key != OWN},
        embedding=None if vector is None or "no_embedding" in lacks else np.asarray(vector).tolist(),
        score=score,
    )
