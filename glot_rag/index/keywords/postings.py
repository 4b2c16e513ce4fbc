"""Posting lists: for each term the documents that have it. Arrays that never change, in memory or in a mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from glot_rag.index.keywords.analysis import Terms, decode_counts
from glot_rag.index.store.snapshot import Keys

MAGIC = b"GLOTKW01"
AT_ONCE = 1 << 22  # postings moved at a time
_HEADER_BYTES = 64


@dataclass(frozen=True)
class Postings:
    """N documents, T terms and P postings; a posting is a document's position and how often it has the term.

    Attributes:
        keys: (N,) the documents' keys in the store, ascending.
        lengths: (N,) how many terms each document has, repeated ones included.
        terms: (T,) ascending.
        offsets: (T + 1,) the postings of term t are those from `offsets[t]` to `offsets[t + 1]`, at least one.
        positions: (P,) which document, ascending within a term.
        counts: (P,) how often.
    """

    keys: Keys
    lengths: NDArray[np.uint32]
    terms: Terms
    offsets: NDArray[np.int64]
    positions: NDArray[np.uint32]
    counts: NDArray[np.unsignedinteger]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, bytes]]) -> Postings:
        """Of documents in the order of their keys: (key, what `Analyzer.document` made of its text)."""
        decoded = [decode_counts(blob) for _, blob in rows]
        sizes = np.array([len(terms) for terms, _ in decoded], np.int64)
        terms = np.concatenate([np.empty(0, np.uint64), *(terms for terms, _ in decoded)])
        counts = np.concatenate([np.empty(0, np.uint8), *(counts for _, counts in decoded)])
        positions = np.repeat(np.arange(len(rows), dtype=np.uint32), sizes)
        lengths = np.array([counts.sum(dtype=np.uint32) for _, counts in decoded], np.uint32)
        order = np.argsort(terms, kind="stable")
        found, first = np.unique(terms[order], return_index=True)
        keys = np.array([key for key, _ in rows], np.int64)
        return cls(keys, lengths, found, np.append(first, len(terms)), positions[order], counts[order])

    @classmethod
    def empty(cls) -> Postings:
        """Of no documents."""
        return cls.of([])

    def row(self, term: int) -> slice | None:
        """Where a term's postings are; None: no document has it."""
        place = int(np.searchsorted(self.terms, np.uint64(term)))
        if place == len(self.terms) or self.terms[place] != term:
            return None
        return slice(int(self.offsets[place]), int(self.offsets[place + 1]))

    def sums(self) -> NDArray[np.uint64]:
        """(N,) a number for each document that tells whether two have the same terms as often."""
        sums = self.lengths.astype(np.uint64)
        weighed = np.repeat(self.terms, np.diff(self.offsets)) * self.counts.astype(np.uint64)  # wraps around
        np.add.at(sums, self.positions, weighed)
        return sums

    def only(self, alive: NDArray[np.bool_]) -> Postings:
        """Those of some of the documents.

        Args:
            alive: (N,).
        """
        kept = alive[self.positions]
        sizes = np.add.reduceat(kept, self.offsets[:-1], dtype=np.int64) if len(self.terms) else np.empty(0, np.int64)
        moved = (np.cumsum(alive) - 1).astype(np.uint32)
        there = sizes > 0
        return Postings(
            self.keys[alive],
            self.lengths[alive],
            self.terms[there],
            np.concatenate([[0], np.cumsum(sizes[there])]).astype(np.int64),
            moved[self.positions[kept]],
            self.counts[kept],
        )


