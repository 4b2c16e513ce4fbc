"""A collection's documents with noise in them, made when they are asked for, and their texts without noise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glot_rag.documents.jsonl import read_lines
from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.collections.beir import parse_record
from glot_rag.evaluation.collections.collection import Collection
from glot_rag.evaluation.collections.skip_counter import SkipCounter
from glot_rag.evaluation.collections.spooled import IdTable
from glot_rag.evaluation.noise.corrupt import Corrupted, check_max_words, corrupt_one
from glot_rag.evaluation.noise.layout import Words
from glot_rag.evaluation.noise.spec import Noise


class NoisyDocuments:
    """What `corrupt` makes of a collection, to the bit, one document at a time: nothing is held in memory.

    Args:
        collection: what to read.
        noise: what to put in.
        seed: of the noise.
        max_words: words of a document that a generator puts noise into; 0 is the whole document with noise on top.
        gold: the texts without noise, for a collection that is noisy already: they become the documents' signals.

    Raises:
        InputError: a negative `max_words` or seed.
    """

    def __init__(
        self, collection: Collection, noise: Noise, *, seed: int, max_words: int, gold: GoldTexts | None = None
    ) -> None:
        check_max_words(max_words)
        if seed < 0:
            raise InputError(f"seed must be 0 or more, got {seed}.")
        self.collection = collection
        self.noise = noise
        self.seed = seed
        self.max_words = max_words
        self.gold = gold
        self._words = _LazyWords(collection)

    def __len__(self) -> int:
        return len(self.collection)

    def __getitem__(self, index: int) -> Corrupted:
        """The document at a position.

        Raises:
            InputError: off-topic noise where no other document has any words.
        """
        if self.noise.label == "none":  # whole, with its line breaks
            text = self.collection.text(index)
            made = Corrupted(text, text, [True] * len(text.split()))
        else:
            made = corrupt_one(self._words, index, self.noise, seed=self.seed, max_words=self.max_words)
        return made if self.gold is None else replace(made, signal=self.gold.text(self.collection.key(index)))

    def batches(self, size: int) -> Iterator[list[Corrupted]]:
        """All documents in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield [self[index] for index in range(start, min(start + size, len(self)))]


class GoldTexts:
    """The documents of a collection without their noise, by the same ids; kept in a temporary file.

    Args:
        path: a folder with `corpus.jsonl`, in BEIR layout or without queries, or such a file.

    Raises:
        DatasetError: the file is missing or malformed, or repeats an id; file and line are named.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        self.path = given if given.is_file() else given / "corpus.jsonl"
        self._table: IdTable[bytes] = IdTable()
        for place, _, line in read_lines(self.path):
            key, title, text = parse_record(line, place)
            self._table.add(key, place, f"{title} {text}".strip().encode("utf-8", "surrogatepass"))

    def text(self, key: str) -> str:
        """The text of a document id; KeyError for an unknown one."""
        return self._table.value(self._table.position(key)).decode("utf-8", "surrogatepass")

    def check(self, collection: Collection) -> None:
        """Raise DatasetError unless every document of the collection has a gold text."""
        missing = SkipCounter("documents")
        for index in range(len(collection)):
            if (key := collection.key(index)) not in self._table:
                missing.add(key)
        if missing.count:
            raise DatasetError(
                f"{self.path} lacks {missing.count:,} of the {len(collection):,} documents of {collection.name} (the "
                f"first: {missing.first!r}): expected the same ids, each with its text without noise."
            )

    def close(self) -> None:
        """Remove the temporary file."""
        self._table.close()


class _LazyWords(Sequence[Words]):
    """The words of a collection's documents, split when they are asked for."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def __len__(self) -> int:
        return len(self._collection)

    def __getitem__(self, index: Any) -> Any:
        return self._collection.text(index).split()
