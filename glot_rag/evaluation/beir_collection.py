"""A folder in BEIR layout of any size, whose documents are read when they are asked for."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from functools import cached_property
from pathlib import Path

from glot_rag.errors import DatasetError
from glot_rag.evaluation.collection import Collection, Judged
from glot_rag.evaluation.datasets import (
    LAYOUT,
    QueryHalf,
    check_half,
    collect_grades,
    judged_queries,
    judgements,
    note,
    parse_record,
    read_lines,
    read_records,
)


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
        # An empty name is a file that SQLite makes, keeps off memory where it grows, and removes.
        self._table = sqlite3.connect("")
        for pragma in ("cache_size = -4096", "journal_mode = OFF", "synchronous = OFF"):
            self._table.execute(f"PRAGMA {pragma}")
        for name in ("documents", "queries"):
            self._table.execute(
                f"CREATE TABLE {name} (id BLOB PRIMARY KEY, place TEXT, position INTEGER, start INTEGER)"
            )
        self._count = self._read("documents", self._corpus)
        self._table.execute("CREATE UNIQUE INDEX positions ON documents (position)")
        self._read("queries", self._folder / "queries.jsonl")
        self._check_judgements()
        if not self._count:
            raise DatasetError(f"{self._corpus}: no document has any text.")
        files = [self._corpus, self._folder / "queries.jsonl", *self._judged()]
        self.sha256 = {file.relative_to(self._folder).as_posix(): _sha256(file) for file in files}
        self._file = open(self._corpus, "rb")  # noqa: SIM115  # closed by close()

    def close(self) -> None:
        """Close the corpus and the table."""
        self._file.close()
        self._table.close()

    def __len__(self) -> int:
        return self._count

    def key(self, index: int) -> str:
        """The id of a document."""
        return _text(self._row(index)[0])

    def text(self, index: int) -> str:
        """The text of a document: title, space and text."""
        self._file.seek(self._row(index)[1])
        _, title, text = parse_record(self._file.readline().decode("utf-8"), str(self._corpus))
        return f"{title} {text}".strip()

    def position(self, key: str) -> int:
        """Where a document stands."""
        found = self._find("documents", key)
        if found is None or found[1] is None:
            raise KeyError(key)
        return found[1]

    def __contains__(self, key: object) -> bool:
        """Whether there is a document of that id with a text."""
        return isinstance(key, str) and (self._find("documents", key) or ("", None))[1] is not None

    @cached_property
    def judged(self) -> Judged:
        """As `load_beir` has them; see there for the errors."""
        texts = {key: text.strip() for key, _, text in read_records(self._folder / "queries.jsonl")}
        problems = list(self._empty)
        qrels = collect_grades(judgements(self._folder / "qrels" / "test.tsv"), self, texts, problems)
        kept = judged_queries(texts, qrels, self._half, problems, f"'{self._folder}'", LAYOUT)
        return Judged(kept, {key: qrels[key] for key in kept}, problems)

    def _row(self, index: int) -> tuple[bytes, int]:
        row = self._table.execute("SELECT id, start FROM documents WHERE position = ?", (index,)).fetchone()
        if row is None:
            raise IndexError(index)
        return row[0], row[1]

    def _read(self, table: str, path: Path) -> int:
        """Ids and places of a JSON Lines file into a table -> how many have a text."""
        count, empty = 0, []
        insert = f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?)"
        for place, start, line in read_lines(path):
            key, title, text = parse_record(line, place)
            filled = bool(f"{title} {text}".strip())
            row = (_blob(key), place, count if filled else None, start)
            if not self._table.execute(insert, row).rowcount:
                before = self._find(table, key)
                raise DatasetError(f"{place}: the id {key!r} was already used at {before[0] if before else path}.")
            count += filled
            if not filled:
                empty.append(key)
        if table == "documents":
            note(empty, "empty documents", "left out", self.problems)
            self._empty = list(self.problems)
        return count

    def _find(self, table: str, key: str) -> tuple[str, int | None] | None:
        row = self._table.execute(f"SELECT place, position FROM {table} WHERE id = ?", (_blob(key),)).fetchone()
        return None if row is None else (row[0], row[1])

    def _check_judgements(self) -> None:
        for path in self._judged():
            unknown: dict[str, list[str]] = {"queries": [], "documents": []}
            for query, document, _ in judgements(path):
                if self._find("queries", query) is None:
                    unknown["queries"].append(query)
                elif document not in self:
                    unknown["documents"].append(document)
            for what, keys in unknown.items():
                note(keys, f"judgements of unknown or empty {what} in {path.name}", "copied as they are", self.problems)

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


def _blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()
