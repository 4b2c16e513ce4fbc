"""One pass over noisy documents: each batch is made, embedded, compared with the queries, and forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.evaluation.baselines import TextSearch
from glot_rag.evaluation.noise.noisy_documents import NoisyDocuments
from glot_rag.evaluation.search import Found, Nearest

# texts -> pooling name -> (N, D) unit vectors: every pooling from one pass of the backbone
EmbedTexts = Callable[[Sequence[str]], Mapping[str, Vectors]]

BATCH = 1024  # documents held at a time


@dataclass(frozen=True)
class Passed:
    """What a pass found.

    Args:
        found: pooling or system -> what each query finds.
        signals: hash of the signals of all documents.
        clean: whether every document is its signal.
    """

    found: dict[str, Found]
    signals: str
    clean: bool


def search_noisy(
    documents: NoisyDocuments,
    embed: EmbedTexts,
    queries: Mapping[str, Vectors],
    systems: Mapping[str, TextSearch],
    k: int,
    batch_size: int = BATCH,
) -> Passed:
    """Search noisy documents with several poolings and systems.

    Args:
        documents: the noisy documents.
        embed: texts -> pooling -> vectors; asked a batch at a time.
        queries: pooling -> (Q, D) vectors; which poolings there are.
        systems: searches that have seen nothing yet.
        k: documents a query.
        batch_size: documents held at a time.

    Raises:
        InputError: `embed` lacks a pooling, or gives another number of vectors than it got texts.
    """
    nearest = {name: Nearest(vectors, k) for name, vectors in queries.items()}
    digest, clean = hashlib.sha256(), True
    for batch in documents.batches(batch_size):
        texts = [each.text for each in batch]
        vectors = embed(texts)
        for name, search in nearest.items():
            search.add(vectors_of(vectors, name, len(texts)))
        for system in systems.values():
            system.add(texts)
        for each in batch:
            digest.update(hashlib.sha256(each.signal.encode("utf-8", "surrogatepass")).digest())
            clean = clean and each.signal == each.text
    found = {name: search.found() for name, search in (nearest | dict(systems)).items()}
    return Passed(found, digest.hexdigest(), clean)


def search_signals(
    documents: NoisyDocuments,
    embed: EmbedTexts,
    queries: Mapping[str, Vectors],
    systems: Mapping[str, TextSearch],
    k: int,
    batch_size: int = BATCH,
) -> dict[str, Found]:
    """Search the documents' signals alone: the ceilings. Arguments as in `search_noisy`."""
    nearest = {name: Nearest(vectors, k) for name, vectors in queries.items()}
    for batch in documents.batches(batch_size):
        texts = [each.signal for each in batch]
        vectors = embed(texts)
        for name, search in nearest.items():
            search.add(vectors_of(vectors, name, len(texts)))
        for system in systems.values():
            system.add(texts)
    return {name: search.found() for name, search in (nearest | dict(systems)).items()}


def vectors_of(vectors: Mapping[str, Vectors], pooling: str, texts: int) -> Vectors:
    """A pooling's vectors, checked.

    Raises:
        InputError: there are none of that pooling, or not one a text.
    """
    if pooling not in vectors:
        raise InputError(f"No vectors of pooling {pooling!r}; there are: {', '.join(vectors)}.")
    if len(vectors[pooling]) != texts:
        raise InputError(f"Got {len(vectors[pooling])} vectors of pooling {pooling!r} for {texts} texts.")
    return vectors[pooling]
