"""`GlotIndex`: the index as its users see it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from glot_rag.embedder import Embedder
from glot_rag.errors import InputError
from glot_rag.files import sync_directory
from glot_rag.index.directory import lock_for_writing, refuse_used, require_index, settle
from glot_rag.index.index_types import check_type
from glot_rag.index.manifest import MAX_DIMENSION, Manifest
from glot_rag.index.store import Store
from glot_rag.index.verify import check_store
from glot_rag.index.writing import WritableIndex

if TYPE_CHECKING:
    from filelock import BaseFileLock


class GlotIndex(WritableIndex):
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
        super().__init__(path, store, encoder, memory_map, read_only=lock is None)
        self._file_lock = lock

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
        check: bool | None = None,
        memory_map: bool = False,
        lock_timeout: float = 0.0,
    ) -> GlotIndex:
        """Open an index that exists.

        One of an older format is brought to this one, in one commit, when it is opened for writing; until then
        libraries of this version do not read it.

        Args:
            path: Its directory.
            encoder: The one that made it. None: texts can be neither added nor searched for; all else works.
            read_only: Take no lock and change no data; many may do so while one writes.
            check: None: load the vectors now, and check every stored checksum where there are at most 100,000 documents
                (about 2 s). True: however many there are (about 17 s for a million). False: neither; for `verify` and
                repair. A document that is not checked now is when a search or `get` gives it back; but a damaged byte
                can hide it from a filter or from a look-up by id, which `verify` finds out.
            memory_map: Leave the vectors in the FAISS file, from where the system brings in what searches touch and
                which many processes share: for a large index with little memory. Only with `read_only`, and only as
                long as all documents are in the file: once some were added, vectors are loaded as without it. Windows
                always loads them.
            lock_timeout: Seconds to wait for another writer; -1 waits for ever.

        Raises:
            InputError: `memory_map` without `read_only`.
            IndexNotFoundError: There is none.
            IndexCorruptedError: It is damaged.
            IndexVersionError: It is of a newer format; or of an older one, with `read_only`.
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
            if check is not False:
                check_store(store, every_row=check)
                with index._mirror.synchronised():
                    pass
        except BaseException:
            if store is not None:
                store.close()
            if lock is not None:
                lock.release()
            raise
        return index

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
