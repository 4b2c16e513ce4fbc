"""A shard of documents -> a shard of chunks with vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glot_rag.documents.document import Document
from glot_rag.documents.reading import SetAside
from glot_rag.shards.attempts import Attempts
from glot_rag.shards.embedding import EmbedBatch, Embedded, grouped
from glot_rag.shards.engine import Item
from glot_rag.shards.format import (
    CHUNKS,
    DOCUMENTS,
    MOST_LISTED,
    ShardRecord,
    ShardWriter,
    chunk_schema,
    read_documents_of,
    remove_shard,
    write_manifest,
)

logger = logging.getLogger(__name__)


class EmbedShard:
    """A worker: embeds the documents of a shard and writes their chunks, with a manifest.

    Args:
        folder: the run's directory.
        embed: the arguments of `EmbedBatch`.
    """

    def __init__(self, folder: str, embed: dict[str, Any]) -> None:
        self._folder = Path(folder)
        self._embed = EmbedBatch(**embed)

    def __call__(self, item: Item) -> dict[str, Any]:
        """Embed a shard.

        Args:
            item: `name`, `rows` and `sha256` of a shard of documents.
        """
        source = ShardRecord(item["name"], DOCUMENTS, item["rows"], item["sha256"])
        started = time.monotonic()
        documents = list(read_documents_of(self._folder, source))
        remove_shard(self._folder, CHUNKS, source.name)
        attempts = Attempts(self._folder / CHUNKS / f".{source.name}.attempt")
        schema = chunk_schema(self._embed.dimension, self._embed.fingerprints["encoder"])
        set_aside: list[SetAside] = []
        counts = {"words": 0, "words_dropped": 0, "blocks": 0, "blocks_dropped": 0, "chunks_dropped": 0}
        with ShardWriter(self._folder / CHUNKS / f"{source.name}.parquet", schema) as writer:
            for embedded in self._embedded(documents, attempts, writer):
                writer.write(embedded.columns)
                set_aside += embedded.set_aside
                noise = asdict(embedded.noise)
                counts = {name: count + noise[name] for name, count in counts.items()}
            digest = writer.finish()
        report = {
            "documents": len(documents),
            "rows": writer.rows,
            "recomputed": attempts.lost,
            "set_aside_count": len(set_aside),
            "set_aside": [list(each) for each in set_aside[:MOST_LISTED]],
            **counts,
            "seconds": round(time.monotonic() - started, 3),
        }
        made_from = {**self._embed.fingerprints, "dimension": self._embed.dimension, "documents": source.sha256}
        write_manifest(self._folder, ShardRecord(source.name, CHUNKS, writer.rows, digest, made_from, report))
        attempts.finished()
        return {"name": source.name, **report}

    def _embedded(
        self, documents: list[tuple[str, Document]], attempts: Attempts, writer: ShardWriter
    ) -> Iterator[Embedded]:
        at = 0
        for group in grouped(documents):
            for first, end in attempts.sizes(at, at + len(group)):
                if end - first == 1 and attempts.is_deadly(first):
                    reason = "the process ended twice at this document alone; was it short of memory?"
                    logger.warning("%s is set aside: %s", documents[first][1].id, reason)
                    yield self._embed.embed([])._replace(set_aside=[SetAside(documents[first][1].id, reason)])
                    continue
                attempts.turn_to(first, end, writer.rows)
                yield self._embed.embed(documents[first:end])
            at += len(group)
