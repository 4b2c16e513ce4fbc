"""A folder in BEIR layout of any size, whose documents are read when they are asked for."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from glot_rag.errors import DatasetError
from glot_rag.evaluation.collections.collection import Collection, Judged
from glot_rag.evaluation.collections.id_table import IdTable
from glot_rag.evaluation.collections.judgements import (
    LAYOUT,
    QueryHalf,
    check_half,
    collect_grades,
    judged_queries,
    judgements,
    parse_record,
    read_lines,
    read_records,
)
from glot_rag.evaluation.collections.skip_counter import Tally


class BeirCollection(Collection):
    """A folder in BEIR layout, whose documents stay on disk.

    It is read once from end to end: a malformed line or a repeated id is refused with its file and line; empty
    documents are left out as `load_beir` does it. What is kept of a document is its id and where its line starts, in a
    temporary SQLite file. Queries and judgements are checked, and copied as they are.

    Args:
        path: the folder.
        queries: which half `judged` has, as in `load_beir`.

    Raises:
        InputError: `queries` is no half.
        DatasetError: as `load_beir`; or no document has any text.
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
            self._empty.note(self.problems)
            _read(self._folder / "queries.jsonl", self._queries)
            self._check_judgements()
            if not len(self):
                raise DatasetError(f"{self._corpus}: no document has any text.")
            files = [self._corpus, self._folder / "queries.jsonl", *self._judged()]
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
        """The id of a document."""
        return self._documents.key(index)

    def text(self, index: int) -> str:
        """The text of a document: title, space and text."""
        self._file.seek(self._documents.value(index))
        _, title, text = parse_record(self._file.readline().decode("utf-8"), str(self._corpus))
        return f"{title} {text}".strip()

    def position(self, key: str) -> int:
        """Where a document stands."""
        return self._documents.position(key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a document of that id with a text."""
        return key in self._documents

    @cached_property
    def judged(self) -> Judged:
        """As `load_beir` has them; see there for the errors."""
        texts = {key: text.strip() for key, _, text in read_records(self._folder / "queries.jsonl")}
        problems: list[str] = []
        self._empty.note(problems)
        qrels = collect_grades(judgements(self._folder / "qrels" / "test.tsv"), self, texts, problems)
        kept = judged_queries(texts, qrels, self._half, problems, f"'{self._folder}'", LAYOUT)
        return Judged(kept, {key: qrels[key] for key in kept}, problems)

    def _check_judgements(self) -> None:
        for path in self._judged():
            unknown = {
                what: Tally(f"judgements of unknown or empty {what} in {path.name}", "copied as they are")
                for what in ("queries", "documents")
            }
            for query, document, _ in judgements(path):
                if not self._queries.knows(query):
                    unknown["queries"].add(query)
                elif document not in self:
                    unknown["documents"].add(document)
            for tally in unknown.values():
                tally.note(self.problems)

    def _judged(self) -> list[Path]:
        """The files of judgements; where there are none, the one that is missing."""
        qrels = self._folder / "qrels"
        return sorted(qrels.glob("*.tsv")) or [qrels / "test.tsv"]

    def copy_queries(self, folder: Path) -> None:
        """Copy `queries.jsonl` and every `qrels/*.tsv`."""
        shutil.copyfile(self._folder / "queries.jsonl", folder / "queries.jsonl")
        (folder / "qrels").mkdir()
        for file in self._judged():
            shutil.copyfile(file, folder / "qrels" / file.name)


def _read(path: Path, table: IdTable[int]) -> Tally:
    """Ids and places of a JSON Lines file into a table -> how many have no text."""
    empty = Tally("empty documents")
    for place, start, line in read_lines(path):
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
