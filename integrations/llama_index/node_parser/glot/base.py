"""`GlotDenoiser`: LlamaIndex's transformation over a `Denoiser`, for any embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode, TransformComponent
from pydantic import ConfigDict, Field, PrivateAttr

from glot_rag.documents.groups import groups_of
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from glot_rag import Denoiser

KEPT, SPANS = "glot_kept", "glot_spans"


class GlotDenoiser(TransformComponent):
    """Drops what looks like noise (menus, cookie notices, footers) from documents. Put it before the node parser.

    The model is loaded when the object is made, so that a wrong name is told at once. Calls are safe between threads;
    the async call runs in a thread. A pipeline's cache knows the object by its settings; a fitted one also by what it
    was fitted to.

    Args:
        model_name: "minilm", a hub id or a directory (`Denoiser.from_pretrained`), or one that `save` wrote.
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
        >>> from llama_index.core.ingestion import IngestionPipeline
        >>> from llama_index.node_parser.glot import GlotDenoiser
        >>> denoiser = GlotDenoiser(group_key="host").fit(documents)  # doctest: +SKIP
        >>> IngestionPipeline(transformations=[denoiser, SentenceSplitter()])  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid")

    # Frozen: the model is loaded already.
    model_name: str = Field(default="minilm", frozen=True)
    head: str | None = Field(default=None, frozen=True)
    threshold: float | None = Field(default=None, frozen=True)
    device: str | None = Field(default=None, frozen=True)
    dtype: str | None = Field(default=None, frozen=True)
    group_key: str | None = Field(default=None, frozen=True)
    fitted_to: str | None = Field(default=None, frozen=True, description="Set by `fit`: the denoiser's fingerprint.")

    _denoiser: Denoiser = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the denoiser."""
        if self.fitted_to is not None:
            raise InputError("what a denoiser was fitted to is not in its settings: save it, and give model_name=PATH")
        from glot_rag import Denoiser  # here, as it needs torch and the rest of this package does not

        self._denoiser = Denoiser.from_pretrained(
            self.model_name, head=self.head, threshold=self.threshold, device=self.device, dtype=self.dtype
        )

    @classmethod
    def class_name(cls) -> str:
        """The name in `to_dict`."""
        return "GlotDenoiser"

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser, for `save`, `fingerprint` and the rest of what it does."""
        return self._denoiser

    def fit(self, nodes: Sequence[BaseNode]) -> Self:
        """A denoiser that takes what recurs in these documents or nodes for noise: see `Denoiser.fit`.

        Raises:
            InputError: too few of them.
        """
        denoiser = self._denoiser.fit(_texts(nodes), self._groups(nodes))
        fitted = self.model_copy(update={"fitted_to": denoiser.fingerprint})
        fitted._denoiser = denoiser
        return fitted

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """N documents or nodes -> N new ones with the clean text; ids, relationships and metadata stay.

        Two keys are added to the metadata: `glot_kept`, the share of the words that was kept (0 to 1), and
        `glot_spans`, where that stood in the given text, a list of [start, end]. Neither is embedded or shown to a
        language model.

        Raises:
            InputError: a node that has no text, such as an image.
        """
        cleaned = self._denoiser.denoise(_texts(nodes), self._groups(nodes))
        return [
            _with_text(node, each.text, {KEPT: each.kept, SPANS: [list(span) for span in each.spans]})
            for node, each in zip(nodes, cleaned, strict=True)
        ]

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """As a call, in a thread."""
        return await asyncio.to_thread(self, nodes, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """The settings without the model: the receiver loads it.

        Raises:
            InputError: the denoiser is fitted, which its settings do not say.
        """
        if self.fitted_to is not None:
            raise InputError(
                "a fitted denoiser cannot be sent to another process: save it with denoiser.save(PATH), and make "
                "GlotDenoiser(model_name=PATH)"
            )
        return {"__dict__": dict(self.__dict__)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model again."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def _groups(self, nodes: Sequence[BaseNode]) -> list[str] | None:
        return groups_of([node.metadata for node in nodes], self.group_key)


def _texts(nodes: Sequence[BaseNode]) -> list[str]:
    for node in nodes:
        if not isinstance(node, (Document, TextNode)):
            raise InputError(f"node {node.node_id!r} is a {type(node).__name__}, which has no text to clean")
    return [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes]


def _with_text(node: BaseNode, text: str, added: dict[str, Any]) -> BaseNode:
    """A copy of a node with another text and more metadata, hidden from embedding and language models."""
    copy = node.model_copy(deep=True)
    copy.set_content(text)
    copy.metadata.update(added)
    copy.excluded_embed_metadata_keys = [*copy.excluded_embed_metadata_keys, *added]
    copy.excluded_llm_metadata_keys = [*copy.excluded_llm_metadata_keys, *added]
    return copy
