"""`GlotTextEmbedder` for queries, `GlotDocumentEmbedder` for documents: Haystack components over one encoder."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from typing import Any, TypedDict

from haystack import Document, component, default_from_dict, default_to_dict
from typing_extensions import Unpack

from glot_rag.encoder.base import GlotEncoder
from glot_rag.errors import InputError


@functools.lru_cache(maxsize=2)
def _encoder(options: tuple[tuple[str, Any], ...]) -> GlotEncoder:
    """One encoder for the two components of a pipeline that were made with the same settings."""
    return GlotEncoder.from_pretrained(**dict(options))


class EncoderOptions(TypedDict, total=False):
    """Keywords of both components; as `GlotEncoder.from_pretrained`, which has the default for each."""

    backend: str | None
    pooling: str | None
    head: str | None
    device: str | None
    dtype: str | None
    max_tokens: int | None
    query_prompt: str | None
    document_prompt: str | None
    denoise: bool | None


class _Embedder:
    """What the pair has in common: the encoder's settings and its loading."""

    def __init__(self, model: str = "minilm", **options: Unpack[EncoderOptions]) -> None:
        if unknown := sorted(set(options) - set(EncoderOptions.__annotations__)):
            raise InputError(
                f"unknown arguments: {', '.join(unknown)}; known: {', '.join(EncoderOptions.__annotations__)}"
            )
        self.model = model
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


@component
class GlotTextEmbedder(_Embedder):
    """Embeds a query.

    Args:
        model: "minilm", "smollm2", a hub id, a directory, a saved encoder (`GlotEncoder.from_pretrained`), or an
            exported one (`glot-rag export`).
        options: `EncoderOptions`: backend ("torch", "onnx" or "openvino"), pooling ("glot", "adapool", "mean", "max",
            "cls" or "last"), head, device, dtype, max_tokens, query_prompt, document_prompt, denoise. Give both
            components the same.

    Raises:
        InputError: an unknown argument.

    Example:
        >>> from haystack_integrations.components.embedders.glot import GlotTextEmbedder
        >>> GlotTextEmbedder().run("how do I renew my passport?")["embedding"]  # doctest: +SKIP
    """

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """One query -> its unit vector as `embedding`.

        Raises:
            InputError: not a string; documents go to `GlotDocumentEmbedder`.
        """
        if not isinstance(text, str):
            raise InputError(f"expected a string, got {type(text).__name__}; documents go to GlotDocumentEmbedder")
        return {"embedding": self.encoder.encode_queries([text])[0].tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, list[float]]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, text)

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        return default_to_dict(self, model=self.model, **self._options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotTextEmbedder:
        """Back from `to_dict`; the encoder is loaded later."""
        made: GlotTextEmbedder = default_from_dict(cls, data)
        return made


@component
class GlotDocumentEmbedder(_Embedder):
    """Embeds documents.

    Args:
        model: this and the other settings are those of `GlotTextEmbedder`.
        meta_fields_to_embed: metadata that are put before the text.
        embedding_separator: put between them, and before the text.
        progress_bar: draw one on stderr.
        options: as `GlotTextEmbedder`.

    Raises:
        InputError: an unknown argument.

    Example:
        >>> from haystack import Document
        >>> from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder
        >>> GlotDocumentEmbedder().run([Document(content="…")])["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "minilm",
        *,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        progress_bar: bool = False,
        **options: Unpack[EncoderOptions],
    ) -> None:
        _Embedder.__init__(self, model, **options)  # super() does not see that the decorator makes a new class
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator
        self.progress_bar = progress_bar

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """N documents -> N new ones with their `embedding`, under `documents`; those given are not changed.

        Raises:
            InputError: not a list of documents; a query goes to `GlotTextEmbedder`.
        """
        if not isinstance(documents, list) or not all(isinstance(each, Document) for each in documents):
            raise InputError(f"expected a list of Documents, got {documents!r:.80}; a query goes to GlotTextEmbedder")
        texts = [self._text(document) for document in documents]
        vectors = self.encoder.encode_documents(texts, show_progress=self.progress_bar).tolist()
        pairs = zip(documents, vectors, strict=True)
        return {"documents": [dataclasses.replace(document, embedding=vector) for document, vector in pairs]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, documents)

    def _text(self, document: Document) -> str:
        fields = [document.meta.get(field) for field in self.meta_fields_to_embed]
        parts = [*(str(value) for value in fields if value is not None), document.content or ""]
        return self.embedding_separator.join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        own = {
            "meta_fields_to_embed": self.meta_fields_to_embed,
            "embedding_separator": self.embedding_separator,
            "progress_bar": self.progress_bar,
        }
        return default_to_dict(self, model=self.model, **own, **self._options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotDocumentEmbedder:
        """Back from `to_dict`; the encoder is loaded later."""
        made: GlotDocumentEmbedder = default_from_dict(cls, data)
        return made
