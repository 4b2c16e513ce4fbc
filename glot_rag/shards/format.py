"""Shards on disk: Parquet files of documents and of chunks with vectors, each with a manifest that is written last.

A shard without its manifest does not count: whoever wrote it died. A manifest holds the shard's SHA-256, so a damaged
shard is refused, and one that was made anew has another name in an index (`ShardRecord.version`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from glot_rag.documents.blocks import Block
from glot_rag.documents.document import Document
from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError, FingerprintMismatchError, GlotError, MissingExtraError
from glot_rag.files import put_in_place, write_atomically

FORMAT, FORMAT_VERSION = "glot-rag/shard", 1
DOCUMENTS, CHUNKS = "documents", "chunks"  # folders, and kinds of shards
MOST_LISTED = 1_000  # set-aside documents that a manifest names; all of them are counted
ROWS_AT_ONCE = 4_096  # read at a time
_MAX_MANIFEST = 1 << 26
_BLOCK = 1 << 20

Columns = dict[str, Any]  # name -> N values; `vector` is (N, D) float32


@dataclass(frozen=True)
class ShardRecord:
    """The manifest of a shard.

    Attributes:
        name: its file's name, without suffix.
        kind: "documents" or "chunks".
        rows: documents or chunks.
        sha256: of the Parquet file.
        made_from: what it depends on, by name: a part's files and their hashes; a shard of documents and the encoder.
        report: counts for people.
    """

    name: str
    kind: str
    rows: int
    sha256: str
    made_from: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The name with the beginning of the hash: another one for other content."""
        return f"{self.name}@{self.sha256[:12]}"

    def file(self, folder: Path) -> Path:
        """The Parquet file."""
        return folder / self.kind / f"{self.name}.parquet"


def write_manifest(folder: Path, record: ShardRecord) -> None:
    """Say that a shard is complete."""
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, **vars(record)}
    write_atomically(folder / record.kind / f"{record.name}.json", json.dumps(values, indent=1).encode() + b"\n")


def read_manifest(path: Path) -> ShardRecord:
    """Read what `write_manifest` wrote.

    Raises:
        DatasetError: it is damaged, or of another version.
    """
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read(_MAX_MANIFEST))
        if values.pop("format") != FORMAT or values.pop("format_version") != FORMAT_VERSION:
            raise ValueError(f"expected {FORMAT} of version {FORMAT_VERSION}")
        record = ShardRecord(**values)
        if (record.kind, record.name) != (path.parent.name, path.stem) or not isinstance(record.rows, int):
            raise ValueError("it belongs to another shard")
        return record
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{path} is no manifest of a shard ({error!r:.200}): remove it and run `glot-rag embed` again"
        ) from None


def manifests(folder: Path, kind: str) -> list[ShardRecord]:
    """Every complete shard of a kind, by name."""
    return [read_manifest(path) for path in sorted((folder / kind).glob("*.json"))]


def remove_shard(folder: Path, kind: str, name: str) -> None:
    """Remove a shard, its manifest first, so that there is no manifest without its file."""
    (folder / kind / f"{name}.json").unlink(missing_ok=True)
    (folder / kind / f"{name}.parquet").unlink(missing_ok=True)


