"""`GlotDenoiser`: a Haystack component over a `Denoiser`, for any embedder."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice

from glot_rag.documents.groups import groups_of
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from glot_rag import Denoiser

KEPT, SPANS = "glot_kept", "glot_spans"


@component
class GlotDenoiser:
    """Drops what looks like noise (menus, cookie notices, footers) from documents. Put it before the splitter.

    Args:
        model: "minilm", a hub id or a directory (`Denoiser.from_pretrained`), or one that `Denoiser.save` or
            `fit` wrote.
        head: directory of a trained head; None takes the one shipped for the model.
        threshold: what is noise with a higher probability (0 to 1) is dropped; None is the model's own.
        device: "cpu", "cuda", …, or a `ComponentDevice`; None chooses.
        dtype: "float32", "float16" or "bfloat16"; None chooses.
        group_key: key of the documents' `meta` that names a document's group, such as its site. What recurs within a
            group is noise in it, if the denoiser is fitted. None: its sender, the host of its URL or its folder
            (`glot_rag.documents.groups`).

    Example:
        >>> from haystack import Document
        >>> from haystack_integrations.components.preprocessors.glot import GlotDenoiser
        >>> denoiser = GlotDenoiser().fit(documents, "my-denoiser")  # doctest: +SKIP
        >>> denoiser.run([Document(content="…")])["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "minilm",
        *,
        head: str | os.PathLike[str] | None = None,
        threshold: float | None = None,
        device: str | ComponentDevice | None = None,
        dtype: str | None = None,
        group_key: str | None = None,
    ) -> None:
        self.model = os.fspath(model)  # a written pipeline holds texts
        self.head = None if head is None else os.fspath(head)
        self.threshold = threshold
        self.device = device.to_torch_str() if isinstance(device, ComponentDevice) else device
        self.dtype = dtype
        self.group_key = group_key
        self._loaded: Denoiser | None = None

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser, loaded when it is first asked for."""
        from glot_rag import Denoiser  # here, as it needs torch

        if self._loaded is None:
            self._loaded = Denoiser.from_pretrained(
                self.model, head=self.head, threshold=self.threshold, device=self.device, dtype=self.dtype
            )
        return self._loaded

    def warm_up(self) -> None:
        """Load the denoiser; a pipeline does this before its first run.

        Raises:
            ModelNotFoundError, BundleError, InputError, MissingExtraError: as `Denoiser.from_pretrained`.
        """
        _ = self.denoiser

    async def warm_up_async(self) -> None:
        """As `warm_up`, in a thread; a pipeline that runs asynchronously does this instead."""
        await asyncio.to_thread(self.warm_up)

    def fit(self, documents: list[Document], path: str | os.PathLike[str]) -> GlotDenoiser:
        """A component that takes what recurs in these documents for noise: see `Denoiser.fit`.

        Args:
            documents: the corpus.
            path: a directory that is empty or does not exist. The fitted denoiser is saved there, counts and no texts,
                and is the new component's `model`: so a pipeline that is written down finds it again.

        Raises:
            TypeError: not a list of documents.
            InputError: too few documents, one without text, or a directory with something else in it.
        """
        _check(documents)
        self.denoiser.fit(_texts(documents), self._groups(documents)).save(path)
        return GlotDenoiser(os.fspath(path), device=self.device, dtype=self.dtype, group_key=self.group_key)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """N documents -> N new ones with the clean text, under `documents`; those given are not changed.

        Ids and metadata stay. Two keys are added to `meta`: `glot_kept`, the share of the words that was kept (0 to 1),
        and `glot_spans`, where that stood in the given text, a list of [start, end].

        Raises:
            TypeError: not a list of documents.
            InputError: a document without text, such as an image.
        """
        _check(documents)
        cleaned = self.denoiser.denoise(_texts(documents), self._groups(documents))
        found = [
            dataclasses.replace(
                document,
                content=each.text,
                meta={**document.meta, KEPT: each.kept, SPANS: [list(span) for span in each.spans]},
            )
            for document, each in zip(documents, cleaned, strict=True)
        ]
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        return await asyncio.to_thread(self.run, documents)

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline that is written down."""
        settings = {
            name: getattr(self, name) for name in ("model", "head", "threshold", "device", "dtype", "group_key")
        }
        return default_to_dict(self, **settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GlotDenoiser:
        """Back from `to_dict`; the denoiser is loaded later."""
        made: GlotDenoiser = default_from_dict(cls, data)
        return made

    def _groups(self, documents: Sequence[Document]) -> list[str] | None:
        return groups_of([document.meta for document in documents], self.group_key)


def _check(documents: object) -> None:
    if not isinstance(documents, list) or not all(isinstance(each, Document) for each in documents):
        raise TypeError("GlotDenoiser expects a list of Documents as input.")


def _texts(documents: Sequence[Document]) -> list[str]:
    for document in documents:
        if document.content is None:
            raise InputError(f"document {document.id!r} has no text to clean: route such documents past the denoiser")
    return [document.content or "" for document in documents]
