"""What changes an index: additions, deletions, its FAISS file. One writer at a time."""

from __future__ import annotations

import operator
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from glot_rag.embedder import Embedder
from glot_rag.errors import GlotError, IndexReadOnlyError, IndexRecoveryWarning, InputError
from glot_rag.index import validation
from glot_rag.index.document import Document
from glot_rag.index.index_types import check_type
from glot_rag.index.ingest import ingest
from glot_rag.index.reading import ReadableIndex
from glot_rag.index.store import Store
from glot_rag.index.verify import VerifyReport, verify
from glot_rag.progress import bar

CHECKPOINT_EVERY = (
    10_000  # changed documents, or half of all if that is more: the copying stays linear in what is added
)


class WritableIndex(ReadableIndex):
    """The half of `GlotIndex` that changes things."""

    def __init__(
        self, path: Path, store: Store, encoder: Embedder | None, memory_map: bool = False, *, read_only: bool
    ) -> None:
        super().__init__(path, store, encoder, memory_map)
        self.read_only = read_only
        self._write_lock = threading.RLock()
        self._unsaved = 0

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
                keys = transaction.keys_of(wanted)
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
                found = transaction.by_id(list(bodies))
                for id, row in found.items():
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
