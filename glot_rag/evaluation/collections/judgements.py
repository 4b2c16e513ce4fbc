"""Judgements (qrels): read from tab-separated files, checked against documents and queries."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from glot_rag.documents.jsonl import read_lines
from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.collections.skip_counter import SkipCounter

QueryHalf = Literal["all", "even", "odd"]
LAYOUT = "Expected corpus.jsonl, queries.jsonl and qrels/test.tsv (the BEIR layout) in that folder."
_HIGHEST_GRADE = 1_000_000  # trec_eval's C int holds it with room to spare


def read_judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    """Judgements -> (query id, document id, grade).

    A line has three columns, `query id, document id, grade` (BEIR), or four, `query id, iteration, document id, grade`
    (TREC), between tabs; TREC's may stand between spaces. All lines have the same number. The first line may be a
    header: its last column is then not a number. A grade is a whole number, and may be written `1.0`.

    Raises:
        DatasetError: a line has another number of columns, an empty id or a grade that is no whole number; the line is
            named.
    """
    columns = 0
    for row, (place, _, line) in enumerate(read_lines(path, LAYOUT)):
        parts = line.split("\t") if "\t" in line else line.split()
        parts = [part.strip() for part in parts]
        while len(parts) > 3 and not parts[-1]:  # a tab at the end of the line
            parts.pop()
        grade = _grade(parts[-1])
        if row == 0 and grade is None and len(parts) in (3, 4) and not _starts_like_a_number(parts[-1]):
            columns = len(parts)
            continue
        columns = columns or len(parts)
        if len(parts) not in (3, 4) or grade is None or not parts[0] or not parts[-2]:
            raise DatasetError(
                f"{place}: expected query id, document id, grade between tabs, or TREC's four columns with an "
                f"iteration after the query id, and a whole number as grade; got {line!r}."
            )
        if len(parts) != columns:
            raise DatasetError(
                f"{place}: expected {columns} columns as in the lines before, got {len(parts)}: {line!r}."
            )
        yield parts[0], parts[-2], grade


def _grade(text: str) -> int | None:
    """A whole number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    # float() also takes "nan", "inf" and "1_0"
    return int(value) if "_" not in text and value == value // 1 and abs(value) <= _HIGHEST_GRADE else None


def _starts_like_a_number(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] in "+-." and text[1:2].isdigit())


def collect_grades(
    judged: Iterable[tuple[str, str, int]], documents: Container[str], queries: Container[str], problems: list[str]
) -> dict[str, dict[str, int]]:
    """(query id, document id, grade), … -> qrels. Unknown ids and repeated judgements are added to `problems`."""
    qrels: dict[str, dict[str, int]] = {}
    unknown = {what: SkipCounter(f"judgements of unknown or empty {what}") for what in ("documents", "queries")}
    repeated = SkipCounter("judgements made twice", "the higher grade kept")
    for query, document, grade in judged:
        if query not in queries:
            unknown["queries"].add(query)
        elif document not in documents:
            unknown["documents"].add(document)
        else:
            grades = qrels.setdefault(query, {})
            if document in grades:
                repeated.add(f"{query} {document}")
            grades[document] = max(grade, grades.get(document, grade))
    for skipped in (*unknown.values(), repeated):
        skipped.report(problems)
    return qrels


def judged_queries(
    texts: dict[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    queries: QueryHalf,
    problems: list[str],
    where: str,
    remedy: str,
) -> dict[str, str]:
    """The queries of one half that have a text and a relevant document.

    Args:
        texts: query id -> text.
        qrels: query id -> document id -> grade.
        queries: which half.
        problems: what was left out so far; added to.
        where: where the queries are from, for the error's message.
        remedy: what was expected there, for the error's message.

    Raises:
        DatasetError: no query is left.
    """
    texts = {key: texts[key] for key in query_half(list(texts), queries)}
    texts = _drop(texts, [key for key, text in texts.items() if not text], "empty queries", problems)
    unjudged = [key for key in texts if not any(grade > 0 for grade in qrels.get(key, {}).values())]
    texts = _drop(texts, unjudged, "queries without a relevant document", problems)
    if not texts:
        raise DatasetError(f"Nothing to evaluate in {where}: no query with a relevant document. {remedy}")
    return texts


def check_half(queries: str) -> None:
    """Raise InputError unless `queries` is 'all', 'even' or 'odd'."""
    if queries not in ("all", "even", "odd"):
        raise InputError(f"queries must be 'all', 'even' or 'odd', got {queries!r}.")


def query_half(keys: list[str], queries: QueryHalf) -> list[str]:
    """The query ids of one half: by the integer that the id is; by position from 1 where one of the ids is none."""
    if queries == "all":
        return keys
    try:
        numbers = [int(key) for key in keys]
    except ValueError:
        numbers = list(range(1, len(keys) + 1))
    return [key for key, number in zip(keys, numbers, strict=True) if (number % 2 == 0) == (queries == "even")]


def _drop(texts: dict[str, str], keys: list[str], what: str, problems: list[str]) -> dict[str, str]:
    """The texts without those ids, which are counted in the problems."""
    skipped = SkipCounter(what)
    for key in keys:
        skipped.add(key)
    skipped.report(problems)
    dropped = set(keys)
    return {key: text for key, text in texts.items() if key not in dropped}
