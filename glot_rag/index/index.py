"""`GlotIndex`: the index as its users see it."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import (
    GlotError,
    IndexCorruptedError,
    IndexReadOnlyError,
    IndexRecoveryWarning,
    InputError,
)
from glot_rag.index import checkpoint, validation
from glot_rag.index.directory import lock_for_writing, refuse_used, require_index
from glot_rag.index.document import Document, Hit
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.ingest import ingest
from glot_rag.index.manifest import INDEX_TYPES, Manifest
from glot_rag.index.mirror import Mirror
from glot_rag.index.rows import WAY_OUT
from glot_rag.index.store import Store, sync_directory
from glot_rag.index.verify import VerifyReport, check_store, verify
from glot_rag.progress import bar

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = "writer.lock"
CHECKPOINT_EVERY = (
    10_000  # changed documents, or half of all if that is more: the copying stays linear in what is added
)


@dataclass(frozen=True)
class IndexStats:
    """Size and settings of an index.

    Attributes:
        documents: How many there are.
        dimension: D, the length of a vector.
        index_type: Of FAISS.
        fingerprint: Of the encoder.
        sequence: Number of commits that changed a document.
        file_sequence: The commit that the FAISS file holds; None if there is no file yet.
        bytes: Size of the files on disk.
    """

    documents: int
    dimension: int
    index_type: str
    fingerprint: str
    sequence: int
    file_sequence: int | None
    bytes: int


class GlotIndex:
    """Documents, their metadata and vectors in one directory. Made by `create` or `open`, ended by `close` or `with`.

    Once `add` or `delete` has returned (for a long `add`: once a batch is committed) the change survives the end of the
    process at any point. One process writes; any number read, and each search sees the last commit of that moment. All
    methods may be called from many threads; writes take turns. After a fork, open the index again in the child.
    """

    def __init__(self, path: Path, store: Store, encoder: Embedder | None, lock: BaseFileLock | None) -> None:
        self.path = path
        self.encoder = encoder
        self.manifest = store.manifest
        self.read_only = lock is None
        self._store = store
        self._mirror = Mirror(path, store)
        self._file_lock = lock
        self._write_lock = threading.RLock()
        self._unsaved = 0
        self._closed = False
        self._process = os.getpid()

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], encoder: Embedder, index_type: str = "flat", *, lock_timeout: float = 0.0
    ) -> GlotIndex:
        """Make an empty index, open for writing.

        Args:
            path: A directory that is empty or does not exist.
            encoder: Makes the vectors; its fingerprint is stored, and only the same one can be used later.
            index_type: "flat", an exact search.
            lock_timeout: Seconds to wait for another process that is writing there; -1 waits for ever.

        Raises:
            InputError: Unknown index type.
            IndexExistsError: There is an index, or something else, at `path`.
            IndexLockedError: Another process is writing there.
        """
        if index_type not in INDEX_TYPES:
            raise InputError(f"index_type must be one of {', '.join(map(repr, INDEX_TYPES))}, got {index_type!r}")
        if encoder.dimension < 1:
            raise InputError(f"the encoder's dimension must be 1 or more, got {encoder.dimension}")
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
            lock_timeout: Seconds to wait for another writer; -1 waits for ever.

        Raises:
            IndexNotFoundError: There is none.
            IndexCorruptedError: It is damaged.
            IndexLockedError: Another process is writing to it.
            FingerprintMismatchError: `encoder` is not the one that made it.

        Warns:
            IndexRecoveryWarning: The FAISS file was missing or damaged and is rebuilt from the stored vectors.
        """
        directory = Path(path)
        require_index(directory)
        lock = None if read_only else lock_for_writing(directory, lock_timeout)
        store = None
        try:
            store = Store(directory, read_only=read_only)
            if encoder is not None:
                store.manifest.check_encoder(encoder)
            if lock is not None:
                checkpoint.sweep(directory)
            index = cls(directory, store, encoder, lock)
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

    # -- reading

    def search(self, query: str, k: int = 10, filter: Filter | None = None) -> list[Hit]:
        """The `k` documents nearest to a text, best first; fewer if there are fewer.

        Args:
            query: The text.
            k: How many.
            filter: Only documents whose metadata match, e.g. `{"lang": "en", "year": {"$in": [2023, 2024]}}`; applied
                before the search, so `k` matching documents are found where there are so many. See
                `filters.compile_filter`.

        Raises:
            InputError: An argument that cannot be used, or the index was opened without an encoder.
        """
        return self.search_batch([query], k, filter)[0]

    def search_batch(self, queries: Sequence[str], k: int = 10, filter: Filter | None = None) -> list[list[Hit]]:
        """As `search` for N texts, encoded and searched together. Gives N lists."""
        self._check_open()
        if isinstance(queries, str):
            raise InputError("queries must be a list of str, got one str; use search")
        texts = [validation.check_text(query, f"query number {number}") for number, query in enumerate(queries)]
        validation.check_k(k)
        if filter is not None:
            compile_filter(filter)  # bad filters are refused before time is spent on encoding
        encoder = self._need_encoder()
        if not texts or not len(self):
            return [[] for _ in texts]
        names = [f"query {text!r:.60}" for text in texts]
        return self._search(validation.unit_vectors(encoder.encode_queries(texts), self.dimension, names), k, filter)

    def search_vectors(self, vectors: ArrayLike, k: int = 10, filter: Filter | None = None) -> list[list[Hit]]:
        """As `search_batch` for (N, D) query vectors, which are scaled to norm 1. Needs no encoder."""
        self._check_open()
        queries = validation.unit_vectors(vectors, self.dimension)
        return self._search(queries, validation.check_k(k), filter)

    def get(self, ids: Iterable[str]) -> list[Document]:
        """The documents of those ids that exist, in the order of `ids`.

        Raises:
            InputError: Something that cannot be an id.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        wanted = validation.check_ids(ids)
        with self._store.snapshot() as snapshot:
            found = {id: snapshot.decode(columns) for id, columns in snapshot.raw_by_id(list(set(wanted))).items()}
        return [found[id].document() for id in wanted if id in found]

    def ids(self, filter: Filter | None = None) -> list[str]:
        """The ids of all documents, or of those whose metadata match, in the order in which they were added.

        Nothing is searched, so every type of index gives all of them: `index.delete(index.ids({"draft": True}))`.

        Args:
            filter: See `filters.compile_filter`.

        Raises:
            InputError: A filter that cannot be used.
        """
        self._check_open()
        with self._store.snapshot() as snapshot:
            return snapshot.ids(filter)

    def documents(self, filter: Filter | None = None) -> Iterator[Document]:
        """As `ids`, the documents themselves, one by one: those of the commit at which the iteration starts.

        Raises:
            InputError: A filter that cannot be used.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        if filter is not None:
            compile_filter(filter)  # refused now, not at the first document
        return self._documents(filter)

    def _documents(self, filter: Filter | None) -> Iterator[Document]:
        with self._store.snapshot() as snapshot:
            for row in snapshot.rows() if filter is None else snapshot.rows_matching(filter):
                yield row.document()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The stored vectors of documents, (N, D) float32 with rows of norm 1, in the order of `ids`.

        Raises:
            InputError: Something that cannot be an id, or an id that is not there.
            IndexCorruptedError: A stored document does not match its checksum.
        """
        self._check_open()
        wanted = validation.check_ids(ids)
        with self._store.snapshot() as snapshot:
            found = {id: snapshot.decode(columns) for id, columns in snapshot.raw_by_id(list(set(wanted))).items()}
        missing = [id for id in wanted if id not in found]
        if missing:
            raise InputError(
                f"no document {missing[0]!r} in the index ({len(missing)} of {len(wanted)} ids are missing)"
            )
        rows = [np.frombuffer(found[id].vector, np.float32) for id in wanted]
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def verify(self) -> VerifyReport:
        """Check SQLite's structure, every checksum, the FAISS file, and the vectors in memory. Alters nothing."""
        self._check_open()
        with self._write_lock:
            return verify(self.path, self._store, self._mirror)

    def stats(self) -> IndexStats:
        """Size and settings."""
        self._check_open()
        with self._store.snapshot() as snapshot:
            state, files = snapshot.state, snapshot.checkpoints()
        size = sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())
        return IndexStats(
            documents=state.documents,
            dimension=self.dimension,
            index_type=self.manifest.index_type,
            fingerprint=self.manifest.fingerprint,
            sequence=state.sequence,
            file_sequence=files[-1].sequence if files else None,
            bytes=size,
        )

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return self.manifest.dimension

    def __len__(self) -> int:
        self._check_open()
        with self._store.snapshot() as snapshot:
            return snapshot.state.documents

    def __contains__(self, id: object) -> bool:
        try:
            return bool(self.get([validation.check_id(id)]))
        except InputError:
            return False

    def __iter__(self) -> Iterator[Document]:
        """All documents of the commit at which the iteration starts."""
        return self.documents()

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

    def _search(self, queries: Vectors, k: int, filter: Filter | None) -> list[list[Hit]]:
        with self._mirror.synchronised() as snapshot:
            keys = None if filter is None else snapshot.matching(filter)
            scores, found = self._mirror.search(queries, k, keys)
            rows = snapshot.by_key({int(key) for key in found.flat})
            if len(rows) != len({*found.flat}):
                raise IndexCorruptedError(f"FAISS found documents that the store does not have. {WAY_OUT}")
        return [
            [
                Hit(rows[key].id, score, rows[key].text, rows[key].parsed_metadata())
                for key, score in zip(*pair, strict=True)
            ]
            for pair in zip(found.tolist(), scores.tolist(), strict=True)
        ]

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

    def _need_encoder(self) -> Embedder:
        if self.encoder is None:
            raise InputError("This needs an encoder: GlotIndex.open(path, encoder=…)")
        return self.encoder

    def _check_open(self) -> None:
        if self._closed:
            raise IndexReadOnlyError(f"The index {self.path} is closed; open it again with GlotIndex.open")
        if self._process != os.getpid():
            raise IndexReadOnlyError(f"The index {self.path} was opened before a fork; open it again in this process")

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise IndexReadOnlyError(f"The index {self.path} is open for reading only; open it without read_only=True")
