"""The vectors in memory, searched by FAISS, kept at some commit of the store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexRecoveryWarning, InputError
from glot_rag.index import checkpoint, index_types
from glot_rag.index.exact import Found, exact_search
from glot_rag.index.filters import Filter
from glot_rag.index.index_types import Plan
from glot_rag.index.kept_rows import KeptRows
from glot_rag.index.locks import SharedLock
from glot_rag.index.matched_keys import MatchedKeys
from glot_rag.index.rows import Row
from glot_rag.index.snapshot import CheckpointRecord, Keys, Snapshot
from glot_rag.index.store import Store
from glot_rag.index.vector_table import GONE, VectorTable

EXACT_BELOW = 5_000  # documents let through by a filter, below which comparing all of them takes some ten milliseconds
GROWTH = 1.5  # an index stays as it was built until it has shrunk by this, lest it be built anew at every turn
DEAD_SHARE = 4  # one vector in so many may be a deleted document's, in a file
ALL = 1 << 40  # more lists or candidates than there are


class Mirror:
    """FAISS index over the store's vectors.

    Writers do not touch it. Whoever searches and finds the store ahead replays the newer commits first, be they of this
    process or of another: one code path for both, and an addition is over once SQLite has committed it.

    FAISS searches of one index may run at once (they release the GIL), but not beside a change of it. So a search holds
    `SharedLock` together with other searches, and a replay holds it alone. A copy for every change would leave
    searches undisturbed, at the price of copying all N·D numbers for every batch; a replay of a batch takes
    milliseconds.

    A reader may leave the vectors in the file (`memory_map`) until there are some that are not in it.

    What takes long, training and building anew, happens where the writer writes the FAISS file, beside the searches.
    """

    def __init__(self, directory: Path, store: Store, memory_map: bool = False) -> None:
        self._directory = directory
        self._memory_map = memory_map
        self._store = store
        self._lock = SharedLock()
        self._table: VectorTable | None = None
        self.sequence = -1
        self._matched = MatchedKeys()
        self._rows = KeptRows()
        self.file_is_stale = False  # the file on disk was found missing or damaged

    @contextmanager
    def synchronised(self) -> Iterator[Snapshot]:
        """A snapshot of the store with the mirror at the same commit, until the block ends.

        Raises:
            IndexCorruptedError: The vectors cannot be loaded from the file nor from the store.
        """
        while True:
            # In this order: the sequence cannot move once the lock is held, and the store can only be ahead of it.
            with self._lock.shared(), self._store.snapshot() as snapshot:
                if self.sequence == snapshot.state.sequence:
                    yield snapshot
                    return
            with self._lock.exclusive():
                self._catch_up()

    def matching(self, snapshot: Snapshot, filter: Filter) -> Keys:
        """Keys of the documents that a filter lets through, in ascending order."""
        return self._matched.of(snapshot, filter)

    def rows(self, snapshot: Snapshot, keys: set[int]) -> dict[int, Row]:
        """The rows of `keys`; those that do not exist are left out."""
        return self._rows.of(snapshot, keys)

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

        Every index type gives `k` where there are so many, and the right ones where a filter lets few through.

        Args:
            snapshot: From `synchronised`.
            queries: (N, D) unit rows.
            k: How many for each.
            keys: Search only these.
            nprobe: Lists to look into, of an index that has lists.
            ef_search: Candidates to keep, of an index that is a graph.

        Returns:
            N lists of min(k, number of candidates) times (score, key), best first. The scores are those of FAISS, which
            are exact if `exact`.
        """
        table = self._table
        assert table is not None
        candidates = len(table) if keys is None else len(keys)
        wanted = min(k, candidates)
        if not wanted or not len(queries):
            return [[] for _ in queries]
        if keys is not None and candidates <= EXACT_BELOW and not self._is_flat(table):
            return exact_search(snapshot, queries, wanted, keys)
        found = _pairs(*table.search(queries, wanted, keys, nprobe, ef_search))
        short = [number for number, each in enumerate(found) if len(each) < wanted]
        if short:
            for number, each in zip(short, _pairs(*table.search(queries[short], wanted, keys, ALL, ALL)), strict=True):
                found[number] = each
        for number in short:
            if len(found[number]) < wanted:
                found[number] = exact_search(snapshot, queries[[number]], wanted, keys)[0]
        return found

    @property
    def exact(self) -> bool:
        """Whether FAISS holds the vectors as they are stored. Call it inside `synchronised`."""
        assert self._table is not None
        return self._table.exact

    @property
    def description(self) -> str | None:
        """The parts of the FAISS index; None if it is not loaded."""
        table = self._table
        return None if table is None else table.description

    def contents(self) -> tuple[Keys, Vectors | None]:
        """Keys (N,) and vectors (N, D), if FAISS holds them as they are. Call it inside `synchronised`."""
        assert self._table is not None
        return self._table.contents()

    def write_file(self, index_type: str | None = None, *, anew: bool = False) -> None:
        """Write the FAISS file. The caller holds the writer's lock; searches go on.

        The order of the steps leaves, at every point where a process can die, a file that a record describes:
        the new file under another name; its record beside the old one's; the rename; the old record's removal. A file
        whose record is committed counts, under whichever name it is.

        Args:
            index_type: Build an index of this (checked) type, and make it the index's type in the same commit as the
                new file's record.
            anew: Build it from the store, without what was deleted, also where the old one would do.

        Raises:
            InputError: There are too few documents to train that type; nothing was changed.
            OSError: The disk is full or failing. No document depends on this file.
        """
        manifest = self._store.manifest
        if index_type is not None:
            manifest = replace(manifest, index_type=index_type)
        self._build_anew(manifest.index_type, asked=index_type is not None, always=anew or index_type is not None)
        with self.synchronised():
            assert self._table is not None
            record = checkpoint.write_temporary(self._directory, self._table.file_form(), self.sequence)
        with self._store.transaction() as transaction:
            if index_type is not None:
                transaction.set_manifest(manifest.to_json())
            transaction.add_checkpoint(record)
        self._store.manifest = manifest
        checkpoint.publish(self._directory)
        with self._store.transaction() as transaction:
            transaction.keep_only_checkpoint(record)
        self.file_is_stale = False

    def _build_anew(self, index_type: str, *, asked: bool, always: bool) -> None:
        """Build another index, if there is one that fits the documents better."""
        with self.synchronised() as snapshot:
            rows, dimension = snapshot.state.documents, self._store.manifest.dimension
            plan = index_types.plan(index_type, dimension, rows)
            if asked and plan.missing:
                raise InputError(
                    f"index type {index_type!r} takes {rows + plan.missing:,} documents to train, there are {rows:,}; "
                    "add more first, or choose 'flat', 'hnsw' or 'auto'"
                )
            table = self._table
            assert table is not None
            fitting = {plan.factory, index_types.plan(index_type, dimension, int(GROWTH * rows)).factory}
            fits = table.description in [index_types.describe(index_types.make(f, dimension)) for f in fitting]
        if always or not fits or DEAD_SHARE * table.dead > len(table) + table.dead:
            # Nobody else commits meanwhile, so the new index is at the commit of the old one.
            with self._store.snapshot() as snapshot:
                table = VectorTable.build(snapshot, plan, dimension) if asked else self._built(snapshot, plan)
                sequence = snapshot.state.sequence
            with self._lock.exclusive():
                self._table, self.sequence = table, sequence

    def _catch_up(self) -> None:
        try:
            if self._table is not None:
                with self._store.snapshot() as snapshot:
                    usable = self.sequence >= snapshot.state.horizon and self._can_take(self._table, snapshot)
                    if usable and self._replay(self._table, snapshot):
                        return
            self._load()
        except BaseException:
            self._table, self.sequence = None, -1  # it may be half changed: start anew next time
            raise

    def _load(self) -> None:
        # Twice: a writer may put two new files in place between our opening of one and our reading of the records.
        for _ in range(2):
            try:
                if self._load_file(checkpoint.FILE_NAME) or self._load_file(checkpoint.TEMPORARY_NAME):
                    return
                problem = "is not the file that was written"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
        with self._store.snapshot() as snapshot:
            if snapshot.checkpoints():
                self.file_is_stale = True
                message = f"{self._directory / checkpoint.FILE_NAME} {problem}; rebuilding it from the stored vectors"
                warnings.warn(message, IndexRecoveryWarning, stacklevel=2)
            manifest = self._store.manifest
            plan = index_types.plan(manifest.index_type, manifest.dimension, snapshot.state.documents)
            self._table = self._built(snapshot, plan)
            self.sequence = snapshot.state.sequence

    def _load_file(self, name: str) -> bool:
        if name == checkpoint.TEMPORARY_NAME and not (self._directory / name).exists():
            return False
        with open(self._directory / name, "rb") as file:
            digest = checkpoint.sha256(file)
            with self._store.snapshot() as snapshot:
                record = next((r for r in snapshot.checkpoints() if r.sha256 == digest), None)
                if record is None or record.sequence < snapshot.state.horizon:
                    return False
                table = self._parse(file, record, self._memory_map)
                if table is not None and not self._can_take(table, snapshot):
                    table = self._parse(file, record, False)
                if table is None or table.largest >= snapshot.state.next_key:
                    return False
                self._table, self.sequence = table, record.sequence
                return self._replay(table, snapshot)

    def _parse(self, file: BinaryIO, record: CheckpointRecord, memory_map: bool) -> VectorTable | None:
        """The index in a file; None if it is none that a mirror of this store could have written."""
        try:
            read = checkpoint.read(file, record, memory_map=memory_map)
            return VectorTable.from_file_form(read, self._store.manifest.dimension, mapped=memory_map)
        except (RuntimeError, ValueError, MemoryError):
            return None

    @staticmethod
    def _can_take(table: VectorTable, snapshot: Snapshot) -> bool:
        """Whether what is new can be added to it."""
        return not table.mapped or not snapshot.has_vectors_after(table.largest)

    def _replay(self, table: VectorTable, snapshot: Snapshot) -> bool:
        """Apply the commits after `self.sequence`; False if the result does not add up."""
        table.remove(snapshot.removed_since(self.sequence))
        # A changed vector has a new key, and keys only grow: what is new is what is larger.
        table.append(snapshot.vectors_after(table.largest))
        self.sequence = snapshot.state.sequence
        return len(table) == snapshot.state.documents

    def _built(self, snapshot: Snapshot, plan: Plan) -> VectorTable:
        dimension = self._store.manifest.dimension
        try:
            return VectorTable.build(snapshot, plan, dimension)
        except InputError as error:  # an index that cannot be trained must still open
            warnings.warn(f"{error}; the search is exact instead", IndexRecoveryWarning, stacklevel=2)
            return VectorTable.build(snapshot, replace(plan, factory=index_types.FLAT), dimension)

    @staticmethod
    def _is_flat(table: VectorTable) -> bool:
        return table.description == index_types.FLAT


def _pairs(scores: Vectors, keys: Keys) -> list[Found]:
    return [
        [(score, key) for score, key in zip(*row, strict=True) if key != GONE]
        for row in zip(scores.tolist(), keys.tolist(), strict=True)
    ]
