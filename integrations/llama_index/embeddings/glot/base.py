"""`GlotEmbedding`: LlamaIndex's embedding interface over a `GlotEncoder` or an exported one."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import ConfigDict, Field, PrivateAttr

from glot_rag.encoder.base import GlotEncoder
from glot_rag.errors import InputError


class GlotEmbedding(BaseEmbedding):
    """Embed nodes and queries with GLOT.

    The model is loaded when the object is made, so that a wrong name is told at once. Calls are safe between threads;
    the async methods run in a thread and never block the event loop. `to_dict` and copies between processes carry the
    settings; the model is loaded again on the other side.

    Args:
        model_name: "minilm", "smollm2", a hub id, a directory, a saved encoder (`GlotEncoder.from_pretrained`), or an
            exported one (`glot-rag export`), which needs no torch.
        backend: "torch", "onnx" or "openvino"; None is what the model calls for.
        pooling: "glot", "adapool", "mean", "max", "cls" or "last"; None is the model's own, which is "glot".
        head: directory of a trained head; None takes the one shipped for the model.
        device: "cpu", "cuda", …; None chooses.
        dtype: "float32", "float16" or "bfloat16"; None chooses.
        max_tokens: longest input; None is the model's own limit.
        query_prompt: put before queries.
        document_prompt: put before documents.
        denoise: True drops noisy lines and words from documents before they are embedded, False nothing; None is the
            saved encoder's choice, or what the model's head says: that of "minilm" drops noisy lines.
        show_progress: draw LlamaIndex's progress bar for every list of texts, not only where a call asks for it.
        embeddings_cache: LlamaIndex's cache of vectors. It knows a vector by its text alone, so that a query that is
            also a document's text would get the document's vector: only an encoder that treats both alike may have one.

    Raises:
        ModelNotFoundError, MissingExtraError: as `GlotEncoder.from_pretrained`.
        pydantic.ValidationError: an unknown argument, a cache where queries and documents differ, or an argument that
            `GlotEncoder.from_pretrained` refuses with an InputError or BundleError; its message is in it.

    Example:
        >>> from llama_index.embeddings.glot import GlotEmbedding
        >>> embedding = GlotEmbedding()  # doctest: +SKIP
        >>> vector = embedding.get_query_embedding("how do I renew my passport?")  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid")

    # Frozen: the model is loaded already, and a cache was looked at already.
    model_name: str = Field(default="minilm", frozen=True)
    backend: str | None = Field(default=None, frozen=True)
    pooling: str | None = Field(default=None, frozen=True)
    head: str | None = Field(default=None, frozen=True)
    device: str | None = Field(default=None, frozen=True)
    dtype: str | None = Field(default=None, frozen=True)
    max_tokens: int | None = Field(default=None, frozen=True)
    query_prompt: str | None = Field(default=None, frozen=True)
    document_prompt: str | None = Field(default=None, frozen=True)
    denoise: bool | None = Field(default=None, frozen=True)
    embeddings_cache: Any | None = Field(default=None, frozen=True)
    show_progress: bool = False
    # Batches are packed by tokens further down: the larger the list that arrives there, the less padding.
    embed_batch_size: int = Field(default=512, gt=0, le=2048)

    _encoder: GlotEncoder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the encoder."""
        self._encoder = GlotEncoder.from_pretrained(
            self.model_name,
            backend=self.backend,
            pooling=self.pooling,
            head=self.head,
            device=self.device,
            dtype=self.dtype,
            max_tokens=self.max_tokens,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            denoise=self.denoise,
        )
        if self.embeddings_cache is not None and not self._encoder.embeds_alike:
            raise InputError(
                "embeddings_cache knows a vector by its text alone, and this encoder embeds queries and documents "
                "differently: a query could get a document's vector. Leave embeddings_cache out, or cache nodes with "
                "IngestionPipeline(cache=...)"
            )

    def __getstate__(self) -> dict[str, Any]:
        """The settings without the model: the receiver loads it."""
        # LlamaIndex's own method would write the weights. Callbacks and rate limiters belong to this process.
        left_out = {"callback_manager", "rate_limiter"}
        return {"__dict__": {name: value for name, value in self.__dict__.items() if name not in left_out}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model again. LlamaIndex's own method would hide that it cannot be."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    @classmethod
    def class_name(cls) -> str:
        """The name in `to_dict`."""
        return "GlotEmbedding"

    @property
    def encoder(self) -> GlotEncoder:
        """The encoder, for `GlotIndex` and `explain`."""
        return self._encoder

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: Any) -> list[Embedding]:
        """N texts -> N unit vectors as lists of floats."""
        return super().get_text_embedding_batch(texts, show_progress or self.show_progress, **kwargs)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """As `get_text_embedding_batch`, in a thread."""
        return await super().aget_text_embedding_batch(texts, show_progress or self.show_progress, **kwargs)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self._encoder.encode_documents(texts).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: Embedding = self._encoder.encode_queries([query])[0].tolist()
        return vector

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)
