"""A `GlotIndex` that is made when the first vector tells how long vectors are."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import IndexNotFoundError, IndexReadOnlyError, InputError
from glot_rag.index import GlotIndex
from glot_rag.index.store.directory import require_free


@dataclass(frozen=True)
class OutsideEncoder:
    """Stands for LlamaIndex's embedding, which hands over vectors, never texts.

    Attributes:
        dimension: D, the length of its vectors.
        fingerprint: What the index remembers it by.
    """

    dimension: int
    fingerprint: str

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Refused."""
        raise InputError("LlamaIndex makes this index's vectors; add nodes to the vector store instead")

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Refused."""
        raise InputError("LlamaIndex makes this index's vectors; query the vector store instead")


class LazyIndex:
    """The index at a path, opened at once if it is there; else made on `of_dimension`.

    Args:
        path: Directory of the index. None: a temporary one, removed by `close` or when this object is garbage.
        fingerprint: Of the embedding.
        encoder: The embedding itself where it is an `Embedder`: D is known then, and the index made at once.
        read_only: Take no lock; the index at `path` has to exist.

    Raises:
        InputError: `read_only` without a path.
        IndexStoreError: As `GlotIndex.open` and `GlotIndex.create`.
    """

    def __init__(
        self, path: str | None, fingerprint: str, encoder: Embedder | None = None, *, read_only: bool = False
    ) -> None:
        if read_only and path is None:
            raise InputError("read_only needs the path of an index that exists")
        self._path = path
        self._read_only = read_only
        self._fingerprint = fingerprint
        self._guard = threading.Lock()
        self._index: GlotIndex | None = None
        self._closed = False
        self._end: weakref.finalize[..., LazyIndex] | None = None
        if path is not None:
            self._open(path, encoder)
        if encoder is not None and self._index is None:
            self._create(encoder)

    @property
    def temporary(self) -> bool:
        """Whether it goes away when it is closed."""
        return self._path is None

    def get(self) -> GlotIndex | None:
        """The index; None if nothing was ever added to it.

        Raises:
            IndexReadOnlyError: It is closed.
        """
        if self._closed:
            raise IndexReadOnlyError("The vector store is closed; make a new one with its path")
        return self._index

    def of_dimension(self, dimension: int) -> GlotIndex:
        """The index, made for vectors of that length if it is not there."""
        with self._guard:
            index = self.get()
            return self._create(OutsideEncoder(dimension, self._fingerprint)) if index is None else index

    def close(self) -> None:
        """Close the index, and remove it if it is temporary. Safe to call twice."""
        with self._guard:
            self._closed = True
            if self._end is not None:
                self._end()

    def _open(self, path: str, encoder: Embedder | None) -> None:
        try:
            index = GlotIndex.open(path, encoder, read_only=self._read_only)
        except IndexNotFoundError:
            if self._read_only:
                raise
            require_free(Path(path))  # now, not at the first addition
            return
        if encoder is None:  # its dimension was not known before
            index.encoder = OutsideEncoder(index.dimension, self._fingerprint)
            try:
                index.manifest.check_encoder(index.encoder)
            except BaseException:
                index.close()
                raise
        self._keep(index, None)

    def _create(self, encoder: Embedder) -> GlotIndex:
        temporary = tempfile.mkdtemp(prefix="glot-rag-") if self._path is None else None
        try:
            index = GlotIndex.create(temporary or self._path or "", encoder)
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        return self._keep(index, temporary)

    def _keep(self, index: GlotIndex, temporary: str | None) -> GlotIndex:
        self._index = index
        self._end = weakref.finalize(self, _release, index, temporary, os.getpid())
        return index


def _release(index: GlotIndex, temporary: str | None, process: int) -> None:
    if os.getpid() != process:
        return  # after a fork, the index and its directory are still the parent's
    try:
        index.close()
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
