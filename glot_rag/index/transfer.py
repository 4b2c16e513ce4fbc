"""An index as plain files that other tools read, and back.

`index.json` describes the export. Beside it are either `documents.jsonl` (id, text, metadata; one document a line) and
`vectors.npy` (N, D) float32 in the same order, or `documents.parquet` with all four.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from glot_rag.documents.document import Document
from glot_rag.documents.validation import MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_TEXT_BYTES
from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError, GlotError, IndexNotFoundError, InputError, MissingExtraError
from glot_rag.index.api import GlotIndex
from glot_rag.index.maintenance import copy_models
from glot_rag.index.store.directory import LOCK_NAME, disk_errors, new_index_directory
from glot_rag.index.store.manifest import MAX_DIMENSION
from glot_rag.index.store.snapshot import Snapshot

Format = Literal["jsonl", "parquet"]
VERSION = 1
ABOUT, LINES, MATRIX, PARQUET = "index.json", "documents.jsonl", "vectors.npy", "documents.parquet"
BATCH = 4096
MAX_ABOUT = 1 << 16
MAX_LINE = 6 * (MAX_TEXT_BYTES + MAX_METADATA_BYTES + MAX_ID_BYTES)  # JSON writes a character in six bytes at most


def export_index(index: GlotIndex, destination: str | os.PathLike[str], format: Format = "jsonl") -> int:
    """Write all documents and vectors as of the last commit, while others go on reading and writing.

    Args:
        index: An open index; `read_only` is enough.
        destination: A directory that is empty or does not exist; after an error there is nothing.
        format: "jsonl" for JSON lines and a NumPy matrix, or "parquet", which needs pyarrow.

    Returns:
        How many documents there are.

    Raises:
        InputError: Unknown format.
        MissingExtraError: pyarrow is not installed.
        IndexExistsError: There is something at `destination`.
        IndexCorruptedError: A stored document does not match its checksum.
        IndexDiskError: The disk is full or failing, or the path is wrong.
        IndexReadOnlyError: The index is closed.
    """
    if format not in ("jsonl", "parquet"):
        raise InputError(f"format must be 'jsonl' or 'parquet', got {format!r}")
    if format == "parquet":
        _arrow()  # refused before anything is written
    len(index)  # refused if it is closed
    manifest = index._store.read_manifest()
    with new_index_directory(destination) as folder, index._store.snapshot() as snapshot:
        count = snapshot.state.documents
        (_write_lines if format == "jsonl" else _write_parquet)(folder, snapshot, manifest.dimension)
        about = {
            "glot_rag_export": VERSION,
            "format": format,
            "documents": count,
            "dimension": manifest.dimension,
            "index_type": manifest.index_type,
            "language": manifest.language,
            "fingerprint": manifest.fingerprint,
        }
        with open(folder / ABOUT, "wb") as file:
            file.write(json.dumps(about, indent=2).encode() + b"\n")
            _sync(file)
        copy_models(index.path, folder)
    return count


def import_index(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Make an index of what `export_index` wrote, of the same type; nothing is encoded.

    Args:
        source: The directory of the export.
        path: A directory that is empty or does not exist; after an error there is nothing.

    Returns:
        How many documents there are.

    Raises:
        IndexNotFoundError: `source` holds no export.
        DatasetError: A file of the export is malformed or holds fewer or more documents than it says.
        InputError: A document or a vector that cannot be stored, or an unknown index type.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
        IndexExistsError: There is something at `path`.
        IndexDiskError: The disk is full or failing, or a path is wrong.
    """
    folder = Path(source)
    with disk_errors(folder):
        about = _read_about(folder)
    encoder = _Absent(about["dimension"], about["fingerprint"])
    read = _read_lines if about["format"] == "jsonl" else _read_parquet
    count = 0
    with new_index_directory(path) as target:
        with GlotIndex.create(target, encoder, about["index_type"], language=about["language"]) as index:
            for documents, vectors in read(folder, about["documents"], about["dimension"]):
                index.add_vectors(documents, vectors)
                count += len(documents)
            if not count == len(index) == about["documents"]:
                raise DatasetError(
                    f"{folder / ABOUT} says {about['documents']} documents, it holds {count} with {len(index)} ids"
                )
        (target / LOCK_NAME).unlink(missing_ok=True)
        copy_models(folder, target)
    return count


