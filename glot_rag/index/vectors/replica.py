"""The FAISS replica: the store's vectors in memory, kept in step with its commits."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexRecoveryWarning, InputError
from glot_rag.index import index_types
from glot_rag.index.index_types import Plan
from glot_rag.index.replica.files import BLOCK, check_size, write_temporary
from glot_rag.index.replica.replica import Replica, synchronised
from glot_rag.index.store.directory import FAISS_NAME
from glot_rag.index.store.snapshot import CheckpointRecord, Keys, Snapshot
from glot_rag.index.store.store import Store
from glot_rag.index.vectors.faiss_index import GONE, FaissIndex, describe, load_faiss, make

EXACT_BELOW = 5_000  # documents that match a filter, below which comparing all of them takes some ten milliseconds
GROWTH = 1.5  # an index stays as it was built until it has shrunk by this, so that it is not built anew at every turn
DEAD_SHARE = 4  # at most one vector in so many belongs to a deleted document in a FAISS file
ALL = 1 << 40  # more lists or candidates than there are
_limits_guard = threading.Lock()
logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """What N queries found, best first. Where one found less than another, its last keys are `GONE`.

    Attributes:
        scores: (N, k).
        keys: (N, k).
    """

    scores: NDArray[np.floating[Any]]
    keys: Keys

    @classmethod
    def of(cls, rows: Sequence[tuple[NDArray[np.floating[Any]], Keys]]) -> Found:
        """Of the scores and keys of each query, as many as it found."""
        most = max((len(keys) for _, keys in rows), default=0)
        scores = np.zeros((len(rows), most), np.result_type(np.float32, *(scores.dtype for scores, _ in rows)))
        found = cls(scores, np.full((len(rows), most), GONE, np.int64))
        for number, (some, keys) in enumerate(rows):
            found.scores[number, : len(keys)], found.keys[number, : len(keys)] = some, keys
        return found

    @property
    def there(self) -> NDArray[np.bool_]:
        """(N, k) where something was found."""
        there: NDArray[np.bool_] = self.keys != GONE
        return there


class FaissReplica(Replica[FaissIndex]):
    """A FAISS index over the store's vectors.

    FAISS releases the GIL, so searches of several threads run side by side. Training and building anew take long: they
    happen where the writer writes the FAISS file, beside the searches.

    Args:
        directory: That of the index.
        store: Its documents.
        memory_map: Leave the vectors in the FAISS file until there are some that are not in it. For readers only.
    """

    name = FAISS_NAME
    what = "vectors"

    def __init__(self, directory: Path, store: Store, memory_map: bool = False) -> None:
        super().__init__(directory, store)
        self._memory_map = memory_map

    def search(
        self,
        snapshot: Snapshot,
        queries: Vectors,
        k: int,
        keys: Keys | None,
        nprobe: int | None = None,
        ef_search: int | None = None,
    ) -> Found:
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
            min(k, number of candidates) for each. The scores are FAISS's, which are exact if `exact`.
        """
        index = self.part
        candidates = len(index) if keys is None else len(keys)
        wanted = min(k, candidates)
        if not wanted or not len(queries):
            return Found.of([(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries))
        if keys is not None and candidates <= EXACT_BELOW and index.description != index_types.FLAT:
            return exact_search(snapshot, queries, wanted, keys)
        found = Found(*index.search(queries, wanted, keys, nprobe, ef_search))
        if found.there.all():
            return found
        short = np.flatnonzero(~found.there.all(axis=1))
        found.scores[short], found.keys[short] = index.search(queries[short], wanted, keys, ALL, ALL)
        for number in short[~found.there[short].all(axis=1)]:
            exact = exact_search(snapshot, queries[[number]], wanted, keys)
            found.scores[number, : len(exact.keys[0])], found.keys[number, : len(exact.keys[0])] = exact
        return found

    @property
    def exact(self) -> bool:
        """Whether FAISS holds the vectors as they are stored. Call it inside `synchronised`."""
        return self.part.exact

    @property
    def description(self) -> str | None:
        """The parts of the FAISS index; None if it is not loaded."""
        index = self._part
        return None if index is None else index.description

    def rebuild(self, index_type: str, *, asked: bool, always: bool) -> None:
        """Build another FAISS index, if one fits the documents better. The caller holds the writer's lock.

        Args:
            index_type: A checked one.
            asked: A user asked for that type now, so too few documents to train it are an error.
            always: Build it even where the present one fits.

        Raises:
            InputError: There are too few documents to train that type; nothing was changed.
        """
        with synchronised(self._store, self) as snapshot:
            rows, dimension = snapshot.state.documents, self._store.manifest.dimension
            plan = index_types.plan(index_type, dimension, rows)
            if asked and plan.missing:
                raise InputError(
                    f"index type {index_type!r} takes {rows + plan.missing:,} documents to train, there are {rows:,}; "
                    "add more first, or choose 'flat', 'hnsw' or 'auto'"
                )
            index = self.part
            fitting = {plan.factory, index_types.plan(index_type, dimension, int(GROWTH * rows)).factory}
            fits = index.description in [describe(make(factory, dimension)) for factory in fitting]
        if always or not fits or DEAD_SHARE * index.dead > len(index) + index.dead:
            # Nobody else commits meanwhile, so the new index is at the commit of the old one.
            with self._store.snapshot() as snapshot:
                index = FaissIndex.build(snapshot, plan, dimension) if asked else self._built(snapshot, plan)
                version = snapshot.version
            self.replace(index, version)

    def write_temporary(self, sequence: int) -> CheckpointRecord:
        """See `Replica.write_temporary`."""
        faiss, index = load_faiss(), self.part.to_file_form()

        def fill(write: Any) -> None:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write, BLOCK))

        written = write_temporary(self._directory, self.name, fill)
        return CheckpointRecord(self.name.encode(), sequence, *written, index.ntotal)

    def _read(self, file: BinaryIO, record: CheckpointRecord, snapshot: Snapshot) -> FaissIndex:
        index = self._parse(file, record, self._memory_map)
        return index if self._can_take(index, snapshot) else self._parse(file, record, False)

    def _parse(self, file: BinaryIO, record: CheckpointRecord, memory_map: bool) -> FaissIndex:
        read = _read_index(file, record, memory_map=memory_map)
        return FaissIndex.from_file_form(read, self._store.manifest.dimension, mapped=memory_map)

    def _can_take(self, part: FaissIndex, snapshot: Snapshot) -> bool:
        return not part.mapped or not snapshot.has_vectors_after(part.largest)

    def _append(self, part: FaissIndex, snapshot: Snapshot) -> None:
        part.append(snapshot.vectors_after(part.largest))

    def _build(self, snapshot: Snapshot) -> FaissIndex:
        manifest = self._store.manifest
        plan = index_types.plan(manifest.index_type, manifest.dimension, snapshot.state.documents)
        return self._built(snapshot, plan)

    def _built(self, snapshot: Snapshot, plan: Plan) -> FaissIndex:
        dimension = self._store.manifest.dimension
        logger.info("%s: building %s for %d documents", self._directory, plan.factory, snapshot.state.documents)
        try:
            return FaissIndex.build(snapshot, plan, dimension)
        except InputError as error:  # an index that cannot be trained must still open
            warnings.warn(f"{error}; the search is exact instead", IndexRecoveryWarning, stacklevel=2)
            return FaissIndex.build(snapshot, replace(plan, factory=index_types.FLAT), dimension)


