"""Shards of chunks into a `GlotIndex`: again and again, with what is there already left as it is."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.errors import DatasetError, FingerprintMismatchError, IndexNotFoundError, InputError
from glot_rag.index.maintenance import copy_models
from glot_rag.progress import bar
from glot_rag.shards.format import CHUNKS, ShardRecord, check_alike, chunk_documents, manifests, read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glot_rag.embedder import Vectors
    from glot_rag.index.api import GlotIndex

logger = logging.getLogger(__name__)


@dataclass
class ImportReport:
    """What became of shards.

    Attributes:
        shards: that were imported now.
        chunks: that were imported now.
        unchanged: shards that were in the index.
        removed: chunks of shards that are gone, or were made anew.
    """

    shards: int = 0
    chunks: int = 0
    unchanged: int = 0
    removed: int = 0


def chunk_shards(source: str | os.PathLike[str]) -> list[ShardRecord]:
    """The complete shards of chunks in a run's directory.

    Raises:
        IndexNotFoundError: there are none.
        FingerprintMismatchError: they were made by different encoders, or with different settings.
    """
    folder = Path(source)
    records = manifests(folder, CHUNKS)
    if not records:
        raise IndexNotFoundError(f"{folder} holds no shards of chunks, which `glot-rag embed` writes")
    check_alike(records, folder)
    return records


def import_shards(
    source: str | os.PathLike[str],
    index: GlotIndex,
    *,
    shards: Sequence[ShardRecord] | None = None,
    show_progress: bool = False,
) -> ImportReport:
    """Bring an index in step with the shards of a run; nothing is encoded, and memory does not grow with the corpus.

    A shard is imported in commits of some thousand chunks. Each chunk's metadata name its shard (`shard`), so a call
    that was cut off is simply made again: complete shards are passed over. Chunks of shards that are gone or were made
    anew are removed; documents that came in other ways stay.

    Args:
        source: the run's directory.
        index: open for writing; its encoder's fingerprint is that of the shards.
        shards: only these of `chunk_shards(source)`, for one index of several; None is all.
        show_progress: draw a progress bar on stderr.

    Raises:
        IndexNotFoundError: there are no shards.
        FingerprintMismatchError: shards or index were made by different encoders.
        DatasetError: a shard is damaged, or two shards have chunks with one id.
        InputError: an index of other dimensions.
    """
    folder = Path(source)
    records = chunk_shards(folder) if shards is None else list(shards)
    made_from = records[0].made_from if records else {}
    if records and index.manifest.fingerprint != made_from["encoder"]:
        raise FingerprintMismatchError(
            f"the shards in {folder} were made by encoder {made_from['encoder']!r}, the index {index.path} by "
            f"{index.manifest.fingerprint!r}: import them into an index of their own"
        )
    if records and index.dimension != made_from["dimension"]:
        raise InputError(f"the index has {index.dimension} dimensions, the shards have {made_from['dimension']}")
    report = ImportReport()
    before = {str(name): count for name, count in index.facets("shard")}
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("importing", total=sum(record.rows for record in records))
        for record in records:
            if before.get(record.version, 0) == record.rows:
                report.unchanged += 1
            else:
                for columns in read_columns(folder, record):
                    index.add_vectors(chunk_documents(columns, record.version), columns["vector"])
                report.shards += 1
                report.chunks += record.rows
                logger.info("%s: %d chunks imported", record.name, record.rows)
            progress.advance(task, record.rows)
    wanted = {record.version: record.rows for record in records}
    for name in set(before) - set(wanted):
        report.removed += index.delete(filter={"shard": name})
    _check_complete(index, wanted)
    return report


def index_of_shards(
    source: str | os.PathLike[str], path: str | os.PathLike[str], index_type: str = "flat"
) -> GlotIndex:
    """Open the index of a run for writing, or make it, with the run's encoder and denoiser beside it.

    Args:
        source: the run's directory.
        path: the index's directory; made if missing.
        index_type: of a new one: see `GlotIndex.create`.

    Raises:
        IndexNotFoundError: there are no shards.
    """
    from glot_rag.index.api import GlotIndex

    made_from = chunk_shards(source)[0].made_from
    try:
        return GlotIndex.open(path)
    except IndexNotFoundError:
        index = GlotIndex.create(path, MadeBy(made_from["dimension"], made_from["encoder"]), index_type)
        copy_models(Path(source), index.path)
        return index


class MadeBy:
    """Stands for the encoder that made the vectors.

    Args:
        dimension: D.
        fingerprint: its fingerprint.
    """

    def __init__(self, dimension: int, fingerprint: str) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Refused."""
        raise InputError("the index was opened to import vectors; open it with its encoder to add texts")

    encode_queries = encode_documents


def _check_complete(index: GlotIndex, wanted: dict[str, int]) -> None:
    """Refuse two shards with chunks of one id, of which the index holds only the last."""
    after = {str(name): count for name, count in index.facets("shard")}
    short = [name for name, rows in wanted.items() if rows and after.get(name, 0) != rows]
    if short:
        raise DatasetError(
            f"{index.path} holds {after.get(short[0], 0)} of the {wanted[short[0]]} chunks of shard {short[0]}: other "
            "shards or documents have the same ids; give the documents ids of their own and embed them again"
        )
