"""The vectors in memory, searched by FAISS, kept at some commit of the store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Vectors
from glot_rag.errors import IndexRecoveryWarning
from glot_rag.index import checkpoint
from glot_rag.index.lazy_faiss import load_faiss
from glot_rag.index.locks import SharedLock
from glot_rag.index.rows import Row
from glot_rag.index.snapshot import Keys, Snapshot
from glot_rag.index.store import Store

BATCH = 4096


class Mirror:
    """FAISS index over the store's vectors.

    Writers do not touch it. Whoever searches and finds the store ahead replays the newer commits first, be they of this
    process or of another: one code path for both, and an addition is over once SQLite has committed it.

    FAISS searches of one index may run at once (they release the GIL), but not beside a change of it. So a search holds
    `SharedLock` together with other searches, and a replay holds it alone. A copy for every change would leave
    searches undisturbed, at the price of copying all N·D numbers for every batch; a replay of a batch takes
    milliseconds.
    """

    def __init__(self, directory: Path, store: Store) -> None:
        self._directory = directory
        self._store = store
        self._lock = SharedLock()
        self._index: Any = None
        self.sequence = -1
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

    def search(self, queries: Vectors, k: int, keys: Keys | None) -> tuple[Vectors, Keys]:
        """Nearest vectors by inner product. Call it inside `synchronised`.

        Args:
            queries: (N, D) unit rows.
            k: How many for each.
            keys: Search only these.

        Returns:
            Scores and keys, both (N, min(k, number of candidates)), best first.
        """
        faiss = load_faiss()

        candidates = self._index.ntotal if keys is None else len(keys)
        if not candidates or not len(queries):
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        # The selector is applied inside the scan: exact, however few it lets through.
        selector = None if keys is None else faiss.IDSelectorBatch(keys)
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        scores, found = self._index.search(queries, min(k, candidates), params=parameters)
        return scores, found

    def contents(self) -> tuple[Keys, Vectors]:
        """Keys (N,) and vectors (N, D) as FAISS holds them. Call it inside `synchronised`."""
        faiss = load_faiss()

        keys: Keys = faiss.vector_to_array(self._index.id_map)
        return keys, self._index.index.reconstruct_n(0, len(keys))

    def write_file(self) -> None:
        """Write the FAISS file. The caller holds the writer's lock; searches go on.

        The order of the steps leaves, at every point where a process can die, a file that a record describes:
        the new file under another name; its record beside the old one's; the rename; the old record's removal.

        Raises:
            OSError: The disk is full or failing. No document depends on this file.
        """
        with self.synchronised():
            record = checkpoint.write_temporary(self._directory, self._index, self.sequence)
        with self._store.transaction() as transaction:
            transaction.add_checkpoint(record)
        checkpoint.publish(self._directory)
        with self._store.transaction() as transaction:
            transaction.keep_only_checkpoint(record)
        self.file_is_stale = False

    def _catch_up(self) -> None:
        try:
            if self._index is not None:
                with self._store.snapshot() as snapshot:
                    if self.sequence >= snapshot.state.horizon and self._replay(snapshot):
                        return
            self._load()
        except BaseException:
            self._index, self.sequence = None, -1  # it may be half changed: start anew next time
            raise

    def _load(self) -> None:
        # Twice: a writer may put two new files in place between our opening of one and our reading of the records.
        for _ in range(2):
            try:
                if self._load_file():
                    return
                problem = "is not the file that was written"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
        with self._store.snapshot() as snapshot:
            if snapshot.checkpoints():
                self.file_is_stale = True
                message = f"{self._directory / checkpoint.FILE_NAME} {problem}; rebuilding it from the stored vectors"
                warnings.warn(message, IndexRecoveryWarning, stacklevel=2)
            self._rebuild(snapshot)

    def _load_file(self) -> bool:
        with open(self._directory / checkpoint.FILE_NAME, "rb") as file:
            digest = checkpoint.sha256(file)
            with self._store.snapshot() as snapshot:
                record = next((r for r in snapshot.checkpoints() if r.sha256 == digest), None)
                if record is None or record.sequence < snapshot.state.horizon:
                    return False
                self._index, self.sequence = checkpoint.read(file, record), record.sequence
                return self._replay(snapshot)

    def _rebuild(self, snapshot: Snapshot) -> None:
        faiss = load_faiss()

        dimension = self._store.manifest.dimension
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
        self._append(snapshot.rows())
        self.sequence = snapshot.state.sequence

    def _replay(self, snapshot: Snapshot) -> bool:
        """Apply the commits after `self.sequence`; False if the result does not add up."""
        faiss = load_faiss()

        keys: Keys = faiss.vector_to_array(self._index.id_map)
        largest = int(keys.max(initial=0))
        removed = snapshot.removed_since(self.sequence)
        # Keys only grow: one above the largest is not there yet, and removing costs a pass over all vectors.
        gone = [key for key in removed if key <= largest] + snapshot.rewritten_since(self.sequence, largest)
        if gone:
            self._index.remove_ids(np.array(gone, dtype=np.int64))
        self._append(snapshot.rows_since(self.sequence))
        self.sequence = snapshot.state.sequence
        return bool(self._index.ntotal == snapshot.state.documents)

    def _append(self, rows: Iterable[Row]) -> None:
        rows = iter(rows)
        while batch := list(islice(rows, BATCH)):
            self._index.add_with_ids(_matrix(batch), np.array([row.key for row in batch], dtype=np.int64))


def _matrix(rows: list[Row]) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").reshape(len(rows), -1)
