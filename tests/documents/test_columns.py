"""Parquet and Arrow files, and data sets of Hugging Face as they are saved."""

from __future__ import annotations

import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from glot_rag.documents import read_documents
from glot_rag.errors import DatasetError

pyarrow = pytest.importorskip("pyarrow")

ROWS = [
    {"id": 7, "title": "One", "text": "first line\nsecond", "year": datetime.date(2024, 5, 1), "tags": ["a", "b"]},
    {"id": 8, "title": None, "text": "other", "year": None, "tags": None},
]


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), out := BytesIO())
    return out.getvalue()


def arrow_of(rows: list[dict[str, Any]], *, file: bool) -> bytes:
    table, out = pyarrow.Table.from_pylist(rows), BytesIO()
    with (pyarrow.ipc.new_file if file else pyarrow.ipc.new_stream)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_a_row_is_a_document(loads: Any, kind: str) -> None:
    data = parquet_of(ROWS) if kind == "parquet" else arrow_of(ROWS, file=kind == "arrow file")
    one, other = loads.all(f".{kind.split()[0]}", data)
    assert (one.id, one.title, one.text, one.number) == ("7", "One", "first line\nsecond", 1)
    assert one.metadata == {"year": "2024-05-01", "tags": ["a", "b"]}
    assert (other.id, other.title, other.text, dict(other.metadata)) == ("8", "", "other", {})


def test_other_names_of_the_text_and_rows_without_one(loads: Any) -> None:
    (loaded,) = loads.all(".parquet", parquet_of([{"Content": "x", "n": 1}, {"Content": None, "n": 2}]))
    assert (loaded.text, loaded.metadata) == ("x", {"n": 1})
    assert loads.failed == [(2, 'expected an object with a str under \'text\', got {"n": 2, "text": null}')]


def test_what_cannot_be_read_says_why(loads: Any) -> None:
    with pytest.raises(DatasetError, match="no column text, content, body; it has words, n: rename the one with"):
        loads.all(".parquet", parquet_of([{"words": "x", "n": 1}]))
    for suffix, data in ((".parquet", parquet_of(ROWS)), (".arrow", arrow_of(ROWS, file=False))):
        with pytest.raises(DatasetError, match="or damaged"):
            loads.all(suffix, data[: len(data) // 2])


def test_data_sets_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"id": ["a", "b", "c"], "text": ["one", "two", "three"], "label": [0, 1, 0]})
    rows.save_to_disk(tmp_path / "saved" / "plain")
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved" / "split")
    rows.to_parquet(tmp_path / "file.parquet")
    rows.to_json(tmp_path / "file.jsonl")
    for path in (tmp_path / "saved" / "plain", tmp_path / "saved" / "split", *tmp_path.glob("file.*")):
        found = {document.id: (document.text, document.metadata["label"]) for document in read_documents([path])}
        assert found == {"a": ("one", 0), "b": ("two", 1), "c": ("three", 0)}
