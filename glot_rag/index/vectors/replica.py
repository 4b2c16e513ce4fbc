"""The FAISS replica: the store's vectors in memory, kept in step with its commits."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexRecoveryWarning, InputError
from glot_rag.index import index_types
from glot_rag.index.index_types import Plan
from glot_rag.index.store.directory import FAISS_NAME, FAISS_TEMPORARY_NAME
from glot_rag.index.store.snapshot import CheckpointRecord, Keys, Snapshot, Version
from glot_rag.index.store.store import Store
from glot_rag.index.vectors import checkpoint
from glot_rag.index.vectors.faiss_index import GONE, FaissIndex, describe, make
from glot_rag.index.vectors.shared_lock import SharedLock

EXACT_BELOW = 5_000  # documents that match a filter, below which comparing all of them takes some ten milliseconds
GROWTH = 1.5  # an index stays as it was built until it has shrunk by this, so that it is not built anew at every turn
DEAD_SHARE = 4  # at most one vector in so many belongs to a deleted document in a FAISS file
ALL = 1 << 40  # more lists or candidates than there are
NOT_LOADED: Version = (-1, -1)
Found = list[tuple[float, int]]  # (score, key), best first
logger = logging.getLogger(__name__)


class FaissReplica:
    """A FAISS index over the store's vectors.

    Writers do not touch it. A search that finds the store ahead replays the newer commits first, whether this process
    or another one made them: one code path for both, and an addition is done once SQLite has committed it.

    FAISS can run several searches of one index at once (it releases the GIL), but not beside a change of it. So a
    search holds `SharedLock` together with other searches, and a replay holds it alone. Copying the index for every
    change would leave searches undisturbed, at the price of copying all N·D numbers for every batch; replaying a batch
    takes milliseconds.

    Training and building anew take long: they happen where the writer writes the FAISS file, beside the searches.

    Args:
        directory: That of the index.
        store: Its documents.
        memory_map: Leave the vectors in the FAISS file until there are some that are not in it. For readers only.

    Attributes:
        version: The version of the store that the replica is at.
        file_is_stale: The FAISS file on disk was found missing or damaged.
    """

    def __init__(self, directory: Path, store: Store, memory_map: bool = False) -> None:
        self._directory = directory
        self._memory_map = memory_map
        self._store = store
        self._lock = SharedLock()
        self._index: FaissIndex | None = None
        self.version = NOT_LOADED
        self.file_is_stale = False

    @contextmanager
    def synchronised(self) -> Iterator[Snapshot]:
        """A snapshot of the store with the replica at the same commit, until the block ends.

        Raises:
            IndexCorruptedError: The vectors can be loaded neither from the FAISS file nor from the store.
        """
        while True:
            # In this order: the version cannot move once the lock is held, and the store can only be ahead of it.
            with self._lock.shared(), self._store.snapshot() as snapshot:
                if self.version == snapshot.version:
                    yield snapshot
                    return
            with self._lock.exclusive():
                self._catch_up()

    def search(
        self,
        snapshot: Snapshot,
        queries: Vectors,
        k: int,
        keys: Keys | None,
        nprobe: int | None = None,
        ef_search: int | None = None,
    ) -> list[Found]:
        """Nearest vectors by inner product. Call it inside `synchronised`, with its snapshot.

        Every index type gives `k` hits where there are so many, and the exact ones where few documents match a filter.

        Args:
            snapshot: From `synchronised`.
            queries: (N, D) unit rows.
            k: How many for each.
            keys: Search only these; None: all.
            nprobe: Lists to look into, of an index that has lists.
            ef_search: Candidates to keep, of an index that is a graph.

        Returns:
            N lists of min(k, number of candidates) pairs. The scores are FAISS's, which are exact if `exact`.
        """
        index = self._loaded()
        candidates = len(index) if keys is None else len(keys)
        wanted = min(k, candidates)
        if not wanted or not len(queries):
            return [[] for _ in queries]
        if keys is not None and candidates <= EXACT_BELOW and index.description != index_types.FLAT:
            return exact_search(snapshot, queries, wanted, keys)
        found = _pairs(*index.search(queries, wanted, keys, nprobe, ef_search))
        short = [number for number, each in enumerate(found) if len(each) < wanted]
        if short:
            for number, each in zip(short, _pairs(*index.search(queries[short], wanted, keys, ALL, ALL)), strict=True):
                found[number] = each
        for number in short:
            if len(found[number]) < wanted:
                found[number] = exact_search(snapshot, queries[[number]], wanted, keys)[0]
        return found

    @property
    def exact(self) -> bool:
        """Whether FAISS holds the vectors as they are stored. Call it inside `synchronised`."""
        return self._loaded().exact

    @property
    def description(self) -> str | None:
        """The parts of the FAISS index; None if it is not loaded."""
        index = self._index
        return None if index is None else index.description

    def contents(self) -> tuple[Keys, Vectors | None]:
        """Keys (N,) and vectors (N, D), or None where FAISS compresses them. Call it inside `synchronised`."""
        return self._loaded().contents()

    def write_file(self, index_type: str | None = None, *, anew: bool = False) -> None:
        """Write the FAISS file. The caller holds the writer's lock; searches go on.

        The order of the steps leaves, at every point where a process can die, a file that a record describes:
        the new file under another name; its record beside the old one's; the rename; the old record's removal. A file
        whose record is committed counts, under whichever name it is.

        Args:
            index_type: Build an index of this (checked) type, and make it the index's type in the same commit as the
                new file's record.
            anew: Build it from the store, without what was deleted, even where the old one would do.

        Raises:
            InputError: There are too few documents to train that type; nothing was changed.
            IndexReplacedError: Another index was put in place of this one.
            OSError: The disk is full or failing. No document depends on this file.
        """
        manifest = self._store.manifest
        if index_type is not None:
            manifest = replace(manifest, index_type=index_type)
        self._store.require_same_file()
        self._build_anew(manifest.index_type, asked=index_type is not None, always=anew or index_type is not None)
        with self.synchronised() as snapshot:
            sequence = snapshot.state.sequence
            record = checkpoint.write_temporary(self._directory, self._loaded().to_file_form(), sequence)
        with self._store.transaction() as transaction:
            if index_type is not None:
                transaction.set_manifest(manifest.to_json())
            transaction.add_checkpoint(record)
        self._store.manifest = manifest
        checkpoint.publish(self._directory)
        with self._store.transaction() as transaction:
            transaction.keep_only_checkpoint(record)
        self.file_is_stale = False
        logger.info(
            "%s: wrote the FAISS file, %d vectors in %s, commit %d",
            self._directory,
            record.vectors,
            self.description,
            record.sequence,
        )

    def _loaded(self) -> FaissIndex:
        assert self._index is not None, "outside of `synchronised`"
        return self._index

    def _build_anew(self, index_type: str, *, asked: bool, always: bool) -> None:
        """Build another FAISS index, if one fits the documents better."""
        with self.synchronised() as snapshot:
            rows, dimension = snapshot.state.documents, self._store.manifest.dimension
            plan = index_types.plan(index_type, dimension, rows)
            if asked and plan.missing:
                raise InputError(
                    f"index type {index_type!r} takes {rows + plan.missing:,} documents to train, there are {rows:,}; "
                    "add more first, or choose 'flat', 'hnsw' or 'auto'"
                )
            index = self._loaded()
            fitting = {plan.factory, index_types.plan(index_type, dimension, int(GROWTH * rows)).factory}
            fits = index.description in [describe(make(factory, dimension)) for factory in fitting]
        if always or not fits or DEAD_SHARE * index.dead > len(index) + index.dead:
            # Nobody else commits meanwhile, so the new index is at the commit of the old one.
            with self._store.snapshot() as snapshot:
                index = FaissIndex.build(snapshot, plan, dimension) if asked else self._built(snapshot, plan)
                version = snapshot.version
            with self._lock.exclusive():
                self._index, self.version = index, version

    def _catch_up(self) -> None:
        try:
            if self._index is not None:
                with self._store.snapshot() as snapshot:
                    (generation, sequence), index = self.version, self._index
                    same_store = generation == snapshot.version[0] and sequence >= snapshot.state.horizon
                    if same_store and self._can_take(index, snapshot) and self._replay(index, snapshot, sequence):
                        return
            self._load()
        except BaseException:
            self._index, self.version = None, NOT_LOADED  # it may be half changed: load it anew next time
            raise

    def _load(self) -> None:
        # Twice: a writer may put two new files in place between our opening of one and our reading of the records.
        for _ in range(2):
            try:
                if self._load_file(FAISS_NAME) or self._load_file(FAISS_TEMPORARY_NAME):
                    logger.info("%s: read the FAISS file, %s", self._directory, self.description)
                    return
                problem = "is not the file that was written"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
        with self._store.snapshot() as snapshot:
            if snapshot.checkpoints():
                self.file_is_stale = True
                message = f"{self._directory / FAISS_NAME} {problem}; rebuilding it from the stored vectors"
                logger.warning(message)
                warnings.warn(message, IndexRecoveryWarning, stacklevel=2)
            manifest = self._store.manifest
            plan = index_types.plan(manifest.index_type, manifest.dimension, snapshot.state.documents)
            self._index = self._built(snapshot, plan)
            self.version = snapshot.version

    def _load_file(self, name: str) -> bool:
        if name == FAISS_TEMPORARY_NAME and not (self._directory / name).exists():
            return False
        with open(self._directory / name, "rb") as file:
            digest = checkpoint.sha256(file)
            with self._store.snapshot() as snapshot:
                record = next((r for r in snapshot.checkpoints() if r.sha256 == digest), None)
                if record is None or record.sequence < snapshot.state.horizon:
                    return False
                index = self._parse(file, record, self._memory_map)
                if index is not None and not self._can_take(index, snapshot):
                    index = self._parse(file, record, False)
                if index is None or index.largest >= snapshot.state.next_key:
                    return False
                self._index = index
                return self._replay(index, snapshot, record.sequence)

    def _parse(self, file: BinaryIO, record: CheckpointRecord, memory_map: bool) -> FaissIndex | None:
        """The index in a file; None if it is not one that a replica of this store could have written."""
        try:
            read = checkpoint.read(file, record, memory_map=memory_map)
            return FaissIndex.from_file_form(read, self._store.manifest.dimension, mapped=memory_map)
        except (RuntimeError, ValueError, MemoryError):
            return None

    @staticmethod
    def _can_take(index: FaissIndex, snapshot: Snapshot) -> bool:
        """Whether new vectors can be added, or there are none."""
        return not index.mapped or not snapshot.has_vectors_after(index.largest)

    def _replay(self, index: FaissIndex, snapshot: Snapshot, sequence: int) -> bool:
        """Apply the commits after `sequence`; False if the counts do not agree then."""
        index.remove(snapshot.removed_since(sequence))
        # A changed vector has a new key, and keys only grow: what is new is what is larger.
        index.append(snapshot.vectors_after(index.largest))
        self.version = snapshot.version
        return len(index) == snapshot.state.documents

    def _built(self, snapshot: Snapshot, plan: Plan) -> FaissIndex:
        dimension = self._store.manifest.dimension
        logger.info("%s: building %s for %d documents", self._directory, plan.factory, snapshot.state.documents)
        try:
            return FaissIndex.build(snapshot, plan, dimension)
        except InputError as error:  # an index that cannot be trained must still open
            warnings.warn(f"{error}; the search is exact instead", IndexRecoveryWarning, stacklevel=2)
            return FaissIndex.build(snapshot, replace(plan, factory=index_types.FLAT), dimension)


def exact_search(snapshot: Snapshot, queries: Vectors, k: int, keys: Keys | None) -> list[Found]:
    """The nearest of some documents by inner product over the stored vectors, without FAISS.

    Args:
        snapshot: Of the store.
        queries: (N, D) unit rows.
        k: How many for each.
        keys: Of the documents; None for all.

    Returns:
        N lists of (score, key), best first.

    Raises:
        IndexCorruptedError: A vector that was found does not match its checksum, or any has another length.
    """
    scores = np.empty((len(queries), 0), np.float32)
    best = np.empty((len(queries), 0), np.int64)
    parts = snapshot.all_vectors() if keys is None else snapshot.vectors(keys.tolist(), check=False)
    for some, vectors in parts:
        scores = np.concatenate([scores, queries @ vectors.T], axis=1)
        best = np.concatenate([best, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, best = np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1)
    for _ in snapshot.vectors(set(best.ravel().tolist())):
        pass  # checked: those whose scores are given back
    return [list(zip(*pair, strict=True)) for pair in zip(scores.tolist(), best.tolist(), strict=True)]


def _pairs(scores: Vectors, keys: Keys) -> list[Found]:
    return [
        [(score, key) for score, key in zip(*row, strict=True) if key != GONE]
        for row in zip(scores.tolist(), keys.tolist(), strict=True)
    ]
