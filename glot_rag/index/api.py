"""`GlotIndex`: the index as its users see it."""

from __future__ import annotations

import logging
import operator
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike

from glot_rag.documents.document import Document
from glot_rag.documents.validation import check_id, metadata_to_json
from glot_rag.embedder import Embedder
from glot_rag.errors import (
    GlotError,
    IndexCorruptedError,
    IndexReadOnlyError,
    IndexRecoveryWarning,
    IndexReplacedError,
    InputError,
)
from glot_rag.files import sync_directory, sync_tree
from glot_rag.index import maintenance, validation
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.index_types import check_type
from glot_rag.index.keywords.analysis import check_language
from glot_rag.index.reading import IndexReader
from glot_rag.index.replica.files import recover
from glot_rag.index.store.directory import (
    ENCODER_NAME,
    disk_errors,
    index_directory,
    lock_for_writing,
    remove_unfinished,
    require_free,
    require_index,
)
from glot_rag.index.store.ingest import add_documents
from glot_rag.index.store.manifest import MAX_DIMENSION, Manifest
from glot_rag.index.store.store import Store
from glot_rag.progress import bar

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Changed documents after which `add` writes the FAISS file, or half of all if that is more: so the time for writing it
# grows with what is added, and not with its square.
CHECKPOINT_EVERY = 10_000
logger = logging.getLogger(__name__)


@runtime_checkable
class _Saveable(Protocol):
    def save(self, path: str | os.PathLike[str]) -> object: ...


