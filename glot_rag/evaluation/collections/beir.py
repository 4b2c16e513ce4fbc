"""A folder in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663) of any size; documents stay on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from glot_rag.documents.jsonl import parse_object, read_lines
from glot_rag.errors import DatasetError
from glot_rag.evaluation.collections.collection import Collection, Judged, MemoryCollection
from glot_rag.evaluation.collections.judgements import (
    LAYOUT,
    QueryHalf,
    check_half,
    collect_grades,
    judged_queries,
    read_judgements,
)
from glot_rag.evaluation.collections.skip_counter import SkipCounter
from glot_rag.evaluation.collections.spooled import IdTable


def load_beir(path: str | os.PathLike[str], queries: QueryHalf = "all") -> MemoryCollection:
    """Read a `BeirCollection` into memory; arguments and errors are the same."""
    return BeirCollection(path, queries).load()


class BeirCollection(Collection):
    """A folder with `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`.

    A line of `corpus.jsonl` has `_id`, `text` and perhaps `title`; a document's text is its title, a space and its
    text, as in BEIR's own loaders. A line of `queries.jsonl` has `_id` and `text`. For `qrels/test.tsv` see
    `glot_rag.evaluation.collections.judgements.read_judgements`.

    The folder is read once from end to end and checked. Memory and a temporary SQLite file hold the ids and the byte
    at which each document's line starts.

    Args:
        path: the folder.
        queries: which half: `even` and `odd` go by the query's integer id; where an id of the file is no integer, by
            the position in the file, the first being 1. Settings are chosen on one half and reported on the other.

    Raises:
        InputError: `queries` is no half.
        DatasetError: a file is missing or not UTF-8; a line is malformed, lacks a field or repeats an id (file and line
            are named); no document has any text; or, from `judged`, nothing is left to evaluate.
    """

    def __init__(self, path: str | os.PathLike[str], queries: QueryHalf = "all") -> None:
        check_half(queries)
        self._half = queries
        self._folder = Path(path)
        self._corpus = self._folder / "corpus.jsonl"
        self.name = self._folder.resolve().name
        self.problems = []
        self.queries_made = {}
        self._documents: IdTable[int] = IdTable()  # with the byte that its line starts at
        self._queries: IdTable[int] = IdTable()
        with ExitStack() as opened:
            opened.callback(self._documents.close)
            opened.callback(self._queries.close)
            self._empty = _read(self._corpus, self._documents)
            self._empty.report(self.problems)
            _read(self._folder / "queries.jsonl", self._queries)
            self._check_judgements()
            if not len(self):
                raise DatasetError(f"{self._corpus}: no document has any text.")
            files = [self._corpus, self._folder / "queries.jsonl", *self._judgement_files()]
            self.sha256 = {file.relative_to(self._folder).as_posix(): _sha256(file) for file in files}
            self._file = open(self._corpus, "rb")  # noqa: SIM115  # closed by close()
            opened.pop_all()

    def close(self) -> None:
        """Close the corpus and the tables."""
        self._documents.close()
        self._queries.close()
        self._file.close()

    def __len__(self) -> int:
        return len(self._documents)

    def key(self, index: int) -> str:
        """The id of the document at a position."""
        return self._documents.key(index)

    def text(self, index: int) -> str:
        """The text of the document at a position: title, space and text."""
        self._file.seek(self._documents.value(index))
        _, title, text = parse_record(self._file.readline().decode("utf-8"), str(self._corpus))
        return f"{title} {text}".strip()

    def position(self, key: str) -> int:
        """The position of a document id; KeyError for an unknown one."""
        return self._documents.position(key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a document of that id with a text."""
        return key in self._documents

    @cached_property
    def judged(self) -> Judged:
        """Queries and judgements of `qrels/test.tsv`."""
        texts = {key: text.strip() for key, _, text in read_records(self._folder / "queries.jsonl")}
        problems: list[str] = []
        self._empty.report(problems)
        qrels = collect_grades(read_judgements(self._folder / "qrels" / "test.tsv"), self, texts, problems)
        kept = judged_queries(texts, qrels, self._half, problems, f"'{self._folder}'", LAYOUT)
        return Judged(kept, {key: qrels[key] for key in kept}, problems)

    def _check_judgements(self) -> None:
        for path in self._judgement_files():
            unknown = {
                what: SkipCounter(f"judgements of unknown or empty {what} in {path.name}", "copied as they are")
                for what in ("queries", "documents")
            }
            for query, document, _ in read_judgements(path):
                if not self._queries.knows(query):
                    unknown["queries"].add(query)
                elif document not in self:
                    unknown["documents"].add(document)
            for skipped in unknown.values():
                skipped.report(self.problems)

    def _judgement_files(self) -> list[Path]:
        """Every `qrels/*.tsv`; `qrels/test.tsv` where there is none, so that the error names it."""
        qrels = self._folder / "qrels"
        return sorted(qrels.glob("*.tsv")) or [qrels / "test.tsv"]

    def copy_queries(self, folder: Path) -> None:
        """Copy `queries.jsonl` and every `qrels/*.tsv`."""
        shutil.copyfile(self._folder / "queries.jsonl", folder / "queries.jsonl")
        (folder / "qrels").mkdir()
        for file in self._judgement_files():
            shutil.copyfile(file, folder / "qrels" / file.name)


def parse_record(line: str, place: str) -> tuple[str, str, str]:
    """A line of JSON Lines -> (id, title or "", text).

    Raises:
        DatasetError: the line is malformed; the place is named.
    """
    record = parse_object(line, place)
    for name in ("_id", "text"):
        if not isinstance(record.get(name), str):
            raise DatasetError(f"{place}: the field {name!r} is missing or not a string.")
    title = record.get("title") or ""
    if not isinstance(title, str):
        raise DatasetError(f"{place}: the field 'title' is not a string.")
    return record["_id"], title, record["text"]


def read_records(path: Path) -> Iterator[tuple[str, str, str]]:
    """The lines of a JSON Lines file -> (id, title or "", text); ids have been checked for repeats before."""
    for place, _, line in read_lines(path, LAYOUT):
        yield parse_record(line, place)


def _read(path: Path, table: IdTable[int]) -> SkipCounter:
    """Put ids and line starts of a JSON Lines file into a table -> how many lines have no text."""
    empty = SkipCounter("empty documents")
    for place, start, line in read_lines(path, LAYOUT):
        key, title, text = parse_record(line, place)
        filled = bool(f"{title} {text}".strip())
        table.add(key, place, start, counts=filled)
        if not filled:
            empty.add(key)
    return empty


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()