class _Absent:
    """Stands for the encoder that made the vectors."""

    def __init__(self, dimension: int, fingerprint: str) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        raise NotImplementedError("an import brings its vectors")

    encode_queries = encode_documents


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise IndexNotFoundError(f"{folder} holds no {ABOUT}, which export_index writes")
    try:
        with open(path, "rb") as file:
            about = json.loads(file.read(MAX_ABOUT))
        wanted = {
            "glot_rag_export": int,
            "documents": int,
            "dimension": int,
            "index_type": str,
            "language": str,
            "fingerprint": str,
        }
        bad = [name for name, kind in wanted.items() if type(about[name]) is not kind]
        if bad or about["format"] not in ("jsonl", "parquet") or not 1 <= about["dimension"] <= MAX_DIMENSION:
            raise ValueError(f"{bad or 'format or dimension'} cannot be right")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{path} does not describe an export: {error!r:.200}") from None
    if about["glot_rag_export"] > VERSION:
        raise DatasetError(f"{path} is of version {about['glot_rag_export']}, this library reads up to {VERSION}")
    return dict(about)


def _write_lines(folder: Path, snapshot: Snapshot, dimension: int) -> None:
    with open(folder / LINES, "wb") as lines, open(folder / MATRIX, "wb") as matrix:
        header = {"descr": "<f4", "fortran_order": False, "shape": (snapshot.state.documents, dimension)}
        np.lib.format.write_array_header_1_0(matrix, header)
        for row, vector in snapshot.documents():
            record = {"id": row.id, "text": row.text, "metadata": row.parsed_metadata()}
            lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            matrix.write(vector)
        _sync(lines)
        _sync(matrix)


def _read_lines(folder: Path, count: int, dimension: int) -> Iterator[tuple[list[Document], Vectors]]:
    matrix = _open_matrix(folder / MATRIX, count, dimension)
    with open(folder / LINES, "rb") as file:
        start = 0
        while documents := [_document(line, start, number) for number, line in enumerate(islice(_lines(file), BATCH))]:
            if start + len(documents) > count:
                raise DatasetError(f"{folder / LINES} has more than the {count} lines that {ABOUT} says")
            yield documents, np.array(matrix[start : start + len(documents)])
            start += len(documents)


def _open_matrix(path: Path, count: int, dimension: int) -> Vectors:
    try:
        matrix: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if not count and path.is_file():  # no system maps an empty file
            return np.empty((0, dimension), np.float32)
        raise DatasetError(f"{path} is not a NumPy matrix: {error!s:.200}") from None
    if matrix.dtype != np.dtype("<f4") or matrix.shape != (count, dimension):
        raise DatasetError(
            f"{path} must be float32 of the shape {(count, dimension)}, it is {matrix.dtype} {matrix.shape}"
        )
    return matrix


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE):
        yield line


def _document(line: bytes, start: int, number: int) -> Document:
    where = f"{LINES}:{start + number + 1}"
    try:
        record = json.loads(line)
        return Document(record["text"], record["id"], record["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{where} is not a document: {error!r:.200}") from None


def _write_parquet(folder: Path, snapshot: Snapshot, dimension: int) -> None:
    arrow, parquet = _arrow()
    names = ("id", "text", "metadata")
    vector = arrow.list_(arrow.float32(), dimension)
    schema = arrow.schema([*((name, arrow.string()) for name in names), ("vector", vector)])
    with open(folder / PARQUET, "wb") as file:
        with parquet.ParquetWriter(file, schema) as writer:
            documents = snapshot.documents()
            while batch := list(islice(documents, BATCH)):
                columns = [arrow.array([getattr(row, name) for row, _ in batch], arrow.string()) for name in names]
                flat = np.frombuffer(b"".join([vector for _, vector in batch]), "<f4")
                columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(flat), dimension))
                writer.write_table(arrow.table(columns, schema=schema))
        _sync(file)


def _read_parquet(folder: Path, count: int, dimension: int) -> Iterator[tuple[list[Document], Vectors]]:
    arrow, parquet = _arrow()
    path = folder / PARQUET
    try:
        with open(path, "rb") as opened, parquet.ParquetFile(opened) as file:
            if file.metadata.num_rows != count:
                raise DatasetError(f"{path} has {file.metadata.num_rows} rows, {ABOUT} says {count}")
            for batch in file.iter_batches(BATCH, columns=["id", "text", "metadata", "vector"]):
                ids, texts, bodies = (batch.column(name).to_pylist() for name in ("id", "text", "metadata"))
                metadata = [json.loads(body) for body in bodies]
                flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
                yield list(map(Document, texts, ids, metadata)), flat.reshape(len(ids), dimension)
    except (arrow.ArrowException, ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, GlotError):
            raise
        raise DatasetError(f"{path} is not what export_index writes: {error!s:.200}") from None


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pyarrow, pyarrow.parquet


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