def merge(parts: Sequence[Postings]) -> Postings:
    """One of several, whose keys ascend from part to part. Takes the memory of the result and little more."""
    terms = np.unique(np.concatenate([part.terms for part in parts]))
    rows = [np.searchsorted(terms, part.terms) for part in parts]
    sizes = np.zeros(len(terms), np.int64)
    for part, row in zip(parts, rows, strict=True):
        sizes[row] += np.diff(part.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    positions = np.empty(offsets[-1], np.uint32)
    counts = np.empty(offsets[-1], np.result_type(*(part.counts.dtype for part in parts)))
    free, base = offsets[:-1].copy(), 0  # the next free place of each term; documents of the parts before
    for part, row in zip(parts, rows, strict=True):
        for first, last in _blocks(part.offsets):
            start, end = int(part.offsets[first]), int(part.offsets[last])
            shift = free[row[first:last]] - part.offsets[first:last]
            to = np.repeat(shift, np.diff(part.offsets[first : last + 1])) + np.arange(start, end)
            positions[to] = part.positions[start:end] + np.uint32(base)
            counts[to] = part.counts[start:end]
        free[row] += np.diff(part.offsets)
        base += len(part.keys)
    keys = np.concatenate([part.keys for part in parts])
    return Postings(keys, np.concatenate([part.lengths for part in parts]), terms, offsets, positions, counts)


def _blocks(offsets: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """(first, last) terms whose postings are moved together; a term with more than `AT_ONCE` goes alone."""
    first, end = 0, len(offsets) - 1
    while first < end:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + AT_ONCE, "right")) - 1)
        yield first, last
        first = last


def sections(postings: Postings) -> Iterable[memoryview]:
    """The file's bytes in parts: a header with the sizes, then the arrays, little endian."""
    width = postings.counts.dtype.itemsize
    sizes = [len(postings.keys), len(postings.terms), len(postings.positions), width]
    header = MAGIC + np.array(sizes, "<i8").tobytes()
    yield memoryview(header.ljust(_HEADER_BYTES, b"\0"))
    for array, dtype in zip(_arrays(postings), _dtypes(width), strict=True):
        yield np.ascontiguousarray(array, dtype).data.cast("B") if len(array) else memoryview(b"")


def from_buffer(buffer: memoryview, largest: int) -> Postings:
    """Read what `sections` wrote; the arrays are views of the buffer.

    Args:
        buffer: The file.
        largest: No key is larger than this.

    Raises:
        ValueError: It is something else, or a number in it points out of its array.
    """
    if len(buffer) < _HEADER_BYTES or bytes(buffer[: len(MAGIC)]) != MAGIC:
        raise ValueError("no posting lists")
    documents, terms, postings, width = np.frombuffer(buffer, "<i8", 4, len(MAGIC)).tolist()
    lengths = [documents, terms, terms + 1, documents, postings, postings]
    if width not in (1, 2, 4) or min(lengths) < 0:
        raise ValueError("no posting lists")
    dtypes = _dtypes(width)
    if _HEADER_BYTES + sum(n * dtype.itemsize for n, dtype in zip(lengths, dtypes, strict=True)) != len(buffer):
        raise ValueError(f"the posting lists do not fill {len(buffer)} bytes")
    arrays, start = [], _HEADER_BYTES
    for size, dtype in zip(lengths, dtypes, strict=True):
        arrays.append(np.frombuffer(buffer, dtype, size, start))
        start += size * dtype.itemsize
    # In the file's order, by the size of a number, so that each array is aligned.
    keys, found, offsets, sizes, positions, counts = arrays
    if not (
        (np.diff(keys) > 0).all()
        and (not documents or (keys[0] > 0 and keys[-1] <= largest))
        and (found[1:] > found[:-1]).all()
        and offsets[0] == 0
        and offsets[-1] == postings
        and (np.diff(offsets) > 0).all()
        and int(positions.max(initial=0)) < max(documents, 1)
    ):
        raise ValueError("the posting lists contradict themselves")
    return Postings(keys, sizes, found, offsets, positions, counts)


def write(postings: Postings, file: BinaryIO) -> None:
    """Write `sections` to a file."""
    for part in sections(postings):
        file.write(part)


def _arrays(postings: Postings) -> list[NDArray[np.generic]]:
    p = postings
    return [p.keys, p.terms, p.offsets, p.lengths, p.positions, p.counts]


def _dtypes(width: int) -> list[np.dtype[np.generic]]:
    return [np.dtype(name) for name in ("<i8", "<u8", "<i8", "<u4", "<u4", f"<u{width}")]
