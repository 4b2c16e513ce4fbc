"""LangChain's documents and ids as those of a `GlotIndex`, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from glot_rag.documents.validation import check_id
from glot_rag.errors import InputError
from glot_rag.index import Document as IndexDocument
from glot_rag.index import Hit
from langchain_glot.denoising import clean_text, without_facts
from langchain_glot.evidence import EVIDENCE, evidence_of


def to_store(
    texts: Iterable[str],
    metadatas: Sequence[Mapping[str, Any] | None] | None,
    ids: Sequence[str | None] | None,
) -> Iterator[IndexDocument]:
    """N texts with their metadata and ids, as the index takes them; it checks what is in them.

    Raises:
        InputError: One str in place of texts, or not as many metadata or ids as texts.
    """
    if isinstance(texts, str):
        raise InputError("texts must be a list of str, got one str; put it in a list")
    texts = list(texts)
    metadatas = [None] * len(texts) if metadatas is None else metadatas
    ids = [None] * len(texts) if ids is None else ids
    for name, values in (("metadatas", metadatas), ("ids", ids)):
        if len(values) != len(texts):
            raise InputError(f"got {len(values)} {name} for {len(texts)} texts")
    return map(IndexDocument, texts, ids, map(without_facts, metadatas))


def from_store(stored: IndexDocument) -> Document:
    """A document that was looked up by its id."""
    return Document(id=stored.id, page_content=stored.text, metadata=dict(stored.metadata))


def from_hit(hit: Hit, explain_with: Embeddings | None, clean: bool, query: str | None = None) -> Document:
    """A document that was found.

    Args:
        hit: What the index found.
        explain_with: Embeddings whose evidence is put among the metadata; None: none is.
        clean: Give the text without what the store's denoiser dropped.
        query: What it was found for, if that was a text: the evidence says which lines match it.
    """
    metadata = dict(hit.metadata)
    if explain_with is not None:
        metadata[EVIDENCE] = evidence_of(explain_with, hit.text, query)
    return Document(id=hit.id, page_content=clean_text(hit.text, metadata) if clean else hit.text, metadata=metadata)


def possible(ids: Sequence[str]) -> list[str]:
    """Without what can be no id in the index, and so has no document: to look it up would be an error.

    Raises:
        InputError: One str in place of ids.
    """
    if isinstance(ids, str):
        raise InputError(f"ids must be a list of str, got the str {ids!r}; write [{ids!r}]")
    return [id for id in ids if _can_be_id(id)]


def _can_be_id(id: object) -> bool:
    try:
        check_id(id)
    except InputError:
        return False
    return True
