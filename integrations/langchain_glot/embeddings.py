"""`GlotEmbeddings`: LangChain's `Embeddings` interface over a `GlotEncoder` or an exported one."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from glot_rag.encoder.base import GlotEncoder


class GlotEmbeddings(BaseModel, Embeddings):
    """Embed documents and queries with GLOT.

    The model is loaded when the object is made, so that a wrong name is told at once. Calls are safe between threads;
    the async methods run in a thread and never block the event loop. Copies between processes carry the settings; the
    model is loaded again on the other side.

    Args:
        model: "minilm", "smollm2", a hub id, a directory, a saved encoder (`GlotEncoder.from_pretrained`), or an
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
        show_progress: draw a progress bar for `embed_documents`.

    Raises:
        ModelNotFoundError, MissingExtraError: as `GlotEncoder.from_pretrained`.
        pydantic.ValidationError: an unknown argument, or one that `GlotEncoder.from_pretrained` refuses with an
            InputError or BundleError; its message is in it.

    Example:
        >>> from langchain_glot import GlotEmbeddings
        >>> embeddings = GlotEmbeddings()  # doctest: +SKIP
        >>> vector = embeddings.embed_query("how do I renew my passport?")  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    # Frozen: the model is loaded already.
    model: str = Field(default="minilm", frozen=True)
    backend: str | None = Field(default=None, frozen=True)
    pooling: str | None = Field(default=None, frozen=True)
    head: str | None = Field(default=None, frozen=True)
    device: str | None = Field(default=None, frozen=True)
    dtype: str | None = Field(default=None, frozen=True)
    max_tokens: int | None = Field(default=None, frozen=True)
    query_prompt: str | None = Field(default=None, frozen=True)
    document_prompt: str | None = Field(default=None, frozen=True)
    denoise: bool | None = Field(default=None, frozen=True)
    show_progress: bool = False

    _encoder: GlotEncoder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the encoder."""
        self._encoder = GlotEncoder.from_pretrained(
            self.model,
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

    def __getstate__(self) -> dict[Any, Any]:
        """The settings without the model: the receiver loads it."""
        return {"__dict__": dict(self.__dict__)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Load the model again."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    @property
    def encoder(self) -> GlotEncoder:
        """The encoder, for `GlotIndex` and `explain`."""
        return self._encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """N texts -> N unit vectors as lists of floats.

        Raises:
            InputError: not a list of strings.
        """
        vectors: list[list[float]] = self._encoder.encode_documents(texts, show_progress=self.show_progress).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """One query -> one unit vector as a list of floats."""
        vector: list[float] = self._encoder.encode_queries([text])[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, in a thread."""
        return await asyncio.to_thread(self.embed_query, text)
