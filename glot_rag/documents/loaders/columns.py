"""Parquet, and Arrow as Hugging Face's `Dataset.save_to_disk` writes it: a row a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from glot_rag.documents.loaders.base import FileContext, Loaded
from glot_rag.documents.loaders.json_files import read_record
from glot_rag.documents.loaders.tables import TEXT_COLUMNS
from glot_rag.documents.loaders.values import plain_metadata
from glot_rag.errors import DatasetError, MissingExtraError

_ROWS = 1_024  # in memory at once


def load_parquet(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A Parquet file of any size; columns as in a CSV table, values as in JSON Lines.

    A row's text is its column `text` (or `content`, or `body`); its columns `id`, `title` and `metadata` are what they
    say, all others become metadata.
    """
    pyarrow = _pyarrow()
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(stream)
        batches = table.iter_batches(_ROWS)
        yield from _documents(table.schema_arrow.names, (batch.to_pylist() for batch in batches), file)
    except pyarrow.ArrowException as error:
        raise DatasetError(f"not Parquet, or damaged: {error!s:.200}") from error


def load_arrow(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A file of Arrow's stream or file format; see `load_parquet`."""
    pyarrow = _pyarrow()
    try:
        try:
            reader = pyarrow.ipc.open_stream(stream)
            batches: Iterable[Any] = reader
        except pyarrow.ArrowInvalid:
            stream.seek(0)
            reader = pyarrow.ipc.open_file(stream)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        parts = (
            batch.slice(start, _ROWS).to_pylist() for batch in batches for start in range(0, batch.num_rows, _ROWS)
        )
        yield from _documents(reader.schema.names, parts, file)
    except pyarrow.ArrowException as error:
        raise DatasetError(f"not Arrow, or damaged: {error!s:.200}") from error


def _documents(names: list[str], parts: Iterable[list[Mapping[str, Any]]], file: FileContext) -> Iterator[Loaded]:
    folded = {name.lower(): name for name in reversed(names)}
    text = next((folded[name] for name in TEXT_COLUMNS if name in folded), None)
    if text is None:
        raise DatasetError(
            f"no column {', '.join(TEXT_COLUMNS)}; it has {', '.join(names)[:200]}: rename the one with the text"
        )
    number = 0
    for part in parts:
        for row in part:
            number += 1
            try:
                yield read_record({**plain_metadata({**row, text: None}), "text": row[text]}, number)
            except DatasetError as error:
                file.fail(number, str(error))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pyarrow
