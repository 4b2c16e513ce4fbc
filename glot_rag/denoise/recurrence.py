"""What recurs from document to document: in how many of a group (a site, a folder, a mailing list) a block stands.

Navigation, footers and notices of a site stand on most of its pages, word for word or with a few words changed. Whole
blocks, their runs of three words, and three blocks in a row are counted within each group, as across sites hardly
anything recurs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from glot_rag.denoise.arrays import read_arrays
from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.errors import BundleError, InputError
from glot_rag.files import write_atomically
from glot_rag.fingerprint import fingerprint

RECURRENCE_FEATURES = (
    "documents",  # ln(1 + documents of the group that have the same block)
    "share",  # of the group's documents that have the same block
    "runs",  # the mean share of the group's documents that have its three-word runs
    "recurring runs",  # the share of its runs that stand in another document, too
)
RECURRENCE_FILE = "recurrence.safetensors"
FEWEST = 3  # documents of a group; in fewer nothing can be said to recur
# Three lines in a row are a template where so large a share of the other documents has them, in a group of at least so
# many. Of such words 98% (python-django-doc) and 100% (postgresql-doc-15) are noise: benchmarks/site.py. Single lines
# recur in the content, too: inline code, the headings of a reference.
TEMPLATE_SHARE, TEMPLATE_DOCUMENTS = 0.6, 5
MOST_KEPT = 1 << 24  # different blocks and runs that are counted, 200 MB of them
_PENDING = 1 << 20  # of them that wait to be put in order
_WORD = re.compile(r"\w+")
_FACTORS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15], np.uint64)  # odd
_ALWAYS = np.uint64(16)  # the last bits of hashes of blocks are 0: they leave the sample after all runs did
_ARRAYS = ("documents", "groups", "members", "keys", "counts")
_KINDS = {name: np.dtype(np.uint64) for name in ("documents", "groups", "keys")} | {
    name: np.dtype(np.int64) for name in ("members", "counts", "halvings")
}

Hashes = NDArray[np.uint64]


class Recurring(NamedTuple):
    """What recurs of a document with N blocks.

    Attributes:
        features: (N, 4) float32, columns as in `RECURRENCE_FEATURES`. All zero in a group of fewer than three.
        template: (N,) boolean, the blocks of the group's template: three in a row that most of the other documents
            have, too, as a menu, a footer or a notice. None of them in a group of fewer than five, nor where they
            would be all of the document but a tenth.
    """

    features: NDArray[np.float32]
    template: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recurrence:
    """In how many documents of its group a block stands, three in a row, and a run of three words. No text is held.

    Counts of parts of a corpus can be made apart and merged: `count(a + b)` and `count(a).merge(count(b))` are equal.
    With more than `MOST_KEPT` different blocks and runs, only runs are counted whose hash is divisible by 2, 4, 8, …: a
    sample that does not depend on the order of the documents. A text given twice counts twice.

    Attributes:
        documents: (N,) ascending, a hash of each counted document and its group.
        groups: (G,) ascending, a hash of each group's name.
        members: (G,) int64, how many documents each has.
        keys: (K,) ascending, a hash of each block or run and its group.
        counts: (K,) int64, in how many documents of the group.
        halvings: how often the sample was halved.
        pruned: only what recurs is left, see `recurring`.
    """

    documents: Hashes
    groups: Hashes
    members: NDArray[np.int64]
    keys: Hashes
    counts: NDArray[np.int64]
    halvings: int = 0
    pruned: bool = False

    @classmethod
    def count(cls, texts: Sequence[str], groups: Sequence[str] | None = None) -> Recurrence:
        """Count the blocks and runs of documents.

        Args:
            texts: N documents.
            groups: the name of each document's group; None makes one group of all.

        Raises:
            InputError: another number of groups.
        """
        names = _names(texts, groups)
        found, pending = cls._empty(), []
        for text, group in zip(texts, names, strict=True):
            keys = _keys(text, split_blocks(text), group)
            pending.append(np.unique(np.concatenate([keys.blocks, keys.sequences, keys.runs])))
            if sum(map(len, pending)) > _PENDING:
                found, pending = found._with(pending), []
        found = found._with(pending)
        members, counts = np.unique(np.array([_hash(name) for name in names], np.uint64), return_counts=True)
        documents = np.sort(np.array([_hash(name, text) for text, name in zip(texts, names, strict=True)], np.uint64))
        return cls(documents, members, counts.astype(np.int64), found.keys, found.counts, found.halvings)

    def merge(self, other: Recurrence) -> Recurrence:
        """The counts of both corpora together.

        Raises:
            InputError: one of them holds only what recurs (`recurring`), so the rest is not known any more.
        """
        if self.pruned or other.pruned:
            raise InputError("counts that hold only what recurs cannot be merged: merge what Recurrence.count() gave")
        groups, members = _added((self.groups, self.members), (other.groups, other.members))
        keys, counts = _added((self.keys, self.counts), (other.keys, other.counts))
        documents = np.sort(np.concatenate([self.documents, other.documents]))
        return Recurrence(documents, groups, members, keys, counts, max(self.halvings, other.halvings))._sampled()

    def recurring(self) -> Recurrence:
        """Without the blocks and runs of a single document, which are nearly all: what `look_up` needs."""
        often = self.counts > 1
        return replace(self, keys=self.keys[often], counts=self.counts[often], pruned=True)

    def look_up(self, text: str, blocks: Sequence[Block], group: str = "") -> Recurring:
        """What recurs of a document.

        The document itself is one of the group, whether it was counted or not: a block that stands nowhere else stands
        in one document.

        Args:
            text: a document.
            blocks: N blocks of it.
            group: the name of its group; "" where none was given.
        """
        known = int(_found(np.array([_hash(group)], np.uint64), self.groups, self.members)[0])
        counted = bool(np.isin(_hash(group, text), self.documents))
        others = known - counted
        nothing = Recurring(np.zeros((len(blocks), len(RECURRENCE_FEATURES)), np.float32), np.zeros(len(blocks), bool))
        if others + 1 < FEWEST or not len(blocks):
            return nothing
        keys = _keys(text, blocks, group)
        features = self._features(keys, len(blocks), others + 1, own=0 if counted else 1)
        if others + 1 < TEMPLATE_DOCUMENTS or len(blocks) < 3:
            return nothing._replace(features=features)
        template = nothing.template
        times = np.maximum(_found(keys.sequences, self.keys, self.counts) - counted, 0)
        for place in np.flatnonzero(times >= TEMPLATE_SHARE * others).tolist():
            template[place : place + 3] = True
        words = np.array([len(text[block.start : block.end].split()) for block in blocks])
        if words[~template].sum() < words.sum() / 10:  # documents that repeat each other, as versions of a contract do
            template[:] = False
        return Recurring(features, template)

    def _features(self, keys: _Keys, blocks: int, documents: int, own: int) -> NDArray[np.float32]:
        features = np.zeros((blocks, len(RECURRENCE_FEATURES)), np.float32)
        sampled = _in_sample(keys.runs, self.halvings)
        same = np.maximum(_found(keys.blocks, self.keys, self.counts) + own, 1)
        of_runs = np.maximum(_found(keys.runs[sampled], self.keys, self.counts) + own, 1)
        run_block = keys.run_block[sampled]
        runs = np.bincount(run_block, minlength=blocks)
        some = runs > 0
        mean, recurring = same.astype(np.float64), (same > 1).astype(np.float64)  # of a block without runs
        mean[some] = np.bincount(run_block, of_runs, minlength=blocks)[some] / runs[some]
        recurring[some] = np.bincount(run_block, of_runs > 1, minlength=blocks)[some] / runs[some]
        for column, values in enumerate((np.log1p(same), same / documents, mean / documents, recurring)):
            features[:, column] = values
        return features

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the counts."""
        return fingerprint(self._arrays())

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        write_atomically(path, save(self._arrays()))

    @classmethod
    def load(cls, path: Path, *, pruned: bool = True) -> Recurrence:
        """Read what `save` wrote.

        Args:
            path: the file.
            pruned: it was saved after `recurring`, as a denoiser's is.

        Raises:
            BundleError: it is missing, damaged, or contradicts itself.
        """
        again = "fit the denoiser again and save it"
        arrays = read_arrays(path, "counts of what recurs", again)
        if {name: array.dtype for name, array in arrays.items()} != _KINDS:
            raise BundleError(f"{path} does not hold counts of what recurs: {again}")
        found = cls(
            documents=arrays["documents"],
            groups=arrays["groups"],
            members=arrays["members"],
            keys=arrays["keys"],
            counts=arrays["counts"],
            halvings=int(arrays["halvings"].sum()),
            pruned=pruned,
        )
        if arrays["halvings"].shape != (1,) or not found._fits():
            raise BundleError(f"{path} holds counts that contradict each other: {again}")
        return found

    def _arrays(self) -> dict[str, NDArray[np.int64] | Hashes]:
        found = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        return {**found, "halvings": np.array([self.halvings], np.int64)}

    def _fits(self) -> bool:
        return (
            all(getattr(self, name).ndim == 1 for name in _ARRAYS)
            and len(self.groups) == len(self.members)
            and len(self.keys) == len(self.counts)
            and int(self.members.sum()) == len(self.documents)
            and bool((self.members > 0).all() and (self.counts > 0).all() and 0 <= self.halvings < 64)
            and all(bool((each[1:] > each[:-1]).all()) for each in (self.groups, self.keys))
            and bool((self.documents[1:] >= self.documents[:-1]).all())
        )

    @classmethod
    def _empty(cls) -> Recurrence:
        none, zero = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        return cls(none, none, zero, none, zero)

    def _with(self, keys: Sequence[Hashes]) -> Recurrence:
        """With the blocks and runs of some documents, each once a document."""
        new, times = np.unique(np.concatenate([np.zeros(0, np.uint64), *keys]), return_counts=True)
        merged, counts = _added((self.keys, self.counts), (new, times.astype(np.int64)))
        return Recurrence(self.documents, self.groups, self.members, merged, counts, self.halvings)._sampled()

    def _sampled(self) -> Recurrence:
        """With no more keys than `MOST_KEPT`, all of them divisible by 2^halvings."""
        halvings, kept = self.halvings, _in_sample(self.keys, self.halvings)
        while int(kept.sum()) > MOST_KEPT:
            halvings += 1
            kept = _in_sample(self.keys, halvings)
        return Recurrence(self.documents, self.groups, self.members, self.keys[kept], self.counts[kept], halvings)


