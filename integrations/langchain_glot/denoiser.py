"""`GlotDenoiser`: LangChain's document transformer over a `Denoiser`, for any embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import BaseDocumentTransformer, Document
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from glot_rag.documents.groups import groups_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from glot_rag import Denoiser

KEPT, SPANS = "glot_kept", "glot_spans"


class GlotDenoiser(BaseModel, BaseDocumentTransformer):
    """Drops what looks like noise (menus, cookie notices, footers) from documents. Put it before the text splitter.

    The model is loaded when the object is made, so that a wrong name is told at once. Calls are safe between threads;
    the async method runs in a thread.

    Args:
        model: "minilm", a hub id or a directory (`Denoiser.from_pretrained`), or one that `save` wrote.
        head: directory of a trained head; None takes the one shipped for the model.
        threshold: what is noise with a higher probability (0 to 1) is dropped; None is the model's own.
        device: "cpu", "cuda", …; None chooses.
        dtype: "float32", "float16" or "bfloat16"; None chooses.
        group_key: metadata key that names a document's group, such as its site. What recurs within a group is noise in
            it, once the denoiser is fitted. None: its sender, the host of its URL or its folder
            (`glot_rag.documents.groups`).

    Raises:
        ModelNotFoundError, MissingExtraError: as `Denoiser.from_pretrained`.
        pydantic.ValidationError: an unknown argument, or one that `Denoiser.from_pretrained` refuses with an InputError
            or BundleError; its message is in it.

    Example:
        >>> from langchain_glot import GlotDenoiser
        >>> denoiser = GlotDenoiser(group_key="host").fit(documents)  # doctest: +SKIP
        >>> clean = denoiser.transform_documents(documents)  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    # Frozen: the model is loaded already.
    model: str = Field(default="minilm", frozen=True)
    head: str | None = Field(default=None, frozen=True)
    threshold: float | None = Field(default=None, frozen=True)
    device: str | None = Field(default=None, frozen=True)
    dtype: str | None = Field(default=None, frozen=True)
    group_key: str | None = Field(default=None, frozen=True)

    _denoiser: Denoiser = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the denoiser."""
        from glot_rag import Denoiser  # here, as it needs torch and the rest of this package does not

        self._denoiser = Denoiser.from_pretrained(
            self.model, head=self.head, threshold=self.threshold, device=self.device, dtype=self.dtype
        )

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser, for `save`, `fingerprint` and the rest of what it does."""
        return self._denoiser

    def fit(self, documents: Sequence[Document]) -> Self:
        """A denoiser that takes what recurs in these documents for noise: see `Denoiser.fit`.

        Raises:
            InputError: too few documents.
        """
        fitted = self.model_copy()
        fitted._denoiser = self._denoiser.fit(_texts(documents), self._groups(documents))
        return fitted

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """N documents -> N new ones with the clean text; ids and metadata stay, those given are not changed.

        Two keys are added to the metadata: `glot_kept`, the share of the words that was kept (0 to 1), and
        `glot_spans`, where that stood in the given text, a list of [start, end].
        """
        cleaned = self._denoiser.denoise(_texts(documents), self._groups(documents))
        return [
            Document(
                id=document.id,
                page_content=each.text,
                metadata={**document.metadata, KEPT: each.kept, SPANS: [list(span) for span in each.spans]},
            )
            for document, each in zip(documents, cleaned, strict=True)
        ]

    async def atransform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """As `transform_documents`, in a thread."""
        return await asyncio.to_thread(self.transform_documents, documents)

    def _groups(self, documents: Sequence[Document]) -> list[str] | None:
        return groups_of([document.metadata for document in documents], self.group_key)


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
