"""CSV and tab-separated tables: a row a document, or the whole table one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import BinaryIO

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.decoding import decode_stream
from glot_rag.documents.loaders.base import MAX_LINE, FileContext, Loaded
from glot_rag.errors import DatasetError

TEXT_COLUMNS = ("text", "content", "body")
_ID_COLUMNS = ("id", "_id")
_DELIMITERS = ",;\t|"


def load_table(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A table whose first row names the columns.

    A row's text is its column `text` (or `content`, or `body`), else its cells as `column: cell`, a line each; its
    other cells are metadata, its column `id` the document's id and `title` its title.
    """
    rows = _rows(stream, file)
    _, header = next(rows, (0, []))
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    if not file.options.rows:
        builder = TextBuilder()
        for _, row in [(1, header), *rows]:
            builder.add(" ".join(" ".join(row).split()), "table")
        yield Loaded.built(builder)
        return
    folded = {name.lower(): name for name in reversed(names)}
    text_column = next((folded[name] for name in TEXT_COLUMNS if name in folded), None)
    id_column = next((folded[name] for name in _ID_COLUMNS if name in folded), None)
    title_column = folded.get("title")
    for number, row in rows:
        names += [f"column {place}" for place in range(len(names) + 1, len(row) + 1)]  # more cells than the first row
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=False) if cell.strip()}
        builder = TextBuilder()
        if text_column:
            for line in cells.get(text_column, "").splitlines():
                builder.add(line, "unknown")
        else:
            for name, cell in cells.items():
                if name != id_column:
                    builder.add(f"{name}: {cell}", "table")
        own = (text_column, id_column, title_column)
        metadata = {name: cell for name, cell in cells.items() if name not in own}
        title = cells.get(title_column or "", "")
        yield Loaded(builder.text, builder.blocks, title, metadata, number, cells.get(id_column or "") or None)


def _rows(stream: BinaryIO, file: FileContext) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row ends, and its cells; blank rows are left out."""
    lines = _lines(stream, file)
    first = next(lines, None)
    if first is None:
        return
    delimiter = "\t"
    if file.suffix != ".tsv":
        delimiter = max(_DELIMITERS, key=first.count)  # of several, the first in that order
    if len(first.rstrip()) == 5 and first.lower().startswith("sep="):  # Excel's own line, before the names of columns
        delimiter, first = first[4], "\n"
    # A long document has more than the 131,072 characters that Python allows; rows after it were lost, too.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    reader = csv.reader(_chain(first, lines), delimiter=delimiter)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            file.fail(reader.line_num, f"not CSV: {error}")
            continue
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _lines(stream: BinaryIO, file: FileContext) -> Iterator[str]:
    left = ""
    for piece in decode_stream(stream, encoding=file.options.encoding):
        if piece.replaced:
            file.note(f"{piece.replaced:,} damaged characters were replaced")
        left += piece.text
        if len(left) > MAX_LINE:
            raise DatasetError(f"a line of more than {MAX_LINE >> 20} million characters")
        if "\n" in piece.text:
            whole, _, left = left.rpartition("\n")
            yield from StringIO(whole + "\n", newline="")
    if left:
        yield left
