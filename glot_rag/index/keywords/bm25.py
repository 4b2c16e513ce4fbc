"""BM25 over the documents of this moment, in the form that Lucene has used since version 8.

    score(q, d) = Σ over the terms t of q:  idf(t) · tf / (tf + k1·(1 − b + b·|d|/avgdl))
    idf(t) = ln(1 + (N − df + ½) / (df + ½))

(Robertson and Zaragoza 2009; Kamphuis and others 2020 compare the forms.) N, df and avgdl are those of the documents
that are there when the search is made. An engine that keeps finished scores, as bm25s does, would have those of the
time when its file was written; here a search gives the same before and after a file is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glot_rag.index.keywords.postings import Postings, merge
from glot_rag.index.store.snapshot import Keys

K1, B = 1.5, 0.75
BATCH = 20_000  # documents that become posting lists at once

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class TermCounts:
    """What the weights of some terms are made of.

    Attributes:
        documents: How many there are.
        length: Terms in all of them together.
        having: Term -> how many documents have it.
    """

    documents: int
    length: int
    having: Mapping[int, int]

    def __add__(self, other: TermCounts) -> TermCounts:
        """Of both, for the same terms."""
        having = {term: count + other.having[term] for term, count in self.having.items()}
        return TermCounts(self.documents + other.documents, self.length + other.length, having)


class _Segment:
    """Posting lists, and which of their documents are alive."""

    def __init__(self, postings: Postings) -> None:
        self.postings = postings
        self.alive = np.ones(len(postings.keys), np.bool_)
        self.dead = 0

    def remove(self, keys: Keys) -> None:
        places = np.searchsorted(self.postings.keys, keys)
        inside = places < len(self.postings.keys)
        places = places[inside]
        self.alive[places[self.postings.keys[places] == keys[inside]]] = False
        self.dead = len(self.alive) - int(np.count_nonzero(self.alive))

    def living(self) -> Postings:
        return self.postings.only(self.alive) if self.dead else self.postings


class KeywordIndex:
    """Posting lists in segments, the oldest documents first. New documents become a small segment of their own.

    Args:
        base: The first segment.
    """

    def __init__(self, base: Postings) -> None:
        self._segments = [_Segment(base)]
        self._count()

    @classmethod
    def build(cls, rows: Iterable[tuple[int, bytes]]) -> KeywordIndex:
        """Of all documents of the store, in the order of their keys: (key, counts of terms)."""
        index = cls(Postings.empty())
        index.append(rows)
        return index

    # -- changes

    def append(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Add documents in the order of their keys, which are larger than those here: (key, counts of terms)."""
        batch: list[tuple[int, bytes]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                self._append(batch)
                batch = []
        if batch:
            self._append(batch)
        self._count()

    def _append(self, rows: Sequence[tuple[int, bytes]]) -> None:
        self._segments.append(_Segment(Postings.of(rows)))
        # As in a binary counter: a segment that has grown to the size of its neighbour joins it, so that there are few
        # and a document is moved few times. The first one may lie in a file, and stays there.
        while len(self._segments) > 2 and len(self._segments[-2].alive) <= 2 * len(self._segments[-1].alive):
            last = [segment.living() for segment in self._segments[-2:]]
            self._segments[-2:] = [_Segment(merge(last))]

    def remove(self, keys: Iterable[int]) -> None:
        """Leave documents out from now on. Keys that are not here mean nothing."""
        gone = np.fromiter(keys, np.int64)
        if len(gone):
            for segment in self._segments:
                segment.remove(gone)
            self._count()

    def merged(self) -> Postings:
        """All documents in one, without those that are gone."""
        return merge([segment.living() for segment in self._segments])

    def _count(self) -> None:
        self._living = sum(len(segment.alive) - segment.dead for segment in self._segments)
        self._length = sum(
            int(segment.postings.lengths[segment.alive].sum(dtype=np.int64)) for segment in self._segments
        )

    # -- reading

    def __len__(self) -> int:
        """How many documents there are."""
        return self._living

    @property
    def largest(self) -> int:
        """The largest key; 0 if there is none."""
        return max((int(segment.postings.keys[-1]) for segment in self._segments if len(segment.alive)), default=0)

    def keys(self) -> Keys:
        """The keys of all documents, ascending."""
        return np.concatenate([segment.postings.keys[segment.alive] for segment in self._segments])

    def counts(self, query: Mapping[int, int]) -> TermCounts:
        """What the weights of a query's terms are made of.

        Args:
            query: The terms and how often each occurs in the query.
        """
        return TermCounts(self._living, self._length, {term: self._having(term) for term in query})

    def scored(self, query: Mapping[int, int], counts: TermCounts | None = None) -> Scored:
        """BM25 of every document.

        Args:
            query: The terms and how often each occurs in the query.
            counts: Those of several indexes together, whose scores then compare; None is this one's.
        """
        counts = counts or self.counts(query)
        scores = [np.zeros(len(segment.alive), np.float32) for segment in self._segments]
        for term in sorted(query):
            self._add_term(term, query[term], counts, scores)
        for segment, part in zip(self._segments, scores, strict=True):
            if segment.dead:
                part[~segment.alive] = 0
        return Scored([segment.postings.keys for segment in self._segments], scores)

    def _having(self, term: int) -> int:
        """How many documents have a term."""
        documents = 0
        for segment in self._segments:
            row = segment.postings.row(term)
            if row is not None:
                positions = segment.postings.positions[row]
                documents += int(np.count_nonzero(segment.alive[positions])) if segment.dead else len(positions)
        return documents

    def _add_term(self, term: int, times: int, counts: TermCounts, scores: Sequence[Scores]) -> None:
        """Add what a term gives to the scores."""
        having = counts.having[term]
        if not having:
            return
        weight = times * math.log(1 + (counts.documents - having + 0.5) / (having + 0.5))
        longer = K1 * B * counts.documents / max(counts.length, 1)  # of each term that a document has
        for segment, part in zip(self._segments, scores, strict=True):
            row = segment.postings.row(term)
            if row is None:
                continue
            positions = segment.postings.positions[row]
            times_there = segment.postings.counts[row].astype(np.float32)
            full = segment.postings.lengths[positions] * np.float32(longer)
            full += np.float32(K1 * (1 - B))
            full += times_there
            times_there *= np.float32(weight)
            times_there /= full
            part[positions] += times_there  # a document occurs once in a term's list


class Scored:
    """BM25 of every document for one query.

    Args:
        keys: (N,) a segment, ascending over all of them.
        scores: (N,) of the same documents; 0: it has none of the query's terms, or is gone.
    """

    def __init__(self, keys: Sequence[Keys], scores: Sequence[Scores]) -> None:
        self._keys, self._scores = keys, scores

    def of(self, keys: Keys) -> Scores:
        """The scores of some documents, in the order of `keys`."""
        found = np.zeros(len(keys), np.float32)
        for known, scores in zip(self._keys, self._scores, strict=True):
            places = np.searchsorted(known, keys)
            inside = np.flatnonzero(places < len(known))
            inside = inside[known[places[inside]] == keys[inside]]
            found[inside] = scores[places[inside]]
        return found

    def best(self, k: int, keys: Keys | None = None) -> tuple[Scores, Keys]:
        """The best documents and their scores, which are more than 0; of equal ones the older comes first.

        Args:
            k: How many at most.
            keys: Only these, in ascending order; None: all.
        """
        if keys is not None:
            return _best(self.of(keys), keys, k)
        parts = [_best(scores, known, k) for known, scores in zip(self._keys, self._scores, strict=True)]
        return _best(np.concatenate([scores for scores, _ in parts]), np.concatenate([keys for _, keys in parts]), k)


def _best(scores: Scores, keys: Keys, k: int) -> tuple[Scores, Keys]:
    places = np.flatnonzero(scores)
    if len(places) > k:
        positive = scores[places]
        least = np.partition(positive, len(places) - k)[len(places) - k]
        places = places[positive >= least]
    places = places[np.lexsort((keys[places], -scores[places]))[:k]]
    return scores[places], keys[places]