def _read_index(file: BinaryIO, record: CheckpointRecord, *, memory_map: bool) -> Any:
    """Parse an open FAISS file.

    Args:
        file: At its start.
        record: What was noted when it was written.
        memory_map: Leave the vectors in the file, where the system and FAISS (from 1.11 on) can. Adding to such an
            index would end the process.

    Raises:
        RuntimeError: FAISS cannot parse it, or a size in it claims more memory than the file can fill.
        ValueError: It has another size than `record` says.
    """
    faiss = load_faiss()
    check_size(file, record)
    file.seek(0)
    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", None)
    if memory_map and flags is not None and os.name == "posix":
        return faiss.read_index(f"/dev/fd/{file.fileno()}", flags)

    # The hash already says that these are our bytes. The limit is for the day when a bug says so wrongly: no vector
    # in the file can be larger than the file. FAISS has one limit per process, hence the guard.
    with _limits_guard:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(8 * record.size)  # FAISS divides it by up to 8, by element type
        try:
            if os.path.exists(f"/dev/fd/{file.fileno()}"):  # FAISS itself reads what was hashed, in half the time
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                return faiss.read_index(f"/dev/fd/{file.fileno()}")
            return faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK))
        finally:
            faiss.set_deserialization_vector_byte_limit(before)


def exact_search(snapshot: Snapshot, queries: Vectors, k: int, keys: Keys | None) -> Found:
    """The nearest of some documents by inner product over the stored vectors, without FAISS.

    Args:
        snapshot: Of the store.
        queries: (N, D) unit rows.
        k: How many for each.
        keys: Of the documents; None for all.

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
    return Found(scores, best)
