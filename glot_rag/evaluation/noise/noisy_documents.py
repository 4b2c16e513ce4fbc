"""A collection's documents with noise in them, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from glot_rag.errors import InputError
from glot_rag.evaluation.collections.collection import Collection
from glot_rag.evaluation.noise.corrupt import Corrupted, check_max_words, corrupt_one
from glot_rag.evaluation.noise.layout import Words
from glot_rag.evaluation.noise.spec import Noise


class NoisyDocuments:
    """What `corrupt` makes of a collection, to the bit, one document at a time: nothing is held.

    Args:
        collection: what to read.
        noise: what to put in.
        seed: as in `corrupt`.
        max_words: likewise.

    Raises:
        InputError: a negative `max_words` or seed.
    """

    def __init__(self, collection: Collection, noise: Noise, *, seed: int, max_words: int) -> None:
        check_max_words(max_words)
        if seed < 0:
            raise InputError(f"seed must be 0 or more, got {seed}.")
        self.collection = collection
        self.noise = noise
        self.seed = seed
        self.max_words = max_words
        self._words = _LazyWords(collection)

    def __len__(self) -> int:
        return len(self.collection)

    def __getitem__(self, index: int) -> Corrupted:
        """The document at a position.

        Raises:
            InputError: off-topic noise where no other document has any words.
        """
        return corrupt_one(self._words, index, self.noise, seed=self.seed, max_words=self.max_words)

    def batches(self, size: int) -> Iterator[list[Corrupted]]:
        """All documents in order, so many at a time."""
        for start in range(0, len(self), size):
            yield [self[index] for index in range(start, min(start + size, len(self)))]


class _LazyWords(Sequence[Words]):
    """The words of a collection's documents, split when they are asked for."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def __len__(self) -> int:
        return len(self._collection)

    def __getitem__(self, index: Any) -> Any:
        return self._collection.text(index).split()
