"""`GlotIndex`: the index as its users see it."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from glot_rag.embedder import Embedder
from glot_rag.errors import (
    GlotError,
    IndexReadOnlyError,
    IndexRecoveryWarning,
    InputError,
)
from glot_rag.index import validation
from glot_rag.index.directory import lock_for_writing, refuse_used, require_index, settle
from glot_rag.index.document import Document
from glot_rag.index.index_types import check_type
from glot_rag.index.ingest import ingest
from glot_rag.index.manifest import MAX_DIMENSION, Manifest
from glot_rag.index.reading import ReadableIndex
from glot_rag.index.store import Store, sync_directory
from glot_rag.index.verify import VerifyReport, check_store, verify
from glot_rag.progress import bar

if TYPE_CHECKING:
    from filelock import BaseFileLock

CHECKPOINT_EVERY = (
    10_000  # changed documents, or half of all if that is more: the copying stays linear in what is added
)


class GlotIndex(ReadableIndex):
    """Documents, their metadata and vectors in one directory. Made by `create` or `open`, ended by `close` or `with`.

    Once `add` or `delete` has returned (for a long `add`: once a batch is committed) the change survives the end of the
    process at any point. One process writes; any number read, and each search sees the last commit of that moment. All
    methods may be called from many threads; writes take turns. After a fork, open the index again in the child.

    A change (for a long `add`: a batch) that a full or failing disk ended with an error is not acknowledged: it is
    there as a whole or not at all, and where it is not, the next opening may still find it, as a whole.
    The next write that returns settles it: from then on every opening builds on what that write began with.
    """

    def __init__(
        self,
        path: Path,
        store: Store,
        encoder: Embedder | None,
        lock: BaseFileLock | None,
        memory_map: bool = False,
    ) -> None:
        super().__init__(path, store, encoder, memory_map)
        self.read_only = lock is None
        self._file_lock = lock
        self._write_lock = threading.RLock()
        self._unsaved = 0

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], encoder: Embedder, index_type: str = "flat", *, lock_timeout: float = 0.0
    ) -> GlotIndex:
        """Make an empty index, open for writing.

        Args:
            path: A directory that is empty or does not exist.
            encoder: Makes the vectors; its fingerprint is stored, and only the same one can be used later.
            index_type: How vectors are searched. Scores are exact, filters are applied before the search, and a filter
                that lets few documents through finds the best of them, in all types.

                - "flat": exact.
                - "hnsw": a graph; fast, more memory, slow to build.
                - "ivf": lists, of which a search looks into some (`nprobe`).
                - "sq8": exact but for vectors of one byte a component in memory.
                - "ivfpq": lists of vectors in D/4 bytes; the smallest.
                - "auto": "flat" up to 100,000 documents, "hnsw" up to 1,000,000, then "ivf".
                - Any string for FAISS's `index_factory` of such parts, e.g. "OPQ16,IVF256,PQ16".

                A type that has to be trained is "flat" until there are enough documents; `stats()` says which it is
                and why. Training happens where the FAISS file is written, by `add` at times, `checkpoint` and `close`.
            lock_timeout: Seconds to wait for another process that is writing there; -1 waits for ever.

        Raises:
            InputError: Unknown index type, or one that FAISS cannot make for vectors of that length.
            IndexExistsError: There is an index, or something else, at `path`.
            IndexLockedError: Another process is writing there.
        """
        if not 1 <= encoder.dimension <= MAX_DIMENSION:
            raise InputError(f"the encoder's dimension must be from 1 to {MAX_DIMENSION}, got {encoder.dimension}")
        index_type = check_type(index_type, encoder.dimension)
        directory = Path(path)
        refuse_used(directory)
        directory.mkdir(parents=True, exist_ok=True)
        lock = lock_for_writing(directory, lock_timeout)
        try:
            refuse_used(directory)  # again, now that nobody else can be creating it
            store = Store.create(directory, Manifest(encoder.dimension, encoder.fingerprint, index_type))
            sync_directory(directory.absolute().parent)
        except BaseException:
            lock.release()
            raise
        return cls(directory, store, encoder, lock)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        encoder: Embedder | None = None,
        *,
        read_only: bool = False,
        check: bool = True,
        memory_map: bool = False,
        lock_timeout: float = 0.0,
    ) -> GlotIndex:
        """Open an index that exists.

        Args:
            path: Its directory.
            encoder: The one that made it. None: texts can be neither added nor searched for; all else works.
            read_only: Take no lock and change no data; many may do so while one writes.
            check: Check every stored checksum and load the vectors now (about 2 s for 100,000 documents). False:
                documents are still checked when a search or `get` gives them back, but a damaged byte can hide a
                document from a filter or from a look-up by id. Meant for `verify` and repair.
            memory_map: Leave the vectors in the FAISS file, from where the system brings in what searches touch and
                which many processes share: for a large index with little memory. Only with `read_only`, and only as
                long as all documents are in the file: once some were added, vectors are loaded as without it. Windows
                always loads them.
            lock_timeout: Seconds to wait for another writer; -1 waits for ever.

        Raises:
            InputError: `memory_map` without `read_only`.
            IndexNotFoundError: There is none.
            IndexCorruptedError: It is damaged.
            IndexLockedError: Another process is writing to it.
            FingerprintMismatchError: `encoder` is not the one that made it.

        Warns:
            IndexRecoveryWarning: The FAISS file was missing or damaged and is rebuilt from the stored vectors.
        """
        if memory_map and not read_only:
            raise InputError("memory_map goes with read_only=True: FAISS cannot add to a mapped file")
        directory = Path(path)
        require_index(directory)
        lock = None if read_only else lock_for_writing(directory, lock_timeout)
        store = None
        try:
            store = Store(directory, read_only=read_only)
            if encoder is not None:
                store.manifest.check_encoder(encoder)
            if lock is not None:
                settle(directory, store)
            index = cls(directory, store, encoder, lock, memory_map)
            if check:
                check_store(store)
                with index._mirror.synchronised():
                    pass
        except BaseException:
            if store is not None:
                store.close()
            if lock is not None:
                lock.release()
            raise
        return index

    # -- writing

    def add(self, documents: Iterable[Document], *, batch_size: int = 1024, show_progress: bool = False) -> list[str]:
        """Add documents; one whose id is there already is replaced, and encoded again only if its text changed.

        Each batch is checked, encoded and committed before the next one is taken from `documents`, so a generator may
        be larger than memory. Of several documents with one id, the last one stays.

        Args:
            documents: Any iterable.
            batch_size: Documents a commit.
            show_progress: Show a bar on stderr.

        Returns:
            The ids, one for each document, in order.

        Raises:
            InputError: A document that cannot be stored. Nothing of its batch is; earlier batches are, and the
                message says how many documents that makes.
            IndexReadOnlyError: The index is read-only or closed.
        """
        if isinstance(documents, (Document, str, Mapping)):
            raise InputError(f"add takes a list of Documents, got one {type(documents).__name__}; write add([…])")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be an int of 1 or more, got {batch_size!r}")
        self._check_writable()
        self._need_encoder()
        ids: list[str] = []
        remaining = iter(documents)
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("Indexing", total=operator.length_hint(documents) or None)
            try:
                while batch := list(islice(remaining, batch_size)):
                    ids += self._add_batch(batch, None)
                    progress.advance(task, len(batch))
            except GlotError as error:
                if ids:
                    error.args = (f"{error} (the {len(ids)} documents before this batch are committed)",)
                raise
        return ids

    def add_vectors(self, documents: Sequence[Document], vectors: ArrayLike) -> list[str]:
        """Add documents with vectors that were made elsewhere by the index's encoder, in one commit.

        Args:
            documents: N of them.
            vectors: (N, D); scaled to norm 1.

        Returns:
            The ids in order.

        Raises:
            InputError: A document or a vector that cannot be stored; nothing was.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._check_writable()
        return self._add_batch(list(documents), vectors)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit; ids that do not exist are passed over.

        Returns:
            How many were deleted.

        Raises:
            InputError: Something that cannot be an id; nothing was deleted.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._check_writable()
        wanted = list(dict.fromkeys(validation.check_ids(ids)))
        with self._write_lock:
            with self._store.transaction() as transaction:
                keys = [columns[0] for columns in transaction.raw_by_id(wanted).values()]
                for key in keys:
                    transaction.remove(key)
            self._after_commit(len(keys))
        return len(keys)

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> int:
        """Replace the metadata of documents in one commit; nothing is encoded.

        Args:
            metadata: Id -> the new metadata; ids that do not exist are passed over.

        Returns:
            How many documents there were, also those whose metadata were the same before.

        Raises:
            InputError: An id or metadata that cannot be stored; nothing was changed.
            IndexCorruptedError: A stored document does not match its checksum.
            IndexReadOnlyError: The index is read-only or closed.
        """
        if not isinstance(metadata, Mapping):
            raise InputError(f"update_metadata takes a dict of id -> metadata, got {type(metadata).__name__}")
        bodies = {
            validation.check_id(id): validation.metadata_to_json(value, f"the metadata of document {id!r}")
            for id, value in metadata.items()
        }
        with self._write_lock:
            self._check_writable()
            with self._store.transaction() as transaction:
                found = transaction.raw_by_id(list(bodies))
                for id, columns in found.items():
                    row = transaction.decode(columns)
                    if row.metadata != bodies[id]:
                        transaction.update_metadata(row, bodies[id])
            self._after_commit(transaction.changes)
        return len(found)

    def reindex(self, index_type: str) -> None:
        """Search through another type of FAISS index from now on, built from the stored vectors: nothing is encoded.

        Searches go on meanwhile. A process that dies on the way leaves the old type or the new one, whole. Other
        processes that read keep the type that they opened the index with.

        Args:
            index_type: As for `create`. The present one: it is trained and built anew, without what was deleted.

        Raises:
            InputError: Unknown index type, or too few documents to train it; nothing was changed.
            OSError: The disk is full or failing. The documents are safe, and the type is the old one or the new one.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._check_writable()
        index_type = check_type(index_type, self.dimension)
        with self._write_lock:
            self._check_writable()
            self._mirror.write_file(index_type)
            self._unsaved = 0

    def verify(self) -> VerifyReport:
        """Check SQLite's structure, every checksum, the FAISS file, and the vectors in memory. Alters nothing."""
        self._check_open()
        with self._write_lock:
            return verify(self.path, self._store, self._mirror)

    def checkpoint(self) -> None:
        """Write the FAISS file now. `close` does it too, and `add` at times; it only makes the next `open` faster.

        Raises:
            OSError: The disk is full or failing. The documents are safe.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._check_writable()
        with self._write_lock:
            self._mirror.write_file()
            self._unsaved = 0

    def compact(self) -> None:
        """Give back the space of what was deleted: SQLite's file is written anew, and the FAISS index is built anew.

        Needs as much free disk as the index takes. A process that dies on the way leaves the index as it was.

        Raises:
            OSError: The disk is full or failing. The documents are safe.
            IndexStoreError: As `OSError`, or another process reads without a pause.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._check_writable()
        with self._write_lock:
            self._check_writable()
            self._mirror.write_file(anew=True)
            self._store.compact()
            self._unsaved = 0

    # -- end

    def close(self) -> None:
        """Write the FAISS file if documents changed, and let go of the directory. Safe to call twice.

        Warns:
            IndexRecoveryWarning: The FAISS file could not be written; the next opening builds it from the store.
        """
        if self._process != os.getpid():
            return  # the parent's lock and connections are not the child's to end
        with self._write_lock:
            try:
                if not self._closed and not self.read_only:
                    self._save_if_behind()
            finally:
                self._closed = True
                self._store.close()
                if self._file_lock is not None:
                    self._file_lock.release()

    def __enter__(self) -> GlotIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "read-only" if self.read_only else "open"
        return f"GlotIndex({str(self.path)!r}, dimension={self.dimension}, {state})"

    # -- inside

    def _add_batch(self, documents: Sequence[object], vectors: ArrayLike | None) -> list[str]:
        with self._write_lock:
            self._check_writable()  # again: another thread may have closed the index, and so given up the writer's lock
            ids, changes = ingest(self._store, documents, lambda t: self._need_encoder().encode_documents(t), vectors)
            self._after_commit(changes)
        return ids

    def _after_commit(self, changes: int) -> None:
        self._unsaved += changes
        if self._unsaved >= CHECKPOINT_EVERY and 2 * self._unsaved >= len(self):
            self._save()

    def _save_if_behind(self) -> None:
        with self._store.snapshot() as snapshot:
            files = snapshot.checkpoints()
            behind = snapshot.state.sequence != (files[-1].sequence if files else 0)
        if behind or self._mirror.file_is_stale:
            self._save()

    def _save(self) -> None:
        # The documents are committed; a failure to write what can be rebuilt must not look as if they were not.
        self._unsaved = 0
        try:
            self._mirror.write_file()
        except (OSError, GlotError) as error:
            message = f"the FAISS file of {self.path} was not written ({error}); no document is lost"
            warnings.warn(message, IndexRecoveryWarning, stacklevel=4)

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise IndexReadOnlyError(f"The index {self.path} is open for reading only; open it without read_only=True")
