"""Files -> parts, the units of reading, and a part -> shards of documents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glot_rag.documents.document import Document
from glot_rag.documents.finding import file_hash
from glot_rag.documents.loaders import ReadOptions
from glot_rag.documents.reading import DocumentReader
from glot_rag.shards.engine import Item
from glot_rag.shards.format import (
    DOCUMENTS,
    MOST_LISTED,
    ShardRecord,
    ShardWriter,
    document_columns,
    document_schema,
    manifests,
    remove_shard,
    write_manifest,
)

PART_FILES, PART_BYTES = 256, 1 << 25  # of a part, at most
_EVERY = 64  # about so many files a part
SHARD_DOCUMENTS, SHARD_CHARACTERS = 1_024, 1 << 21  # of a shard: some minutes of embedding on a processor


class Part(NamedTuple):
    """Files that are read together.

    Attributes:
        key: names the part and its shards; it depends on the files' paths.
        files: absolute paths, sorted.
    """

    key: str
    files: tuple[str, ...]


def plan_parts(files: Sequence[str]) -> list[Part]:
    """Group files.

    Where a part begins depends on the hash of a path, so a new file changes one part and not all that come after it.

    Args:
        files: absolute paths, sorted.
    """
    groups: list[list[str]] = []
    size = 0
    for file in files:
        begins = int.from_bytes(hashlib.blake2b(_bytes(file), digest_size=4).digest(), "big") % _EVERY == 0
        if not groups or begins or len(groups[-1]) >= PART_FILES or size >= PART_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += _size(file)
    return [Part(hashlib.sha256(b"\0".join(map(_bytes, group))).hexdigest()[:16], tuple(group)) for group in groups]


def kept_parts(folder: Path) -> dict[str, tuple[str, ...]]:
    """The files of every part that was read in full, by key."""
    return {record.name: tuple(record.made_from["files"]) for record in part_records(folder)}


def part_records(folder: Path) -> list[ShardRecord]:
    """The manifests of the parts that were read in full."""
    return manifests(folder, DOCUMENTS)


def document_shards(part: ShardRecord) -> list[ShardRecord]:
    """The shards of documents that a part gave."""
    return [ShardRecord(each["name"], DOCUMENTS, each["rows"], each["sha256"]) for each in part.made_from["shards"]]


class ReadPart:
    """A worker: reads the files of a part and writes their documents, unless it finds them written.

    Args:
        folder: the run's directory.
        options: `ReadOptions`, as a dict.
    """

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self._folder = Path(folder)
        self._options = ReadOptions(**options)

    def __call__(self, item: Item) -> dict[str, Any]:
        """Read a part.

        Args:
            item: `key`, `files` and `known`: the part's manifest's `hashes`, or None.
        """
        key, files = item["key"], list(item["files"])
        hashes = [file_hash(path) for path in files]
        if item["known"] is not None and item["known"] == [repr(self._options), *hashes]:
            return {"key": key, "unchanged": len(files)}
        remove_part(self._folder, key)
        reader = DocumentReader(files, self._options)
        shards = []
        for number, documents in enumerate(_shards(reader, files)):
            name = f"{key}-{number:04d}"
            with ShardWriter(self._folder / DOCUMENTS / f"{name}.parquet", document_schema()) as writer:
                writer.write(document_columns(documents))
                digest = writer.finish()
            shards.append({"name": name, "rows": len(documents), "sha256": digest})
        found = reader.report
        report = {
            "files": found.files,
            "documents": found.documents,
            "set_aside_count": len(found.set_aside),
            "set_aside": [list(each) for each in found.set_aside[:MOST_LISTED]],
            "unknown": dict(found.unknown),
            "empty_count": len(found.empty),
        }
        made_from = {"files": files, "hashes": [repr(self._options), *hashes], "shards": shards}
        write_manifest(self._folder, ShardRecord(key, DOCUMENTS, found.documents, "", made_from, report))
        return {"key": key, "unchanged": 0, **report}


def remove_part(folder: Path, key: str) -> None:
    """Remove a part and its shards of documents."""
    (folder / DOCUMENTS / f"{key}.json").unlink(missing_ok=True)
    for path in sorted((folder / DOCUMENTS).glob(f"{key}-*.parquet")):
        remove_shard(folder, DOCUMENTS, path.stem)


def _shards(reader: DocumentReader, files: Sequence[str]) -> Iterator[list[tuple[str, Document]]]:
    batch: list[tuple[str, Document]] = []
    size = 0
    for file in files:
        for document in reader.read_file(file):
            batch.append((file, document))
            size += len(document.text)
            if len(batch) >= SHARD_DOCUMENTS or size >= SHARD_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _size(file: str) -> int:
    try:
        return os.path.getsize(file)
    except OSError:
        return 0
