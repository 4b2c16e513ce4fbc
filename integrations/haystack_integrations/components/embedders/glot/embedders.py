"""`GlotTextEmbedder` for queries, `GlotDocumentEmbedder` for documents: Haystack components over one encoder."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice

from glot_rag.encoder.base import GlotEncoder
from glot_rag.errors import InputError

OPTIONS = ("backend", "pooling", "head", "device", "dtype", "max_tokens", "denoise")


@functools.lru_cache(maxsize=2)
def _encoder(options: tuple[tuple[str, Any], ...]) -> GlotEncoder:
    """One encoder for the components of a pipeline that were made with the same settings."""
    return GlotEncoder.from_pretrained(**dict(options))


class Embedder:
    """What these components have in common: the encoder's settings and its loading."""

    def __init__(self, model: str | os.PathLike[str], prefix: str, suffix: str, options: dict[str, Any]) -> None:
        self.model = os.fspath(model)  # a written pipeline holds texts
        self.prefix = prefix
        self.suffix = suffix
        device = options["device"]
        options["device"] = device.to_torch_str() if isinstance(device, ComponentDevice) else device
        options["head"] = None if options["head"] is None else os.fspath(options["head"])
        self._options = options
        self._loaded: GlotEncoder | None = None

    @property
    def encoder(self) -> GlotEncoder:
        """The encoder, loaded when it is first asked for."""
        if self._loaded is None:
            self._loaded = _encoder((("name_or_path", self.model), *sorted(self._options.items())))
        return self._loaded

    def warm_up(self) -> None:
        """Load the encoder; a pipeline does this before its first run.

        Raises:
            ModelNotFoundError, BundleError, InputError, MissingExtraError: as `GlotEncoder.from_pretrained`.
        """
        _ = self.encoder

    async def warm_up_async(self) -> None:
        """As `warm_up`, in a thread; a pipeline that runs asynchronously does this instead."""
        await asyncio.to_thread(self.warm_up)

    def _meta(self) -> dict[str, Any]:
        return {"model": self.model, "fingerprint": self.encoder.fingerprint}


@component
class GlotTextEmbedder(Embedder):
    """Embeds a query.

    Args:
        model: "minilm", "smollm2", a hub id, a directory, a saved encoder (`GlotEncoder.from_pretrained`), or an
            exported one (`glot-rag export`).
        prefix: put before the query, for models that were trained with one ("query: ").
        suffix: put after it.
        backend, pooling, head, device, dtype, max_tokens, denoise: as `GlotEncoder.from_pretrained`, which has the
            default for each; `device` may be a `ComponentDevice`. Give both components the same: they share the model.

    Example:
        >>> from haystack_integrations.components.embedders.glot import GlotTextEmbedder
        >>> GlotTextEmbedder().run("how do I renew my passport?")["embedding"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "minilm",
        *,
        prefix: str = "",
        suffix: str = "",
        backend: str | None = None,
        pooling: str | None = None,
        head: str | os.PathLike[str] | None = None,
        device: str | ComponentDevice | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
        denoise: bool | None = None,
    ) -> None:
        given = locals()
        # super() does not see that the decorator makes a new class
        Embedder.__init__(self, model, prefix, suffix, {name: given[name] for name in OPTIONS})

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """One query -> its unit vector as `embedding`; `meta` names the model and the encoder's fingerprint.

        Raises:
            TypeError: not a string.
        """
        if not isinstance(text, str):
            raise TypeError(
                "GlotTextEmbedder expects a string as input. "
                "In case you want to embed a list of Documents, please use the GlotDocumentEmbedder."
            )
        vector = self.encoder.encode_queries([f"{self.prefix}{text}{self.suffix}"])[0]
        return {"embedding": vector.tolist(), "meta": self._meta()}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, text)

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        return default_to_dict(self, model=self.model, prefix=self.prefix, suffix=self.suffix, **self._options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotTextEmbedder:
        """Back from `to_dict`; the encoder is loaded later."""
        made: GlotTextEmbedder = default_from_dict(cls, data)
        return made


@component
class GlotDocumentEmbedder(Embedder):
    """Embeds documents.

    Args:
        model: as `GlotTextEmbedder`.
        prefix: put before each document's text and metadata, for models that were trained with one ("passage: ").
        suffix: put after the text.
        batch_size: documents embedded together. They are packed by their tokens further down: the more, the less
            padding.
        progress_bar: draw one on stderr.
        meta_fields_to_embed: metadata that are put before the text.
        embedding_separator: put between them, and before the text.
        backend, pooling, head, device, dtype, max_tokens, denoise: as `GlotTextEmbedder`.

    Raises:
        InputError: a `batch_size` below 1.

    Example:
        >>> from haystack import Document
        >>> from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder
        >>> GlotDocumentEmbedder().run([Document(content="…")])["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "minilm",
        *,
        prefix: str = "",
        suffix: str = "",
        batch_size: int = 512,
        progress_bar: bool = True,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        backend: str | None = None,
        pooling: str | None = None,
        head: str | os.PathLike[str] | None = None,
        device: str | ComponentDevice | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
        denoise: bool | None = None,
    ) -> None:
        given = locals()
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {batch_size}")
        Embedder.__init__(self, model, prefix, suffix, {name: given[name] for name in OPTIONS})
        self.batch_size = batch_size
        self.progress_bar = progress_bar
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """N documents -> N new ones with their `embedding`, under `documents`; those given are not changed.

        `meta` names the model and the encoder's fingerprint.

        Raises:
            TypeError: not a list of documents.
        """
        if not isinstance(documents, list) or not all(isinstance(each, Document) for each in documents):
            raise TypeError(
                "GlotDocumentEmbedder expects a list of Documents as input. "
                "In case you want to embed a string, please use the GlotTextEmbedder."
            )
        embedded: list[Document] = []
        for start in range(0, len(documents), self.batch_size):
            batch = documents[start : start + self.batch_size]
            texts = [self._text(document) for document in batch]
            vectors = self.encoder.encode_documents(texts, show_progress=self.progress_bar).tolist()
            embedded += map(_with_embedding, batch, vectors)
        return {"documents": embedded, "meta": self._meta()}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, documents)

    def _text(self, document: Document) -> str:
        fields = [document.meta.get(field) for field in self.meta_fields_to_embed]
        parts = [*(str(value) for value in fields if value is not None), document.content or ""]
        return f"{self.prefix}{self.embedding_separator.join(parts)}{self.suffix}"

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        own = ("model", "prefix", "suffix", "batch_size", "progress_bar", "meta_fields_to_embed", "embedding_separator")
        return default_to_dict(self, **{name: getattr(self, name) for name in own}, **self._options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotDocumentEmbedder:
        """Back from `to_dict`; the encoder is loaded later."""
        made: GlotDocumentEmbedder = default_from_dict(cls, data)
        return made


def _with_embedding(document: Document, vector: list[float]) -> Document:
    return dataclasses.replace(document, embedding=vector)
