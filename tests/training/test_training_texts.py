from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from glot_rag.errors import DatasetError, InputError
from glot_rag.training.texts import TrainingText, read_noise_lines, read_texts, sample

LONG = "one two three four five six seven eight nine ten eleven twelve"
GOOD = json.dumps({"text": LONG})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_texts_with_title_or_query(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        json.dumps({"text": LONG + " a", "query": "asked", "title": "headed"}),
        "",
        json.dumps({"text": LONG + " b", "title": "headed", "other": 1}),
        json.dumps({"text": LONG + " c", "query": ""}),
        json.dumps({"text": "too short to hide anything in", "query": "q"}),
        json.dumps({"text": LONG + " a", "query": "again"}),
    )
    second = tmp_path / "b.jsonl.gz"
    with gzip.open(second, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"text": "Zürich " + LONG}, ensure_ascii=False) + "\n")
    assert read_texts([first, str(second)]) == [
        TrainingText(LONG + " a", "asked", "a.jsonl"),
        TrainingText(LONG + " b", "headed", "a.jsonl"),
        TrainingText(LONG + " c", "", "a.jsonl"),
        TrainingText("Zürich " + LONG, "", "b.jsonl.gz"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad\.jsonl:2: not JSON"),
        ("plain text", r"bad\.jsonl:2: not JSON"),
        ('["text"]', r'bad\.jsonl:2: expected a JSON object, got \["text"\]'),
        ('{"body": "x"}', r'bad\.jsonl:2: expected an object with a string "text", got {"body": "x"}'),
        ('{"text": null}', r'bad\.jsonl:2: expected an object with a string "text"'),
        (
            json.dumps({"text": LONG, "query": ["q"]}),
            r'bad\.jsonl:2: "query" or "title" must be a string, got \[\'q\'\]',
        ),
        ("[" * 100_000, r"bad\.jsonl:2: this JSON is nested too deeply"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read_texts([write(tmp_path / "bad.jsonl", GOOD, line)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl cannot be read: .*No such file"):
        read_texts([tmp_path / "none.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes('{"text": "Zürich"}'.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"latin\.jsonl:1 is not UTF-8"):
        read_texts([tmp_path / "latin.jsonl"])
    write(tmp_path / "not.jsonl.gz", GOOD)
    with pytest.raises(DatasetError, match=r"not\.jsonl\.gz cannot be read"):
        read_texts([tmp_path / "not.jsonl.gz"])
    whole = gzip.compress((GOOD + "\n").encode() * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match=r"cut\.jsonl\.gz cannot be read"):
        read_texts([tmp_path / "cut.jsonl.gz"])


def test_nothing_to_train_on(tmp_path: Path) -> None:
    short = write(tmp_path / "short.jsonl", '{"text": "few words"}')
    with pytest.raises(DatasetError, match=r"no text of at least 12 words in .*short\.jsonl"):
        read_texts([short])
    with pytest.raises(DatasetError, match="no text of at least 12 words in no files"):
        read_texts([])


def test_samples_are_seeded_and_keep_their_order() -> None:
    texts = [TrainingText(str(i), "") for i in range(100)]
    drawn = sample(texts, 10, seed=3)
    assert len(drawn) == 10
    assert drawn == sorted(set(drawn), key=lambda text: int(text.text))
    assert drawn == sample(texts, 10, seed=3) != sample(texts, 10, seed=4)
    assert sample(texts, 100, seed=0) == sample(texts, 1000, seed=0) == texts
    arguments: Any = 0
    with pytest.raises(InputError, match="limit must be at least 1; got 0"):
        sample(texts, arguments, seed=0)


def test_noise_lines_by_family(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"line": "Home | News", "family": "page"}\n\n{"line": "x = 1", "family": "code"}\n')
    assert read_noise_lines([path]) == {"page": ["Home | News"], "code": ["x = 1"]}
    assert read_noise_lines([]) == {}


@pytest.mark.parametrize("line", ['{"line": 1, "family": "page"}', '{"line": "a", "family": "pages"}', '{"line": "a"}'])
def test_a_malformed_noise_line_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"line": "a", "family": "page"}\n' + line)
    with pytest.raises(DatasetError, match=r"bad\.jsonl:2: expected a string \"line\" and a \"family\""):
        read_noise_lines([tmp_path / "bad.jsonl"])
