from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from glot_rag.documents.jsonl import read_lines, read_objects
from glot_rag.errors import DatasetError

LINES = '\ufeff{"text": "Zürich"}\r\n\n  \n{"text": "東京"}\n'


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_with_their_places(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = LINES.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    found = list(read_lines(path))
    assert [(place, text) for place, _, text in found] == [
        (f"{path}:1", '{"text": "Zürich"}'),
        (f"{path}:4", '{"text": "東京"}'),
    ]
    for _, start, text in found:
        assert data[start:].startswith(text.encode())
    assert [record["text"] for _, record in read_objects(path)] == ["Zürich", "東京"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n\xff\n', r"a\.jsonl:2 is not UTF-8 text"),
        (b'{"a": 1}\n{\n', r"a\.jsonl:2: not JSON"),
        (b"[1]\n", r"a\.jsonl:1: expected a JSON object, got \[1\]"),
        (b"[" * 100_000, r"a\.jsonl:1: this JSON is nested too deeply"),
        (b"9" * 5_000, r"a\.jsonl:1: not JSON: Exceeds the limit"),
    ],
)
def test_bad_lines_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        list(read_objects(tmp_path / "a.jsonl"))


def test_the_way_out_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl cannot be read: No such file or directory\. Look elsewhere"):
        list(read_lines(tmp_path / "none.jsonl", "Look elsewhere"))
