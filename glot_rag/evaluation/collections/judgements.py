"""Retrieval collections with judgements, read from the BEIR layout (Thakur et al. 2021, arXiv:2104.08663)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.collections.skip_counter import Tally

QueryHalf = Literal["all", "even", "odd"]
LAYOUT = "Expected corpus.jsonl, queries.jsonl and qrels/test.tsv (the BEIR layout) in that folder."


@dataclass(frozen=True)
class RetrievalDataset:
    """Documents, queries and which documents answer which query.

    Args:
        name: for reports.
        documents: document id -> text; the order is the collection's.
        queries: query id -> text. Each has at least one relevant document.
        qrels: query id -> document id -> grade; a grade of 1 or more is relevant.
        problems: what was wrong in the files and has been left out, one sentence each.
        queries_made: where no person wrote the queries, what they were made from: source -> how many.
    """

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    problems: list[str] = field(default_factory=list)
    queries_made: dict[str, int] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Of ids, texts and grades, in their order: two runs with the same hash saw the same collection."""
        return dataset_hash(self.documents.items(), self.queries, self.qrels)


def dataset_hash(
    documents: Iterable[tuple[str, str]], queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> str:
    """As `RetrievalDataset.hash`, of documents that come one at a time: (id, text)."""
    digest = hashlib.sha256()
    for part in (documents, queries.items(), qrels.items()):
        digest.update(b"[")
        for number, item in enumerate(part):
            digest.update((", " * (number > 0) + json.dumps(item, ensure_ascii=True)).encode("ascii"))
        digest.update(b"]")
    return digest.hexdigest()[:16]


def load_beir(path: str | Path, queries: QueryHalf = "all") -> RetrievalDataset:
    """Read a collection in the BEIR layout.

    A document's text is its title, a space and its text, as in BEIR's own loaders.

    Args:
        path: a folder with `corpus.jsonl` (`_id`, `title` or none, `text`), `queries.jsonl` (`_id`, `text`)
            and `qrels/test.tsv` (query id, document id, grade; tab-separated; with or without BEIR's header
            line).
        queries: which half: `even` and `odd` go by the query's integer id; where an id of the file is no
            integer, by the position in the file, the first being 1. Settings are chosen on one half and
            reported on the other.

    Raises:
        InputError: `queries` is none of the three.
        DatasetError: a file is missing or not UTF-8; a line is malformed, lacks a field or repeats an id
            (file and line are named); or nothing is left to evaluate.
    """
    check_half(queries)
    folder = Path(path)
    problems: list[str] = []
    documents = {key: f"{title} {text}".strip() for key, title, text in read_records(folder / "corpus.jsonl")}
    documents = drop(documents, [key for key, text in documents.items() if not text], "empty documents", problems)
    texts = {key: text.strip() for key, _, text in read_records(folder / "queries.jsonl")}
    qrels = _qrels(folder / "qrels" / "test.tsv", documents, texts, problems)
    judged = judged_queries(texts, qrels, queries, problems, f"'{folder}'", LAYOUT)
    return RetrievalDataset(folder.resolve().name, documents, judged, {key: qrels[key] for key in judged}, problems)


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
        where: where all this is from, and
        remedy: what was expected there, for the message of the error.

    Raises:
        DatasetError: no query is left.
    """
    texts = {key: texts[key] for key in query_half(list(texts), queries)}
    texts = drop(texts, [key for key, text in texts.items() if not text], "empty queries", problems)
    unjudged = [key for key in texts if not any(grade > 0 for grade in qrels.get(key, {}).values())]
    texts = drop(texts, unjudged, "queries without a relevant document", problems)
    if not texts:
        raise DatasetError(f"Nothing to evaluate in {where}: no query with a relevant document. {remedy}")
    return texts


def read_lines(path: Path) -> Iterator[tuple[str, int, str]]:
    """The lines that are not blank, each with its place, `file:line`, and the byte that it starts at.

    Raises:
        DatasetError: the file cannot be read, or a line is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            start = 0
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", start, line.decode("utf-8").rstrip("\r\n")
                start += len(line)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{number} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DatasetError(f"Cannot read '{path}' ({error.strerror}). {LAYOUT}") from error


def parse_record(line: str, place: str) -> tuple[str, str, str]:
    """A line of JSON Lines -> (id, title or "", text).

    Raises:
        DatasetError: it is malformed; the place is named.
    """
    try:
        record: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{place}: not valid JSON ({error.msg}).") from error
    except RecursionError:
        raise DatasetError(f"{place}: this JSON is nested too deeply to read.") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise DatasetError(f"{place}: not readable JSON ({error}).") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{place}: expected a JSON object, got {type(record).__name__}.")
    for name in ("_id", "text"):
        if not isinstance(record.get(name), str):
            raise DatasetError(f"{place}: the field {name!r} is missing or not a string.")
    title = record.get("title") or ""
    if not isinstance(title, str):
        raise DatasetError(f"{place}: the field 'title' is not a string.")
    return record["_id"], title, record["text"]


def read_records(path: Path) -> Iterator[tuple[str, str, str]]:
    """A JSON Lines file -> (id, title or "", text)."""
    seen: dict[str, str] = {}
    for place, _, line in read_lines(path):
        key, title, text = parse_record(line, place)
        if key in seen:
            raise DatasetError(f"{place}: the id {key!r} was already used at {seen[key]}.")
        seen[key] = place
        yield key, title, text


def judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    """Tab-separated judgements -> (query id, document id, grade); a header line is skipped.

    Raises:
        DatasetError: a line is malformed; it is named.
    """
    for row, (place, _, line) in enumerate(read_lines(path)):
        parts = line.split("\t")
        if row == 0 and parts[-1] == "score":
            continue
        try:
            yield parts[0], parts[1], int(parts[2])
        except (IndexError, ValueError):
            raise DatasetError(f"{place}: expected query id, document id, grade between tabs, got {line!r}.") from None


def _qrels(
    path: Path, documents: dict[str, str], queries: dict[str, str], problems: list[str]
) -> dict[str, dict[str, int]]:
    """The judgements; those about unknown ids are left out."""
    return collect_grades(judgements(path), documents, queries, problems)


def collect_grades(
    judged: Iterable[tuple[str, str, int]], documents: Container[str], queries: Container[str], problems: list[str]
) -> dict[str, dict[str, int]]:
    """(query id, document id, grade), … -> qrels; what is unknown or said twice goes into the problems."""
    qrels: dict[str, dict[str, int]] = {}
    unknown = {what: Tally(f"judgements of unknown or empty {what}") for what in ("documents", "queries")}
    repeated = Tally("judgements made twice", "the higher grade kept")
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
    for tally in (*unknown.values(), repeated):
        tally.note(problems)
    return qrels


def check_half(queries: str) -> None:
    """Refuse what is no half.

    Raises:
        InputError: it is none of the three.
    """
    if queries not in ("all", "even", "odd"):
        raise InputError(f"queries must be 'all', 'even' or 'odd', got {queries!r}.")


def query_half(keys: list[str], queries: QueryHalf) -> list[str]:
    """The ids of one half, as `load_beir` takes them."""
    if queries == "all":
        return keys
    try:
        numbers = [int(key) for key in keys]
    except ValueError:
        numbers = list(range(1, len(keys) + 1))
    return [key for key, number in zip(keys, numbers, strict=True) if (number % 2 == 0) == (queries == "even")]


def drop(texts: dict[str, str], keys: list[str], what: str, problems: list[str]) -> dict[str, str]:
    """The texts without those ids, which go into the problems."""
    tally = Tally(what)
    for key in keys:
        tally.add(key)
    tally.note(problems)
    dropped = set(keys)
    return {key: text for key, text in texts.items() if key not in dropped}
