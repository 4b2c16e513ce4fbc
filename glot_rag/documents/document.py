"""A document: one text with a name, as a file gives it and as an index stores it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glot_rag.documents.blocks import Block


@dataclass(frozen=True, init=False)
class Document:
    """A text with an id and metadata. Checked when it is added to an index, not when it is made.

    Args:
        text: What is encoded and given back by a search. Line breaks separate its blocks.
        id: The caller's name for it, unique in an index; adding another document of that id replaces this one.
            None: a random UUID.
        metadata: A JSON object: str keys; values of str, int, float, bool, None, list and dict. Readers of files
            put `source` (where the document was read) and `title` there.
        blocks: The headings, paragraphs, list items … that a loader knows of, in order, with their places in the
            text. Empty where nothing is known. Not stored, and not part of comparisons.
    """

    text: str
    id: str
    metadata: Mapping[str, Any] = field(hash=False)
    blocks: tuple[Block, ...] = field(default=(), compare=False, repr=False)

    # Written by hand so that `id` may be None on the way in and is always a str on the way out.
    def __init__(
        self,
        text: str,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        blocks: Sequence[Block] = (),
    ) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "id", str(uuid.uuid4()) if id is None else id)
        object.__setattr__(self, "metadata", {} if metadata is None else metadata)
        object.__setattr__(self, "blocks", tuple(blocks))

    @property
    def source(self) -> str:
        """Where the document was read: `metadata["source"]`, else its id."""
        return str(self.metadata.get("source", self.id))

    @property
    def title(self) -> str:
        """`metadata["title"]`, or an empty text."""
        return str(self.metadata.get("title") or "")
