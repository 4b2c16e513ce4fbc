"""`GlotEvidence`: a Haystack component that says of each document which of its lines match the query."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.glot.embedders import OPTIONS, Embedder

from glot_rag.errors import InputError, UnsupportedError

EVIDENCE = "glot_evidence"


@component
class GlotEvidence(Embedder):
    """Puts into each document's `meta`, as `glot_evidence`, its lines that match the query. Put it after a retriever.

    The encoder reads the documents once more. Give it the settings of the embedders: they share the model.

    Args:
        model: as `GlotTextEmbedder`.
        prefix: put before the query, as in `GlotTextEmbedder`.
        suffix: put after it.
        lines: how many at most, of each document.
        backend, pooling, head, device, dtype, max_tokens, denoise: as `GlotTextEmbedder`.

    Raises:
        InputError: `lines` below 1.

    Example:
        >>> from haystack_integrations.components.embedders.glot import GlotEvidence
        >>> GlotEvidence().run("hot water", documents)["documents"][0].meta["glot_evidence"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "minilm",
        *,
        prefix: str = "",
        suffix: str = "",
        lines: int = 3,
        backend: str | None = None,
        pooling: str | None = None,
        head: str | os.PathLike[str] | None = None,
        device: str | ComponentDevice | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
        denoise: bool | None = None,
    ) -> None:
        given = locals()
        if lines < 1:
            raise InputError(f"lines must be 1 or more, got {lines}")
        Embedder.__init__(self, model, prefix, suffix, {name: given[name] for name in OPTIONS})
        self.lines = lines

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """N documents -> N new ones, in the same order; those given are not changed.

        `glot_evidence` is a list of [start, end, part of the score], the line that adds most first. It is empty for a
        document without text, and where no line adds to the score.

        Raises:
            UnsupportedError: the encoder cannot explain.
        """
        if "explain" not in self.encoder.capabilities:
            raise UnsupportedError(f"evidence needs an encoder that can explain; {self.model!r} cannot")
        asked = f"{self.prefix}{query}{self.suffix}"
        found = [
            dataclasses.replace(document, meta={**document.meta, EVIDENCE: self._lines(document.content, asked)})
            for document in documents
        ]
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, documents: list[Document]) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, query, documents)

    def _lines(self, text: str | None, query: str) -> list[list[float]]:
        return [list(span) for span in self.encoder.explain(text, query).best_spans(self.lines)] if text else []

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        own = ("model", "prefix", "suffix", "lines")
        return default_to_dict(self, **{name: getattr(self, name) for name in own}, **self._options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotEvidence:
        """Back from `to_dict`; the encoder is loaded later."""
        made: GlotEvidence = default_from_dict(cls, data)
        return made
