"""Denoises a store's documents before they are embedded. The texts that are stored stay those that were given."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, Union, runtime_checkable

from langchain_core.embeddings import Embeddings

from glot_rag.documents.clean import join_runs
from glot_rag.documents.groups import groups_of
from glot_rag.documents.validation import check_document
from glot_rag.embedder import Embedder, Vectors
from glot_rag.index import Document, GlotIndex
from glot_rag.index.kept_denoiser import choose_denoiser, kept_denoiser
from langchain_glot.adapter import glot_inside
from langchain_glot.denoiser import KEPT, GlotDenoiser

if TYPE_CHECKING:
    from glot_rag import Denoiser

Denoise = Union[bool, "Denoiser", GlotDenoiser, None]  # what `from_texts(denoise=…)` takes

DENOISED = "glot_denoised"  # metadata key
_LEAST_OVERLAP = 20  # characters of two chunks that are alike by no chance
_MOST_SPANS = 20_000  # of one document: metadata hold 1 MiB


def clean_text(text: str, metadata: Mapping[str, Any]) -> str:
    """A stored text as it was embedded, without its noise; the text itself where nothing was dropped."""
    spans = metadata.get(DENOISED, {}).get("spans")
    if not spans or metadata[DENOISED]["kept"] == 1:
        return text
    return join_runs(text, spans)


def without_facts(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Metadata without what a store says of a text: its places are those of that text, not of a part or a new one."""
    if not isinstance(metadata, Mapping) or DENOISED not in metadata:
        return metadata
    return {key: value for key, value in metadata.items() if key != DENOISED}


class StoreDenoiser:
    """The denoiser of one store, kept in its index's directory and read from there when it is first needed.

    Args:
        index: The store's index, whose encoder is replaced once there is a denoiser.
    """

    def __init__(self, index: GlotIndex) -> None:
        self._index = index
        self._lock = threading.RLock()
        self._loaded = False
        self._denoiser: Denoiser | None = None

    @property
    def denoiser(self) -> Denoiser | None:
        """The denoiser; None for a store that embeds documents as they are."""
        with self._lock:
            if not self._loaded:
                self._denoiser = kept_denoiser(self._index.path)
                self._loaded = True
            return self._denoiser

    def choose(self, denoise: Denoise, embedding: Embeddings, documents: Sequence[Document]) -> None:
        """What `GlotVectorStore.from_texts(denoise=…)` asks for: see `choose_denoiser`.

        None is no, too, where documents have come through a `GlotDenoiser` or the embeddings are not to denoise.

        Raises:
            InputError: A document that cannot be stored; what `choose_denoiser` raises.
        """
        given = denoise.denoiser if isinstance(denoise, GlotDenoiser) else denoise
        for document in documents:
            check_document(document)  # before time is spent
        glot = glot_inside(embedding)
        cleaned = any(KEPT in document.metadata for document in documents)
        wanted = not cleaned and (glot is None or glot.denoise is not False)
        groups = groups_of([document.metadata for document in documents])
        with self._lock:
            self._denoiser = choose_denoiser(self._index, given, _without_overlap(documents), groups, wanted=wanted)
            self._loaded = True

    def add(self, documents: Iterator[Document], batch_size: int) -> list[str]:
        """As `GlotIndex.add`, each document with the vector of its clean text.

        To the metadata comes `glot_denoised`: `{"kept": the share of the words that the vector is made of, "spans":
        [[start, end], …], where they stand in the text}`. Documents that a `GlotDenoiser` has cleaned before are
        embedded as they are.
        """
        denoiser = self.denoiser
        if denoiser is None:
            return self._index.add(documents, batch_size=batch_size)
        with self._lock:
            encoder = self._index.encoder
            assert encoder is not None
            clean = _EncodesClean(encoder)
            self._index.encoder = clean
            try:
                return self._index.add(_denoised(documents, denoiser, clean, batch_size), batch_size=batch_size)
            finally:
                self._index.encoder = encoder


@runtime_checkable
class _Denoises(Protocol):
    def without_denoiser(self) -> Embedder: ...


class _EncodesClean:
    """An `Embedder` that is given texts and embeds what is left of them.

    Args:
        encoder: What embeds.

    Attributes:
        clean: Text -> its clean text, for those of the batch that is being added.
    """

    def __init__(self, encoder: Embedder) -> None:
        self._encoder = encoder
        # Not twice: an encoder that denoises by itself embeds what it is given here.
        self._embeds = encoder.without_denoiser() if isinstance(encoder, _Denoises) else encoder
        self.dimension = encoder.dimension
        self.fingerprint = encoder.fingerprint
        self.clean: dict[str, str] = {}

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        return self._embeds.encode_documents(
            [self.clean.get(text, text) for text in texts], show_progress=show_progress
        )

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        return self._encoder.encode_queries(texts, show_progress=show_progress)


def _denoised(
    documents: Iterator[Document], denoiser: Denoiser, encoder: _EncodesClean, batch_size: int
) -> Iterator[Document]:
    """The documents with what is known of their noise, batch by batch: the index takes as many of them at a time."""
    while batch := [check_document(document) for document in islice(documents, batch_size)]:
        noisy = [document for document in batch if KEPT not in document.metadata]
        groups = groups_of([document.metadata for document in noisy])
        found = iter(denoiser.denoise([document.text for document in noisy], groups))
        encoder.clean = {}
        for document in batch:
            if KEPT in document.metadata:
                encoder.clean[document.text] = document.text
                yield document
                continue
            each = next(found)
            encoder.clean[document.text] = each.text
            facts: dict[str, Any] = {"kept": each.kept}
            if len(each.spans) <= _MOST_SPANS:
                facts["spans"] = [list(span) for span in each.spans]
            yield Document(document.text, document.id, {**document.metadata, DENOISED: facts})


def _without_overlap(documents: Sequence[Document]) -> list[str]:
    """Texts without what a chunk repeats from the one before it: that recurs in the corpus and is no noise."""
    texts = [document.text for document in documents]
    for number in range(len(documents) - 1, 0, -1):
        before, document = documents[number - 1], documents[number]
        if document.metadata.get("source", number) == before.metadata.get("source"):
            texts[number] = document.text[_repeated(before.text, document.text) :]
    return texts


def _repeated(before: str, text: str) -> int:
    """How many characters at the beginning of a chunk are the end of the one before."""
    anchor = text[:_LEAST_OVERLAP]
    at = before.find(anchor, max(0, len(before) - len(text)))
    while at >= 0 and len(before) - at >= _LEAST_OVERLAP:
        if text.startswith(before[at:]):
            return len(before) - at
        at = before.find(anchor, at + 1)
    return 0