def recurrence_features(
    texts: Sequence[str], blocks: Sequence[Sequence[Block]], groups: Sequence[str] | None = None
) -> list[NDArray[np.float32]]:
    """The recurrence of each block of each document of a corpus, for training: see `Recurring.features`.

    Raises:
        InputError: the three are not of one length.
    """
    names = _names(texts, groups)
    if len(blocks) != len(names):
        raise InputError(f"got {len(texts)} texts and {len(blocks)} lists of blocks: expected one for each text")
    counts = Recurrence.count(texts, groups).recurring()
    return [counts.look_up(text, each, name).features for text, each, name in zip(texts, blocks, names, strict=True)]


def _names(texts: Sequence[str], groups: Sequence[str] | None) -> list[str]:
    names = [""] * len(texts) if groups is None else list(groups)
    if len(names) != len(texts):
        raise InputError(f"got {len(texts)} texts and {len(names)} groups: expected one for each text")
    return names


class _Keys(NamedTuple):
    """Hashes of a document's N blocks, of its sequences of three blocks, and of its R runs of three words.

    Attributes:
        blocks: (N,).
        sequences: (N - 2,), or none.
        runs: (R,).
        run_block: (R,), the block of each run.
    """

    blocks: Hashes
    sequences: Hashes
    runs: Hashes
    run_block: NDArray[np.int64]


