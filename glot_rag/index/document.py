"""What goes into the index and what a search gives back."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, init=False)
class Document:
    """A text with an id and metadata. Checked when it is added to an index, not when it is made.

    Args:
        text: What is encoded and given back by a search.
        id: The caller's name for it, unique in an index; adding another document of that id replaces this one.
            None: a random UUID.
        metadata: A JSON object: str keys; values of str, int, float, bool, None, list and dict.
    """

    text: str
    id: str
    metadata: Mapping[str, Any] = field(hash=False)

    # Written by hand so that `id` may be None on the way in and is always a str on the way out.
    def __init__(self, text: str, id: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "id", str(uuid.uuid4()) if id is None else id)
        object.__setattr__(self, "metadata", {} if metadata is None else metadata)


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
