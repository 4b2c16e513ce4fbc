from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation import EvaluationSettings, Report, evaluate, load_collection, load_folder, print_report
from glot_rag.evaluation.report.page import page

BODY = "It boils a litre of water in two minutes and switches itself off when it is done."
MORE = "The lid opens with one hand. A filter in the spout keeps lime out of the cup, and it can be washed."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "kettle.html").write_text(
        f"<html><head><title>The quick kettle</title></head><body><h1>The quick kettle</h1><p>{BODY}</p></body></html>"
    )
    (docs / "care.md").write_text(f"# Care of the kettle\n\n{MORE}\n\n{BODY}\n")
    (docs / "note.txt").write_text(f"A note on\nold kettles. {MORE}\n\nThe end of the note comes here, e.g. now.\n")
    (docs / "list.txt").write_text(f"Parts of a kettle\n{MORE}\n")
    (docs / "stub.txt").write_text("Too short for anything.")
    (docs / "blank.txt").write_text(" \n")
    return docs


def test_queries_are_made_from_titles_headings_and_first_sentences(folder: Path) -> None:
    dataset = load_folder(folder)
    assert dataset.name == "docs"
    assert dataset.queries == {
        "care.md": "Care of the kettle",
        "kettle.html": "The quick kettle",
        "list.txt": "Parts of a kettle",
        "note.txt": "A note on old kettles.",
    }
    assert dataset.qrels == {key: {key: 1} for key in dataset.queries}
    assert dataset.queries_made == {"title": 2, "heading": 1, "first sentence": 1}
    # What became the query is no longer in the document; the rest is, word for word.
    assert dataset.documents["kettle.html"] == BODY
    assert dataset.documents["care.md"].split() == f"{MORE} {BODY}".split()
    assert dataset.documents["list.txt"] == MORE
    assert dataset.documents["note.txt"].startswith("The lid opens")
    assert dataset.documents["stub.txt"] == "Too short for anything."
    assert dataset.problems == [
        "1 files without any text (the first: 'blank.txt'), left out.",
        "1 queries that could not be made (the first: 'stub.txt'), left out.",
    ]


def test_one_source_alone(folder: Path) -> None:
    first = load_folder(folder, query_from="first")
    assert first.queries["note.txt"] == "A note on old kettles."
    assert set(first.queries_made) == {"first sentence"}
    held = load_folder(folder, query_from="heldout", seed=1)
    assert held == load_folder(folder, query_from="heldout", seed=1)
    assert any(held.queries != load_folder(folder, query_from="heldout", seed=seed).queries for seed in (2, 3, 4))
    assert held.queries_made == {"held-out sentence": len(held.queries)}
    for key, query in held.queries.items():
        assert " ".join(query.split()) not in " ".join(held.documents[key].split())
        assert not held.documents[key].startswith(query)
        assert query in " ".join(load_folder(folder, query_from="title").documents[key].split())


def test_a_sentence_said_twice_is_no_query(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"Kettles boil much water. {BODY} Kettles boil much water. {MORE}")
    with pytest.raises(DatasetError, match="No query could be made from first sentences: try another query_from"):
        load_folder(tmp_path, query_from="first")


def test_a_query_of_two_documents_is_asked_of_none(folder: Path) -> None:
    (folder / "copy.md").write_text(f"# Care of the Kettle\n\n{BODY}\n")
    dataset = load_folder(folder)
    assert "care.md" not in dataset.queries
    assert "copy.md" not in dataset.queries
    # They may be found wrongly, so they keep all of their text.
    assert dataset.documents["copy.md"].split() == f"Care of the Kettle {BODY}".split()
    assert dataset.documents["care.md"].startswith("Care of the kettle")
    assert "2 queries that several documents would answer (the first: 'care.md'), left out." in dataset.problems


def test_of_many_queries_some_are_drawn(tmp_path: Path) -> None:
    lines = [{"id": f"d{n:03}", "title": f"Kettle number {n}", "text": f"{BODY} It is {n}."} for n in range(200)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    every = load_folder(tmp_path)
    assert len(every.queries) == 200
    few = load_folder(tmp_path, max_queries=20, seed=1)
    assert len(few.queries) == 20
    assert few.queries.items() < every.queries.items()
    assert list(few.queries) == sorted(few.queries)
    assert few == load_folder(tmp_path, max_queries=20, seed=1)
    assert few.queries != load_folder(tmp_path, max_queries=20, seed=2).queries
    assert few.documents == every.documents
    first = min(set(every.queries) - set(few.queries))
    assert few.problems == [f"180 queries more than 20, which were drawn at random (the first: {first!r}), left out."]
    with pytest.raises(InputError, match="max_queries must be 1 or more, got 0"):
        load_folder(tmp_path, max_queries=0)


def test_what_an_index_would_refuse_is_left_out(tmp_path: Path) -> None:
    lines = [{"id": f"{n}", "title": f"A title {n}", "text": BODY + "\ud83d" * (n == 1)} for n in range(3)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    dataset = load_folder(tmp_path)
    assert list(dataset.documents) == ["0", "2"]
    assert any("all.jsonl:2: the text of document '1' has a lone surrogate" in each for each in dataset.problems)


def test_bad_files_are_named_and_left_out(folder: Path) -> None:
    (folder / "latin.txt").write_bytes("Käse und Brot".encode("latin-1"))
    (folder / "rows.jsonl").write_text('{"id": "r1", "title": "A row of text", "text": "' + BODY + '"}\n{oops\n')
    dataset = load_folder(folder)
    assert dataset.queries["r1"] == "A row of text"
    assert any("latin.txt: not UTF-8" in problem for problem in dataset.problems)
    assert any("rows.jsonl:2: not JSON" in problem for problem in dataset.problems)
    (folder / "rows.jsonl").write_text('{"id": "r1", "text": "one"}\n{"id": "r1", "text": "two"}\n')
    with pytest.raises(DatasetError, match=r"rows\.jsonl:2: the id 'r1' was already used at .*rows\.jsonl:1\."):
        load_folder(folder)


def test_halves_and_bad_settings(folder: Path, tmp_path: Path) -> None:
    odd, even = load_folder(folder, "odd"), load_folder(folder, "even")
    assert {**odd.queries, **even.queries}.keys() == load_folder(folder).queries.keys()
    assert not set(odd.queries) & set(even.queries)
    assert sum(even.queries_made.values()) == len(even.queries)
    with pytest.raises(InputError, match="query_from must be one of auto, title, heading, first, heldout; got 'body'"):
        load_folder(folder, query_from="body")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'all', 'even' or 'odd'"):
        load_folder(folder, "some")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="no such file or folder"):
        load_folder(tmp_path / "nowhere")


def test_a_folder_with_a_file_of_the_beir_layout_is_one(folder: Path) -> None:
    assert load_collection(str(folder)).queries_made
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "x"}))
    with pytest.raises(DatasetError, match=r"corpus\.jsonl.*Expected corpus\.jsonl, queries\.jsonl and qrels"):
        load_collection(str(folder))


def test_reports_say_that_queries_were_made(folder: Path, encoders: Any, tmp_path: Path) -> None:
    report = evaluate(load_folder(folder), encoders, EvaluationSettings(["none"], costs=False))
    label = "Queries made from the documents (2 titles, 1 heading, 1 first sentence), not asked by people."
    console = Console(file=StringIO(), width=160)
    print_report(report, console)
    assert label in console.file.getvalue()  # type: ignore[attr-defined]
    assert label in page(report)
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["queries_made"] == report.queries_made
    assert Report.load(tmp_path / "report.json").queries_label == label
