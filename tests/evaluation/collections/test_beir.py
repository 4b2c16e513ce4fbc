from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation import load_beir

CORPUS = (
    '{"_id": "a", "title": "Wings", "text": "lift and drag"}\n\n{"_id": "b", "title": "", "text": "heat"}\n'
    '{"_id": "c", "text": "shock waves", "metadata": {}}\n'
)
QUERIES = (
    '{"_id": "001", "text": "what lifts"}\n{"_id": "2", "text": "what heats"}\n{"_id": "3", "text": "what shocks"}\n'
)
QRELS = "query-id\tcorpus-id\tscore\n001\ta\t2\n001\tb\t0\n2\tb\t1\n3\tc\t1\n"


def write(folder: Path, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_reads_the_layout(tmp_path: Path) -> None:
    dataset = load_beir(write(tmp_path))
    assert dataset.name == tmp_path.name
    assert dataset.documents == {"a": "Wings lift and drag", "b": "heat", "c": "shock waves"}
    assert dataset.queries == {"001": "what lifts", "2": "what heats", "3": "what shocks"}
    assert dataset.qrels == {"001": {"a": 2, "b": 0}, "2": {"b": 1}, "3": {"c": 1}}
    assert dataset.problems == []


def test_qrels_without_header_and_with_windows_line_ends(tmp_path: Path) -> None:
    dataset = load_beir(write(tmp_path, qrels="001\ta\t2\r\n2\tb\t1\r\n3\tc\t1\r\n"))
    assert dataset.qrels == {"001": {"a": 2}, "2": {"b": 1}, "3": {"c": 1}}


@pytest.mark.parametrize(
    "qrels",
    [
        "001\t0\ta\t2\n001\t0\tb\t0\n2\t0\tb\t1\n3\t0\tc\t1\n",
        "001 0 a 2\n001 0 b 0\n2 0 b 1\n3 0 c 1\n",
        "topic\titer\tdocument\trelevance\n001\tQ0\ta\t2\n001\tQ0\tb\t0\n2\tQ0\tb\t1\n3\tQ0\tc\t1\n",
        "001\ta\t2.0\n001\tb\t0.0\n2\tb\t1.0\n3\tc\t1e0\n",
        "qid\tdocid\tgrade\n001\ta\t2\n001\tb\t0\n2\tb\t1\n3\tc\t1\t\n",
        "\ufeff001\ta\t2\n001\tb\t0\n2\tb\t1\n3\tc\t1\n",
        "\ufeff" + QRELS,
    ],
    ids=["trec", "trec with spaces", "trec with a header", "decimal grades", "other header", "mark", "mark and header"],
)
def test_other_forms_of_judgements_mean_the_same(tmp_path: Path, qrels: str) -> None:
    assert load_beir(write(tmp_path, qrels=qrels)).qrels == {"001": {"a": 2, "b": 0}, "2": {"b": 1}, "3": {"c": 1}}


def test_trec_judgements_whose_iteration_is_a_document_id(tmp_path: Path) -> None:
    """The iteration, 0, is not the document, although there is a document of that id."""
    corpus = "".join(f'{{"_id": "{number}", "text": "text {number}"}}\n' for number in range(5))
    qrels = "001\t0\t0\t1\n2\t0\t1\t2\n3\t0\t4\t1\n001\t0\t3\t0\n2\t0\t3\t-1\n"
    found = load_beir(write(tmp_path, corpus=corpus, qrels=qrels))
    assert found.qrels == {"001": {"0": 1, "3": 0}, "2": {"1": 2, "3": -1}, "3": {"4": 1}}
    assert found.problems == []


def test_a_byte_order_mark_in_the_other_files(tmp_path: Path) -> None:
    write(tmp_path, corpus="\ufeff" + CORPUS, queries="\ufeff" + QUERIES)
    found = load_beir(tmp_path)
    assert found.documents["a"] == "Wings lift and drag"
    assert found.queries["001"] == "what lifts"


def test_halves_go_by_the_number_of_the_query(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(load_beir(tmp_path, "odd").queries) == ["001", "3"]
    assert list(load_beir(tmp_path, "even").queries) == ["2"]
    assert list(load_beir(tmp_path, "even").qrels) == ["2"]


def test_halves_go_by_position_where_ids_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path, queries=QUERIES.replace("001", "x2"), qrels=QRELS.replace("001", "x2"))
    assert list(load_beir(tmp_path, "odd").queries) == ["x2", "3"]
    assert list(load_beir(tmp_path, "even").queries) == ["2"]


def test_what_cannot_be_used_is_counted_and_left_out(tmp_path: Path) -> None:
    corpus = CORPUS + '{"_id": "d", "title": "", "text": "  "}\n'
    queries = QUERIES + '{"_id": "4", "text": "unjudged"}\n{"_id": "5", "text": "judged irrelevant"}\n'
    queries += '{"_id": "6", "text": ""}\n'
    qrels = QRELS + "2\tz\t1\n2\td\t1\n9\ta\t1\n5\ta\t0\n3\tc\t3\n6\ta\t1\n"
    dataset = load_beir(write(tmp_path, corpus, queries, qrels))
    assert list(dataset.documents) == ["a", "b", "c"]
    assert dataset.qrels == {"001": {"a": 2, "b": 0}, "2": {"b": 1}, "3": {"c": 3}}
    assert dataset.problems == [
        "1 empty documents (the first: 'd'), left out.",
        "2 judgements of unknown or empty documents (the first: 'z'), left out.",
        "1 judgements of unknown or empty queries (the first: '9'), left out.",
        "1 judgements made twice (the first: '3 c'), the higher grade kept.",
        "1 empty queries (the first: '6'), left out.",
        "2 queries without a relevant document (the first: '4'), left out.",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corpus": CORPUS + "{oops\n"}, r"corpus\.jsonl:5: not JSON"),
        ({"corpus": CORPUS + "[1]\n"}, r"corpus\.jsonl:5: expected a JSON object, got \[1\]"),
        ({"corpus": '{"_id": "a"}\n'}, r"corpus\.jsonl:1: the field 'text' is missing"),
        ({"corpus": '{"_id": 7, "text": "x"}\n'}, r"corpus\.jsonl:1: the field '_id' is missing or not a string"),
        ({"corpus": '{"_id": "7", "title": 1, "text": "x"}\n'}, r"corpus\.jsonl:1: the field 'title' is not"),
        ({"corpus": CORPUS + '{"_id": "a", "text": "x"}'}, r"corpus\.jsonl:5: the id 'a' was already used at .*:1"),
        ({"queries": QUERIES + '{"text": "x"}\n'}, r"queries\.jsonl:4: the field '_id'"),
        ({"qrels": QRELS + "1\ta\n"}, r"test\.tsv:6: expected query id, document id, grade between tabs"),
        ({"qrels": QRELS + "1\ta\thigh\n"}, r"test\.tsv:6: expected .* got '1\\ta\\thigh'"),
        ({"qrels": QRELS + "1\ta\t1.5\n"}, r"test\.tsv:6: expected .* whole number as grade; got '1\\ta\\t1.5'"),
        ({"qrels": QRELS + "1\ta\tnan\n"}, r"test\.tsv:6: expected .* whole number"),
        ({"qrels": QRELS + "1\t0\ta\t1\n"}, r"test\.tsv:6: expected 3 columns as in the lines before, got 4"),
        ({"qrels": QRELS + "1\t0\ta\t1\tx\n"}, r"test\.tsv:6: expected query id"),
        ({"qrels": "001\t\t1\n"}, r"test\.tsv:1: expected query id"),
        ({"qrels": "001\ta\t1o\n"}, r"test\.tsv:1: expected query id"),
        ({"qrels": ""}, "Nothing to evaluate"),
        ({"corpus": ""}, "no document has any text"),
    ],
)
def test_malformed_files(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_beir(write(tmp_path, **changed))


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_missing_file_says_what_the_layout_is(tmp_path: Path, missing: str) -> None:
    (write(tmp_path) / missing).unlink()
    with pytest.raises(
        DatasetError, match=rf"{missing}.*No such file.*Expected corpus\.jsonl, queries\.jsonl and qrels"
    ):
        load_beir(tmp_path)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "corpus.jsonl").write_bytes('{"_id": "a", "text": "Käse"}'.encode("latin-1"))
    with pytest.raises(DatasetError, match="not UTF-8"):
        load_beir(tmp_path)


def test_unknown_half(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'all', 'even' or 'odd', got 'half'"):
        load_beir(write(tmp_path), "half")  # type: ignore[arg-type]


def test_cranfield(data: Path) -> None:
    folder = data / "retrieval" / "cranfield"
    dataset = load_beir(folder)
    assert len(dataset.queries) == 225
    # 1,612 lines, the header among them.
    assert sum(len(grades) for grades in dataset.qrels.values()) == 1611
    assert dataset.problems == []
    even, odd = load_beir(folder, "even"), load_beir(folder, "odd")
    assert even.queries.keys() | odd.queries.keys() == dataset.queries.keys()
    assert even.queries.keys().isdisjoint(odd.queries)
    assert all(int(key) % 2 == 1 for key in odd.queries)


def test_json_nested_too_deeply_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, corpus=CORPUS + '{"_id": "d", "text": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    with pytest.raises(DatasetError, match=r"corpus\.jsonl:5: this JSON is nested too deeply"):
        load_beir(tmp_path)


def test_the_hash_tells_collections_apart(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = load_beir(tmp_path)
    assert dataset.hash == load_beir(tmp_path).hash
    (tmp_path / "qrels" / "test.tsv").write_text(QRELS.replace("001\ta\t2", "001\ta\t1"), encoding="utf-8")
    assert load_beir(tmp_path).hash != dataset.hash
    assert load_beir(tmp_path, "odd").hash != load_beir(tmp_path).hash
