"""Shards of chunks (`glot_rag.shards`) into any LangChain vector store."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from glot_rag.errors import InputError
from glot_rag.progress import bar
from glot_rag.shards import chunk_shards, embedding
from glot_rag.shards.format import Columns, ShardRecord, read_columns

BATCH = 256  # chunks that a store gets at a time
_NAMES = uuid.UUID("5b0c3a52-4f6e-4f0a-9d2c-0f3f0f5b6a11")  # of the ids below
logger = logging.getLogger(__name__)


def push_shards(
    source: str | os.PathLike[str],
    make: Callable[[Embeddings], VectorStore],
    *,
    metadata: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    show_progress: bool = False,
) -> int:
    """Send all chunks of a run, with their vectors, to a vector store; nothing is encoded.

    A chunk's id in the store is a UUID that is made of its id here, as some stores take no other ids; the metadata hold
    `id`. Each batch first deletes what is stored under its ids: pushing again replaces, also in stores that would keep
    both. Chunks of documents that are gone stay in the store.

    Args:
        source: the run's directory.
        make: gets the `Embeddings` that the store is to be made with, gives the store. They embed queries with the
            run's encoder.
        metadata: makes a chunk's metadata those that are stored. None stores all; a store with a fixed schema, such as
            LanceDB, needs the same keys in all.
        show_progress: draw a progress bar on stderr.

    Returns:
        How many chunks there are.

    Raises:
        IndexNotFoundError: there are no shards.
        FingerprintMismatchError: the shards were made by different encoders.
        DatasetError: a shard is damaged.
        InputError: `make` gave no vector store, or one that does not keep what it is sent.
    """
    records = chunk_shards(source)
    embeddings = StoredEmbeddings(Path(source) / "encoder", records[0].made_from["dimension"])
    store = make(embeddings)
    if not isinstance(store, VectorStore):
        raise InputError(f"expected a LangChain VectorStore, got {type(store).__name__}")
    count = 0
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("pushing", total=sum(record.rows for record in records))
        for record in records:
            for columns in read_columns(Path(source), record):
                for start in range(0, len(columns["id"]), BATCH):
                    part = {name: values[start : start + BATCH] for name, values in columns.items()}
                    _push(store, embeddings, part, metadata or dict, first=not count)
                    count += len(part["id"])
                    progress.advance(task, len(part["id"]))
            logger.info("%s: %d chunks pushed", record.name, record.rows)
    _check_kept(store, Path(source), [record for record in records if record.rows])
    return count


def store_id(id: str) -> str:
    """The id of a chunk in a store that it is pushed to."""
    return str(uuid.uuid5(_NAMES, id))


class StoredEmbeddings(Embeddings):
    """Gives texts the vectors that they have in the shards, and embeds queries.

    Args:
        encoder: directory of the saved encoder, which is loaded for the first query.
        dimension: D.
    """

    def __init__(self, encoder: Path, dimension: int) -> None:
        self._encoder = str(encoder)
        self.dimension = dimension
        self.known: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts that are being pushed; of others, those that the encoder makes."""
        if all(text in self.known for text in texts):
            return [self.known[text] for text in texts]
        vectors: list[list[float]] = embedding.load_encoder(self._encoder).encode_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """See `Embeddings`."""
        vector: list[float] = embedding.load_encoder(self._encoder).encode_queries([text])[0].tolist()
        return vector


def _check_kept(store: VectorStore, source: Path, records: Sequence[ShardRecord]) -> None:
    """Refuse a store that each addition empties first, as LanceDB's does unless it is made with mode="append"."""
    if not records:
        return
    first = next(read_columns(source, records[0], ["id", "text", "vector"]))
    try:
        found = store.similarity_search_by_vector(first["vector"][0].tolist(), k=4)
    except NotImplementedError:
        return
    if first["text"][0] not in [document.page_content for document in found]:
        raise InputError(
            f"{type(store).__name__} does not find the first chunk that it was sent, {first['id'][0]!r}: does it "
            'replace all at each addition? LanceDB(…, mode="append") does not'
        )


def _push(
    store: VectorStore,
    embeddings: StoredEmbeddings,
    columns: Columns,
    metadata: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    first: bool,
) -> None:
    ids = [store_id(id) for id in columns["id"]]
    documents = [
        Document(text, id=new, metadata={**metadata(json.loads(body)), "id": id})
        for text, body, id, new in zip(columns["text"], columns["metadata"], columns["id"], ids, strict=True)
    ]
    embeddings.known = dict(zip(columns["text"], columns["vector"].tolist(), strict=True))
    try:
        try:
            store.delete(ids)
        except Exception as error:
            if not first:
                raise
            logger.info("%s deletes nothing, as if it were empty: %s", type(store).__name__, error)
        store.add_documents(documents, ids=ids)
    finally:
        embeddings.known = {}
