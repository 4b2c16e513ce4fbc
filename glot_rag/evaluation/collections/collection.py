"""What a retrieval test set is: documents by position, and the queries and judgements that go with them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Judged:
    """The queries that a collection is measured on.

    Args:
        queries: query id -> text; each has a relevant document.
        qrels: query id -> document id -> grade; a grade of 1 or more is relevant.
        problems: what was left out of documents, queries and judgements, one sentence each.
    """

    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    problems: list[str]


class Collection(ABC):
    """A retrieval test set whose documents are read by position, so that they need not be in memory.

    Attributes:
        name: for reports.
        problems: what was left out, one sentence each.
        queries_made: where queries were made from the documents, from what: source -> how many.
        sha256: file or part -> hash of what was read.
    """

    name: str
    problems: list[str]
    queries_made: dict[str, int]
    sha256: dict[str, str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """The id of the document at a position."""

    @abstractmethod
    def text(self, index: int) -> str:
        """The text of the document at a position, with its line breaks."""

    @abstractmethod
    def position(self, key: str) -> int:
        """The position of a document id; KeyError for an unknown one."""

    @property
    @abstractmethod
    def judged(self) -> Judged:
        """The queries that can be measured, and their judgements."""

    @cached_property
    def hash(self) -> str:
        """Hash of ids, texts and grades in their order: two runs with the same hash saw the same collection."""
        documents = ((self.key(index), self.text(index)) for index in range(len(self)))
        return collection_hash(documents, self.judged.queries, self.judged.qrels)

    @abstractmethod
    def close(self) -> None:
        """Close the files; nothing can be read any more."""

    def copy_queries(self, folder: Path) -> None:
        """Write `queries.jsonl` and `qrels/test.tsv` into a folder."""
        (folder / "qrels").mkdir()
        with open(folder / "queries.jsonl", "wb") as queries:
            queries.writelines(json_line({"_id": key, "text": text}) for key, text in self.judged.queries.items())
        with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            for query, grades in self.judged.qrels.items():
                file.writelines(f"{query}\t{document}\t{grade}\n" for document, grade in grades.items())

    def load(self) -> MemoryCollection:
        """Read everything into memory and close the collection."""
        documents = {self.key(index): self.text(index) for index in range(len(self))}
        judged = self.judged
        self.close()
        return MemoryCollection(
            self.name, documents, judged.queries, judged.qrels, judged.problems, dict(self.queries_made)
        )


@dataclass(frozen=True)
class MemoryCollection(Collection):
    """A collection in memory.

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

    @cached_property
    def _keys(self) -> list[str]:
        return list(self.documents)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.documents)}

    @cached_property
    def sha256(self) -> dict[str, str]:  # type: ignore[override]  # computed when it is asked for
        """One hash of everything."""
        return {"dataset_hash": self.hash}

    def __len__(self) -> int:
        return len(self.documents)

    def key(self, index: int) -> str:
        """The id of the document at a position."""
        return self._keys[index]

    def text(self, index: int) -> str:
        """The text of the document at a position."""
        return self.documents[self._keys[index]]

    def position(self, key: str) -> int:
        """The position of a document id; KeyError for an unknown one."""
        return self._positions[key]

    @property
    def judged(self) -> Judged:
        """Queries, judgements and problems as they were given."""
        return Judged(self.queries, self.qrels, self.problems)

    def close(self) -> None:
        """Nothing is open."""

    def load(self) -> MemoryCollection:
        """The collection itself."""
        return self


def collection_hash(
    documents: Iterable[tuple[str, str]], queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> str:
    """`Collection.hash` over documents that come one at a time as (id, text)."""
    digest = hashlib.sha256()
    for part in (documents, queries.items(), qrels.items()):
        digest.update(b"[")
        for number, item in enumerate(part):
            digest.update((", " * (number > 0) + json.dumps(item, ensure_ascii=True)).encode("ascii"))
        digest.update(b"]")
    return digest.hexdigest()[:16]


def json_line(record: dict[str, object]) -> bytes:
    """A record as a line of UTF-8; characters that UTF-8 does not have (lone surrogates) are escaped."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()