class GlotIndex(IndexReader):
    """Documents, their metadata and vectors in one directory. Made by `create` or `open`, ended by `close` or `with`.

    Once `add` or `delete` has returned (for a long `add`: once a batch is committed) the change survives the end of the
    process at any point. One process writes; any number read, and each search sees the last commit of that moment. All
    methods may be called from many threads; writes take turns. After a fork, open the index again in the child.

    When a full or failing disk ends a change (for a long `add`: a batch) with an error, the change is not acknowledged:
    it is there as a whole or not at all, and where it is not, the next opening may still find it, as a whole. The next
    write that returns decides: from then on every opening builds on what that write began with.

    When another index is put in place of this one, a reader turns to it at its next call, if the same encoder made it;
    otherwise, and for the writer, the next call raises `IndexReplacedError`.

    Attributes:
        path: The directory, absolute.
        encoder: Makes the vectors; None: no text can be added, and searches are by keywords.
        read_only: Whether nothing can be changed.
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
        self._unsaved = 0  # changed documents since the files were written

    # -- its life

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        encoder: Embedder,
        index_type: str = "flat",
        *,
        language: str = "english",
        save_encoder: bool = False,
        lock_timeout: float = 0.0,
    ) -> GlotIndex:
        """Make an empty index, open for writing.

        Args:
            path: A directory that is empty or does not exist.
            encoder: Makes the vectors; its fingerprint is stored, and only the same one can be used later.
            index_type: How vectors are searched. Scores are exact, filters are applied before the search, and a filter
                that few documents match finds the best of them, in all types.

                - "flat": exact.
                - "hnsw": a graph; fast, more memory, slow to build.
                - "ivf": lists, of which a search looks into some (`nprobe`).
                - "sq8": exact but for vectors of one byte a component in memory.
                - "ivfpq": lists of vectors in D/4 bytes; the smallest.
                - "auto": "flat" up to 100,000 documents, "hnsw" up to 1,000,000, then "ivf".

                A type that has to be trained is "flat" until there are enough documents; `stats()` says which it is
                and why. Training happens where the FAISS file is written, by `add` at times, `checkpoint` and `close`.
            language: Whose stems and stop words keyword searches go by: one of Snowball's, such as "german", or
                "none". Chinese, Japanese, Korean and Thai are found by pairs of characters whatever the language.
            save_encoder: Save the encoder in the directory first, where the command line finds it: there is no moment
                at which an index is there without it.
            lock_timeout: Seconds to wait for another process that is writing there; -1 waits for ever.

        Raises:
            InputError: Unknown index type or language, or an encoder that cannot be used or saved.
            IndexExistsError: There is an index, or something else, at `path`.
            IndexLockedError: Another process is writing there.
            IndexDiskError: The path is wrong or not allowed, or the disk is full. There is no index then.
        """
        if not 1 <= encoder.dimension <= MAX_DIMENSION:
            raise InputError(f"the encoder's dimension must be from 1 to {MAX_DIMENSION}, got {encoder.dimension}")
        if save_encoder and not isinstance(encoder, _Saveable):
            raise InputError(f"save_encoder needs an encoder with a method `save`, got {type(encoder).__name__}")
        manifest = Manifest(encoder.dimension, encoder.fingerprint, check_type(index_type), check_language(language))
        directory = index_directory(path)
        with disk_errors(directory):
            require_free(directory)
            directory.mkdir(parents=True, exist_ok=True)
            lock = lock_for_writing(directory, lock_timeout)
            try:
                require_free(directory)  # again, now that nobody else can be creating it
                remove_unfinished(directory)
                try:
                    if isinstance(encoder, _Saveable) and save_encoder:
                        encoder.save(directory / ENCODER_NAME)
                        sync_tree(directory / ENCODER_NAME)
                    store = Store.create(directory, manifest)
                except BaseException:
                    remove_unfinished(directory)
                    raise
                sync_directory(directory.parent)
            except BaseException:
                lock.release()
                raise
        logger.info("%s: created, %s, %d dimensions", directory, manifest.index_type, manifest.dimension)
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

        Args:
            path: Its directory.
            encoder: The one that made it. None: no text can be added, and searches are by keywords; all else works.
            read_only: Take no lock and change no data; many may do so while one writes.
            check: None: load the vectors now, and check every stored checksum where there are at most 100,000 documents
                (about 2 s). True: however many there are (about 17 s for a million). False: neither; for `verify` and
                repair. A document that is not checked now is checked when a search or `get` gives it back; but a
                damaged byte can hide it from a filter or from a look-up by id, which `verify` finds.
            memory_map: Leave the vectors in the FAISS file, from where the system brings in what searches touch and
                which many processes share: for a large index with little memory. Only with `read_only`, and only as
                long as all documents are in the file: once some were added, vectors are loaded as without it. Windows
                always loads them.
            lock_timeout: Seconds to wait for another writer; -1 waits for ever.

        Raises:
            InputError: `memory_map` without `read_only`.
            IndexNotFoundError: There is none.
            IndexCorruptedError: It is damaged.
            IndexVersionError: It is of another format.
            IndexLockedError: Another process is writing to it.
            IndexDiskError: The operating system does not let it be read or written.
            FingerprintMismatchError: `encoder` is not the one that made it.

        Warns:
            IndexRecoveryWarning: The FAISS file or the keyword file was missing or damaged and is rebuilt from what is
                stored.
        """
        if memory_map and not read_only:
            raise InputError("memory_map goes with read_only=True: FAISS cannot add to a mapped file")
        directory = index_directory(path)
        with disk_errors(directory):
            require_index(directory)
            lock = None if read_only else lock_for_writing(directory, lock_timeout)
            store = None
            try:
                store = Store(directory, read_only=read_only)
                if encoder is not None:
                    store.manifest.check_encoder(encoder)
                if lock is not None:
                    _recover(directory, store)
                index = cls(directory, store, encoder, lock, memory_map)
                if check is not False:
                    maintenance.check_at_opening(store, every_row=check)
                    with index._replicas.synchronised():
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
            except IndexReplacedError as error:
                logger.warning("%s", error)  # what was acknowledged is in the index that was replaced
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

    # -- changing

    def add(self, documents: Iterable[Document], *, batch_size: int = 1024, show_progress: bool = False) -> list[str]:
        """Add documents. One whose id is there already is replaced, and encoded again only if its text changed.

        Each batch is checked, encoded and committed before the next one is taken from `documents`, so a generator may
        be larger than memory. Of several documents with one id, the last one stays.

        Args:
            documents: Any iterable. See `documents.validation.check_document` for what can be stored.
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
        batch_size = validation.check_count(batch_size, "batch_size")
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
        """Add documents with vectors that the index's encoder made elsewhere, in one commit.

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

    def delete(self, ids: Iterable[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete documents by id, or all that match a filter, in one commit.

        Args:
            ids: Ids that do not exist mean nothing.
            filter: Instead of `ids`, e.g. `{"source": "manual.pdf"}`; see `filters.compile_filter`. An empty filter,
                which would match every document, is refused.

        Returns:
            How many were deleted.

        Raises:
            InputError: Both or neither are given, something that cannot be an id, or a filter that cannot be used;
                nothing was deleted.
            IndexReadOnlyError: The index is read-only or closed.
        """
        if (ids is None) == (filter is None):
            raise InputError("delete takes either ids or filter=…; to delete all documents: index.delete(index.ids())")
        wanted = None if ids is None else list(dict.fromkeys(validation.check_ids(ids)))
        if filter is not None:
            compile_filter(filter)
            if not filter:
                raise InputError("an empty filter matches every document; to delete all: index.delete(index.ids())")
        with self._write_lock:
            self._check_writable()
            with self._store.transaction() as transaction:
                if filter is not None:
                    keys = transaction.matching(filter).tolist()
                else:
                    keys = transaction.keys_of(wanted or [])
                for key in keys:
                    transaction.remove(key)
            self._after_commit(len(keys))
        return len(keys)

    def update_metadata(self, metadata: Mapping[str, Mapping[str, Any]]) -> int:
        """Replace the metadata of documents in one commit; nothing is encoded.

        Args:
            metadata: Id -> the new metadata. Ids that do not exist mean nothing.

        Returns:
            How many documents there were, including those whose metadata were the same before.

        Raises:
            InputError: An id or metadata that cannot be stored; nothing was changed.
            IndexCorruptedError: A stored document does not match its checksum.
            IndexReadOnlyError: The index is read-only or closed.
        """
        if not isinstance(metadata, Mapping):
            raise InputError(f"update_metadata takes a dict of id -> metadata, got {type(metadata).__name__}")
        bodies = {
            check_id(id): metadata_to_json(value, f"the metadata of document {id!r}") for id, value in metadata.items()
        }
        with self._write_lock:
            self._check_writable()
            with self._store.transaction() as transaction:
                found = transaction.by_id(list(bodies))
                for id, row in found.items():
                    if row.metadata != bodies[id]:
                        transaction.update_metadata(row, bodies[id])
            self._after_commit(transaction.changes)
        return len(found)

    def set_metadata(self, values: Mapping[str, Any], *, filter: Filter) -> int:
        """Set metadata keys of all documents that match a filter, in one commit; their other keys stay.

        Args:
            values: The keys and what they are set to, e.g. `{"status": "archived"}`.
            filter: E.g. `{"year": {"$lt": 2020}}`; an empty one matches every document. See `filters.compile_filter`.

        Returns:
            How many documents matched, including those that had these values before.

        Raises:
            InputError: Values that cannot be stored or a filter that cannot be used; nothing was changed.
            IndexCorruptedError: A stored document does not match its checksum.
            IndexReadOnlyError: The index is read-only or closed.
        """
        compile_filter(filter)
        if not isinstance(values, Mapping):
            raise InputError(f"set_metadata takes a dict of key -> value, got {type(values).__name__}")
        metadata_to_json(values, "the metadata")
        with self._write_lock:
            self._check_writable()
            with self._store.transaction() as transaction:
                count = 0
                for row in list(transaction.rows_matching(filter)):
                    body = metadata_to_json({**row.parsed_metadata(), **values}, f"the metadata of document {row.id!r}")
                    if body != row.metadata:
                        transaction.update_metadata(row, body)
                    count += 1
            self._after_commit(transaction.changes)
        return count

    # -- looking after it

    def reindex(self, index_type: str) -> None:
        """Search through another type of FAISS index from now on, built from the stored vectors: nothing is encoded.

        Searches go on meanwhile. A process that dies on the way leaves the old type or the new one, whole. Other
        processes that read keep the type that they opened the index with.

        Args:
            index_type: See `create`. With the present type, the FAISS index is trained and built anew, without what
                was deleted.

        Raises:
            InputError: Unknown index type, or too few documents to train it; nothing was changed.
            IndexDiskError: The disk is full or failing. The documents are safe, and the type is the old one or the new.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._write_file(check_type(index_type))

    def checkpoint(self) -> None:
        """Write the FAISS file now. `close` does it too, and `add` at times; it only makes the next `open` faster.

        Raises:
            IndexDiskError: The disk is full or failing. The documents are safe.
            IndexReadOnlyError: The index is read-only or closed.
        """
        self._write_file()

    def compact(self) -> None:
        """Give back the space of what was deleted: SQLite's file is written anew, and the FAISS index is built anew.

        Needs as much free disk as the index takes. A process that dies on the way leaves the index as it was.

        Raises:
            IndexDiskError: The disk is full or failing. The documents are safe.
            IndexLockedError: Another process reads without a pause.
            IndexReadOnlyError: The index is read-only or closed.
        """
        with self._write_lock:
            self._write_file(anew=True)
            self._store.compact()

    # -- inside

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise IndexReadOnlyError(f"The index {self.path} is open for reading only; open it without read_only=True")

    def _add_batch(self, documents: Sequence[object], vectors: ArrayLike | None) -> list[str]:
        with self._write_lock:
            self._check_writable()  # again: another thread may have closed the index, and so given up the writer's lock
            ids, changes = add_documents(
                self._store, documents, lambda texts: self._need_encoder().encode_documents(texts), vectors
            )
            self._after_commit(changes)
        return ids

    def _after_commit(self, changes: int) -> None:
        self._unsaved += changes
        if self._unsaved >= CHECKPOINT_EVERY and 2 * self._unsaved >= len(self):
            self._save()

    def _write_file(self, index_type: str | None = None, *, anew: bool = False) -> None:
        self._check_writable()
        with self._write_lock, disk_errors(self.path):
            self._check_writable()
            self._replicas.write_files(index_type, anew=anew)
            self._unsaved = 0

    def _save_if_behind(self) -> None:
        with self._store.snapshot() as snapshot:
            files = snapshot.checkpoints()
            behind = snapshot.state.sequence != (files[-1].sequence if files else 0)
        if behind or self._replicas.files_are_stale:
            self._save()

    def _save(self) -> None:
        # The documents are committed; a failure to write what can be rebuilt must not look as if they were not.
        self._unsaved = 0
        try:
            self._replicas.write_files()
        except (OSError, GlotError) as error:
            message = (
                f"the FAISS file and the keyword file of {self.path} were not written ({error}); no document is lost"
            )
            logger.warning(message)
            warnings.warn(message, IndexRecoveryWarning, stacklevel=4)


def _recover(directory: Path, store: Store) -> None:
    """Finish what a writer began that died while it wrote the derived files. The caller holds the writer's lock."""
    try:
        with store.snapshot() as snapshot:
            records = snapshot.checkpoints()
    except IndexCorruptedError:
        return  # which the checks of the opening or `verify` report
    recover(directory, records)
