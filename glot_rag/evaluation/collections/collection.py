"""A collection whose documents are asked for by position, so that they need not be in memory."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from glot_rag.evaluation.collections.judgements import RetrievalDataset, dataset_hash


@dataclass(frozen=True)
class Judged:
    """What a collection is measured on.

    Args:
        queries: query id -> text; each has a relevant document.
        qrels: query id -> document id -> grade.
        problems: what was left out of documents, queries and judgements, one sentence each.
    """

    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    problems: list[str]


class Collection(ABC):
    """Documents by position, and the queries that go with them.

    Attributes:
        name: for reports.
        problems: what was left out, one sentence each.
        queries_made: where queries were made, from what: source -> how many.
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
        """The id of a document."""

    @abstractmethod
    def text(self, index: int) -> str:
        """The text of a document, as `evaluate` sees it."""

    @abstractmethod
    def position(self, key: str) -> int:
        """Where a document stands; KeyError for an unknown one."""

    @property
    @abstractmethod
    def judged(self) -> Judged:
        """The queries that can be measured, and their judgements."""

    @cached_property
    def hash(self) -> str:
        """As `RetrievalDataset.hash`."""
        documents = ((self.key(index), self.text(index)) for index in range(len(self)))
        return dataset_hash(documents, self.judged.queries, self.judged.qrels)

    @abstractmethod
    def close(self) -> None:
        """Let go of files; nothing can be read any more."""

    def copy_queries(self, folder: Path) -> None:
        """Write `queries.jsonl` and `qrels/test.tsv`, or more where there is more."""
        (folder / "qrels").mkdir()
        with open(folder / "queries.jsonl", "wb") as queries:
            queries.writelines(json_line({"_id": key, "text": text}) for key, text in self.judged.queries.items())
        with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            for query, grades in self.judged.qrels.items():
                file.writelines(f"{query}\t{document}\t{grade}\n" for document, grade in grades.items())

    def load(self) -> RetrievalDataset:
        """Everything in memory; the collection is closed."""
        documents = {self.key(index): self.text(index) for index in range(len(self))}
        judged = self.judged
        self.close()
        return RetrievalDataset(
            self.name, documents, judged.queries, judged.qrels, judged.problems, dict(self.queries_made)
        )


class LoadedCollection(Collection):
    """A dataset that is in memory already."""

    def __init__(self, dataset: RetrievalDataset) -> None:
        self._dataset = dataset
        self._keys = list(dataset.documents)
        self._positions = {key: index for index, key in enumerate(self._keys)}
        self.name, self.problems, self.queries_made = dataset.name, dataset.problems, dataset.queries_made
        self.sha256 = {"dataset_hash": dataset.hash}

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """The id of a document."""
        return self._keys[index]

    def text(self, index: int) -> str:
        """The text of a document."""
        return self._dataset.documents[self._keys[index]]

    def position(self, key: str) -> int:
        """Where a document stands."""
        return self._positions[key]

    @property
    def judged(self) -> Judged:
        """The dataset's own."""
        return Judged(self._dataset.queries, self._dataset.qrels, self._dataset.problems)

    def close(self) -> None:
        """There is nothing to let go of."""


def json_line(record: dict[str, object]) -> bytes:
    """A record as a line of UTF-8; characters that UTF-8 does not have (lone surrogates) are escaped."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()
