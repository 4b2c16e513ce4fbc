"""What a search gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glot_rag.documents.document import Document

__all__ = ["Document", "Hit"]


@dataclass(frozen=True)
class Hit:
    """One found document.

    Attributes:
        id: The document's id.
        score: Inner product of the unit vectors of query and document (their cosine), in [-1, 1] up to rounding.
        text: The document's text.
        metadata: The document's metadata.
    """

    id: str
    score: float
    text: str
    metadata: Mapping[str, Any] = field(hash=False)
