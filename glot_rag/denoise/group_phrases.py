"""What recurs within a group of documents: the pages of a host, the files of a folder, the mails of a sender."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP_ARRAYS = (
    "groups",
    "documents_of_group",
    "phrases_of_group",
    "group_phrases",
    "documents_with_group_phrase",
)


@dataclass(frozen=True, eq=False)
class GroupPhrases:
    """In how many documents of each group a phrase stands, for groups of at least two documents.

    Attributes:
        groups: (G,) int64 ascending, a hash of each group's name: the names themselves are not kept.
        documents_of_group: (G,), how many documents each has.
        phrases_of_group: (G + 1,), where each group's phrases begin in the arrays below, and where the last one's end.
        group_phrases: (Q,), the phrases that stand in at least two documents of the group, ascending within a group.
        documents_with_group_phrase: (Q,), in how many of its documents.
    """

    groups: NDArray[np.int64]
    documents_of_group: NDArray[np.int64]
    phrases_of_group: NDArray[np.int64]
    group_phrases: NDArray[np.int64]
    documents_with_group_phrase: NDArray[np.int64]

    @classmethod
    def count(cls, phrases: Iterable[NDArray[np.int64]], groups: Sequence[str]) -> GroupPhrases:
        """Count documents' distinct phrases by the names of the documents' groups."""
        by_group: dict[int, list[NDArray[np.int64]]] = {}
        for group, found in zip(groups, phrases, strict=True):
            by_group.setdefault(_hash_of(group), []).append(found)
        kept = sorted(group for group, documents in by_group.items() if len(documents) > 1)
        counted = [np.unique(np.concatenate(by_group[group]), return_counts=True) for group in kept]
        often = [(names[counts > 1], counts[counts > 1]) for names, counts in counted]
        empty = np.empty(0, np.int64)
        return cls(
            np.array(kept, np.int64),
            np.array([len(by_group[group]) for group in kept], np.int64),
            np.cumsum([0, *(len(names) for names, _ in often)]).astype(np.int64),
            np.concatenate([empty, *(names for names, _ in often)]),
            np.concatenate([empty, *(counts for _, counts in often)]).astype(np.int64),
        )

    def share(self, keys: NDArray[np.int64], group: str) -> NDArray[np.float64]:
        """In what share of a group's documents phrases stand: (P,) -> (P,).

        A phrase that stands in c of n documents has (c - 1) / (n + 1): its own document is no evidence, and the fewer
        documents there are, the less they say. 0 for a group that was not counted.
        """
        place = int(np.searchsorted(self.groups, _hash_of(group)))
        if place == len(self.groups) or self.groups[place] != _hash_of(group):
            return np.zeros(keys.shape)
        start, end = self.phrases_of_group[place : place + 2]
        counts = look_up(keys, self.group_phrases[start:end], self.documents_with_group_phrase[start:end])
        return np.asarray((counts - 1) / (self.documents_of_group[place] + 1))

    def fits(self) -> bool:
        """Whether the arrays agree with each other."""
        ends = self.phrases_of_group
        arrays = [getattr(self, name) for name in GROUP_ARRAYS]
        return (
            all(array.ndim == 1 for array in arrays)
            and len(ends) == len(self.groups) + 1
            and len(self.groups) == len(self.documents_of_group)
            and len(self.group_phrases) == len(self.documents_with_group_phrase) == ends[-1]
            and bool(ends[0] == 0 and (np.diff(ends) >= 0).all() and (np.diff(self.groups) > 0).all())
            and bool((self.documents_of_group > 1).all() and (self.documents_with_group_phrase > 1).all())
        )


def look_up(keys: NDArray[np.int64], phrases: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The count of each phrase, of any shape; 1 for one that is not there. `phrases` are ascending."""
    if not len(phrases):
        return np.ones(keys.shape, np.int64)
    place = np.searchsorted(phrases, keys).clip(max=len(phrases) - 1)
    return np.where(phrases[place] == keys, counts[place], 1)


def _hash_of(group: str) -> int:
    """A group's name as a signed 64-bit number."""
    return int.from_bytes(hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)