def _keys(text: str, blocks: Sequence[Block], group: str) -> _Keys:
    """What is counted of a document.

    Case and punctuation aside, and numbers alike. A block without words is what it is.
    """
    matches = list(_WORD.finditer(text))
    starts = np.array([block.start for block in blocks], np.int64)
    places = np.array([match.start() for match in matches], np.int64)
    home = np.searchsorted(starts, places, side="right") - 1
    cache: dict[str, int] = {}
    words = np.array([_word_hash(match[0], cache) for match in matches], np.uint64)
    if len(home) and home[0] < 0:  # words before the first block
        words, home = words[home >= 0], home[home >= 0]
    count = np.bincount(home, minlength=len(blocks))
    first = np.cumsum(count) - count
    position = np.arange(len(home)) - first[home]
    powers = np.multiply.accumulate(np.full(int(count.max(initial=0)) + 1, _FACTORS[2]))
    whole = np.zeros(len(blocks), np.uint64)
    np.add.at(whole, home, words * powers[position])
    for number in np.flatnonzero(count == 0).tolist():
        whole[number] = _hash(text[blocks[number].start : blocks[number].end])
    inside = np.flatnonzero(home[2:] == home[:-2])
    runs = words[inside] * _FACTORS[0] + words[inside + 1] * _FACTORS[1] + words[inside + 2]
    of_group = np.uint64(_hash(group))
    runs = _mixed(runs ^ of_group)
    sequences = whole[:-2] * _FACTORS[0] + whole[1:-1] * _FACTORS[1] + whole[2:]
    of_blocks, of_sequences = (_mixed(each + of_group) >> _ALWAYS << _ALWAYS for each in (whole, ~sequences))
    return _Keys(of_blocks, of_sequences, runs, home[inside])


def _word_hash(word: str, cache: dict[str, int]) -> int:
    found = cache.get(word)
    if found is None:
        found = cache[word] = _hash("0" if word.isdigit() else word.lower())
    return found


def _hash(*parts: str) -> int:
    data = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _mixed(hashes: Hashes) -> Hashes:
    """Every bit depends on every other one (splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * _FACTORS[0]
    hashes = (hashes ^ (hashes >> np.uint64(27))) * _FACTORS[1]
    mixed: Hashes = hashes ^ (hashes >> np.uint64(31))
    return mixed


def _in_sample(keys: Hashes, halvings: int) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = (keys & np.uint64((1 << halvings) - 1)) == 0
    return kept


def _added(
    one: tuple[Hashes, NDArray[np.int64]], other: tuple[Hashes, NDArray[np.int64]]
) -> tuple[Hashes, NDArray[np.int64]]:
    """Keys and their counts, of both."""
    keys, place = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, place, np.concatenate([one[1], other[1]]))
    return keys, counts


def _found(keys: Hashes, known: Hashes, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The count of each key; 0 for one that is not known."""
    if not len(known):
        return np.zeros(len(keys), np.int64)
    place = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[place] == keys, counts[place], 0)