class ShardWriter:
    """Writes a Parquet file batch by batch under a temporary name; `finish` gives it its own. A context manager.

    Args:
        path: the file.
        schema: a pyarrow schema.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        _, parquet = arrow()
        self._path = path
        self._schema = schema
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        self._writer = parquet.ParquetWriter(self._temporary, schema, compression="zstd")
        self.rows = 0

    def write(self, columns: Columns) -> None:
        """Add rows."""
        pyarrow, _ = arrow()
        arrays = [_array(columns[name.name], name.type) for name in self._schema]
        if arrays and len(arrays[0]):
            self._writer.write_table(pyarrow.table(arrays, schema=self._schema))
            self.rows += len(arrays[0])

    def finish(self) -> str:
        """Close the file, flush it to the disk and give it its name. Returns its SHA-256."""
        self._writer.close()
        with open(self._temporary, "rb") as file:
            os.fsync(file.fileno())
        digest = sha256_of(self._temporary)
        put_in_place(self._temporary, self._path)
        return digest

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._temporary.unlink(missing_ok=True)


def _array(values: Any, kind: Any) -> Any:
    pyarrow, _ = arrow()
    if pyarrow.types.is_fixed_size_list(kind):
        flat = pyarrow.array(np.ascontiguousarray(values, np.float32).reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pyarrow.array(values, kind)


def document_schema() -> Any:
    """Columns of a shard of documents; metadata and blocks are JSON."""
    pyarrow, _ = arrow()
    return pyarrow.schema([(name, pyarrow.large_string()) for name in ("id", "file", "text", "metadata", "blocks")])


def chunk_schema(dimension: int, fingerprint: str) -> Any:
    """Columns of a shard of chunks: see `EmbedBatch`. The encoder's fingerprint stands in the file's own metadata."""
    pyarrow, _ = arrow()
    text, number = pyarrow.large_string(), pyarrow.int64()
    fields = [("id", text), ("document", text), ("hash", text), ("text", text), ("metadata", text)]
    fields += [("start", number), ("end", number), ("vector", pyarrow.list_(pyarrow.float32(), dimension))]
    return pyarrow.schema(fields, metadata={"fingerprint": fingerprint})


def document_columns(documents: Sequence[tuple[str, Document]]) -> Columns:
    """Rows of a shard of documents, of (file, document)."""
    return {
        "id": [document.id for _, document in documents],
        "file": [file for file, _ in documents],
        "text": [document.text for _, document in documents],
        "metadata": [json.dumps(dict(document.metadata), ensure_ascii=False) for _, document in documents],
        "blocks": [json.dumps(document.blocks) for _, document in documents],
    }


def read_documents_of(folder: Path, record: ShardRecord) -> Iterator[tuple[str, Document]]:
    """(file, document) of a shard of documents.

    Raises:
        DatasetError: the shard is damaged.
    """
    for columns in read_columns(folder, record):
        for id, file, text, metadata, blocks in zip(
            *(columns[name] for name in ("id", "file", "text", "metadata", "blocks")), strict=True
        ):
            yield file, Document(text, id, json.loads(metadata), [Block(*block) for block in json.loads(blocks)])


def read_columns(folder: Path, record: ShardRecord, names: Sequence[str] | None = None) -> Iterator[Columns]:
    """The rows of a shard, some thousand at a time, so that memory does not grow with it.

    Args:
        folder: the run's directory.
        record: the shard's manifest.
        names: columns; None for all, and the file's hash is checked first.

    Raises:
        DatasetError: the file is missing, or is not the one that the manifest was written for.
    """
    pyarrow, parquet = arrow()
    path = record.file(folder)
    try:
        if names is None and sha256_of(path) != record.sha256:
            raise DatasetError(f"{path} does not match its manifest: remove it and run `glot-rag embed` again")
        with open(path, "rb") as opened, parquet.ParquetFile(opened) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=None if names is None else list(names)):
                yield {name: _values(batch.column(name)) for name in batch.schema.names}
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        if isinstance(error, GlotError):
            raise
        if isinstance(error, OSError) and error.strerror:  # the system's; pyarrow raises one without for bytes
            raise DatasetError(
                f"{path} cannot be read ({error.strerror}): if it is lost, run `glot-rag embed` again"
            ) from error
        raise DatasetError(f"{path} is damaged ({error!s:.200}): remove it and run `glot-rag embed` again") from error


def _values(column: Any) -> Any:
    pyarrow, _ = arrow()
    if pyarrow.types.is_fixed_size_list(column.type):
        flat: Vectors = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), column.type.list_size)
    return column.to_pylist()


def chunk_documents(columns: Columns, shard: str) -> list[Document]:
    """Rows of a shard of chunks as an index stores them; `metadata["shard"]` names the shard that each came from."""
    return [
        Document(text, id, {**json.loads(metadata), "shard": shard})
        for id, text, metadata in zip(columns["id"], columns["text"], columns["metadata"], strict=True)
    ]


def check_alike(records: Iterable[ShardRecord], folder: Path) -> None:
    """Refuse chunks that different encoders or settings made.

    Raises:
        FingerprintMismatchError: two shards of chunks differ; both are named.
    """
    first: ShardRecord | None = None
    for record in records:
        first = first or record
        for name in ("encoder", "dimension", "settings"):
            one, other = first.made_from.get(name), record.made_from.get(name)
            if one != other:
                raise FingerprintMismatchError(
                    f"in {folder}, shard {first.name} was made with {name} {one!r}, shard {record.name} with "
                    f"{other!r}: they cannot be searched together; embed the corpus again into a new directory"
                )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def arrow() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pyarrow, pyarrow.parquet
