"""JSON, JSON Lines and Jupyter notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.decoding import byte_order_mark, decode
from glot_rag.documents.jsonl import parse_json
from glot_rag.documents.loaders.base import MAX_LINE, FileContext, Loaded
from glot_rag.documents.loaders.markdown import read_markdown
from glot_rag.errors import DatasetError

_OWN = ("id", "_id", "title", "text", "metadata")
_MAX_OUTPUT = 2_000  # characters of a notebook cell's printed output


def load_jsonl(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A line a document: an object with `text` and, if need be, `id` or `_id`, `title`, `metadata`.

    All other keys become metadata, too. A file of any size.
    """
    for number, line in _lines(stream, file):
        try:
            yield read_record(parse_json(line), number)
        except DatasetError as error:
            file.fail(number, str(error))


def load_json(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """An object or a list of objects as in JSON Lines; any other JSON is one text, a line `key: value` each."""
    value = parse_json(file.decode(file.read(stream)))
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        yield read_record(value, None)
    elif isinstance(value, list) and value and all(isinstance(each, dict) and "text" in each for each in value):
        for number, each in enumerate(value, 1):
            try:
                yield read_record(each, number)
            except DatasetError as error:
                file.fail(number, str(error))
    else:
        builder = TextBuilder()
        _flatten(value, builder)
        title = value.get("title") if isinstance(value, dict) else None
        yield Loaded.built(builder, title if isinstance(title, str) else "")


def load_notebook(stream: BinaryIO, file: FileContext) -> Iterator[Loaded]:
    """A Jupyter notebook: its Markdown, its code, and the beginning of what the code printed."""
    notebook = parse_json(file.decode(file.read(stream)))
    if isinstance(notebook, dict) and isinstance(notebook.get("cells"), list):
        cells = notebook["cells"]
    elif isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):  # format 3
        cells = [
            cell for sheet in notebook["worksheets"] if isinstance(sheet, dict) for cell in sheet.get("cells") or []
        ]
    else:
        raise DatasetError("not a notebook: there is no list 'cells'; open and save it with a newer Jupyter")
    builder = TextBuilder()
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        source = _joined(cell.get("source", cell.get("input")))
        if cell.get("cell_type") == "markdown":
            read_markdown(source, builder)
        elif cell.get("cell_type") == "code":
            builder.add(source, "code")
            for output in cell.get("outputs") or []:
                if isinstance(output, dict):
                    data = output.get("data")
                    shown = data.get("text/plain") if isinstance(data, dict) else output.get("text")
                    printed = _joined(shown)
                    builder.add(printed[:_MAX_OUTPUT], "code")
    yield Loaded.built(builder)


def _lines(stream: BinaryIO, file: FileContext) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with their numbers, each decoded on its own so that one bad line stays one."""
    first = stream.readline(MAX_LINE)
    marked = byte_order_mark(first)
    if marked is not None and marked[0] != "utf-8":
        raise DatasetError(f"JSON Lines are UTF-8, and this file is {marked[0]}: iconv -f {marked[0]} -t UTF-8")
    number, line = 1, first
    while line:
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            file.fail(number, f"a line of more than {MAX_LINE >> 20} MB")
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
        elif line.strip():
            try:
                decoded = decode(line, encoding=file.options.encoding)
            except DatasetError as error:
                file.fail(number, str(error))
            else:
                if decoded.replaced:
                    file.note(f"line {number}: {decoded.replaced:,} damaged characters were replaced")
                if decoded.text.strip():
                    yield number, decoded.text
        number, line = number + 1, stream.readline(MAX_LINE)


def read_record(record: Any, number: int | None) -> Loaded:
    """A document of an object as `load_jsonl` reads it.

    Raises:
        DatasetError: It is none.
    """
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DatasetError(f"expected an object with a str under 'text', got {json.dumps(record):.80}")
    id = record.get("id", record.get("_id"))
    title, metadata = record.get("title"), record.get("metadata")
    if id is not None and (isinstance(id, bool) or not isinstance(id, (str, int)) or id == ""):
        raise DatasetError(f"'id' must be a str or an int, got {id!r}")
    if not isinstance(title, (str, type(None))) or not isinstance(metadata, (dict, type(None))):
        raise DatasetError("'title' must be a str and 'metadata' an object")
    others = {key: value for key, value in record.items() if key not in _OWN}
    return Loaded(
        record["text"], (), title or "", {**others, **(metadata or {})}, number, None if id is None else str(id)
    )


def _flatten(value: Any, builder: TextBuilder) -> None:
    """A line for each text and number in nested JSON, with the keys that lead to it. Not recursive: it may be deep."""
    waiting = [("", value)]
    while waiting:
        key, each = waiting.pop()
        if isinstance(each, dict):
            waiting += [(f"{key}.{name}" if key else str(name), item) for name, item in reversed(each.items())]
        elif isinstance(each, list):
            waiting += [(key, item) for item in reversed(each)]
        elif each is not None and each != "":
            builder.add(f"{key}: {each}" if key else str(each), "table")


def _joined(source: Any) -> str:
    """The text of a cell: a string, or a list of lines. Notebooks of versions 2 and 3 have lines without breaks."""
    if isinstance(source, list):
        lines = [part for part in source if isinstance(part, str)]
        breaks = "" if all(line.endswith("\n") for line in lines[:-1]) else "\n"
        return breaks.join(lines)
    return source if isinstance(source, str) else ""
