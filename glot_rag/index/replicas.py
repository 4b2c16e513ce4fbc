"""Vectors and keywords of an index together: at one commit in a search, and of one commit on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from glot_rag.index.keywords.replica import KeywordReplica
from glot_rag.index.replica import files
from glot_rag.index.replica.replica import synchronised
from glot_rag.index.store.snapshot import Snapshot
from glot_rag.index.store.store import Store
from glot_rag.index.vectors.replica import FaissReplica

logger = logging.getLogger(__name__)


class Replicas:
    """What an index's searches read.

    Args:
        directory: That of the index.
        store: Its documents.
        memory_map: Leave the vectors in the FAISS file, see `FaissReplica`.

    Attributes:
        vectors: The FAISS replica.
        keywords: The keyword replica.
    """

    def __init__(self, directory: Path, store: Store, memory_map: bool = False) -> None:
        self._directory = directory
        self._store = store
        self.vectors = FaissReplica(directory, store, memory_map)
        self.keywords = KeywordReplica(directory, store)

    @contextmanager
    def synchronised(self, *, vectors: bool = True, keywords: bool = True) -> Iterator[Snapshot]:
        """A snapshot of the store with the replicas that are asked for at the same commit, until the block ends.

        Raises:
            IndexCorruptedError: One can be loaded neither from its file nor from the store.
        """
        chosen = [replica for replica, asked in ((self.vectors, vectors), (self.keywords, keywords)) if asked]
        with synchronised(self._store, *chosen) as snapshot:
            yield snapshot

    @property
    def files_are_stale(self) -> bool:
        """Whether a file on disk was found missing or damaged."""
        return self.vectors.file_is_stale or self.keywords.file_is_stale

    def write_files(self, index_type: str | None = None, *, anew: bool = False) -> None:
        """Write the FAISS file and the keyword file, of one commit. The caller holds the writer's lock; searches go on.

        The order of the steps leaves, at every point where a process can die, files that records describe: the new
        files under other names; their records beside the old ones'; the renames; the old records' removal. A file
        whose record is committed counts, under whichever name it is.

        Args:
            index_type: Build a FAISS index of this (checked) type, and make it the index's type in the same commit as
                the new files' records.
            anew: Build the FAISS index from the store, without what was deleted, even where the old one would do.

        Raises:
            InputError: There are too few documents to train that type; nothing was changed.
            IndexReplacedError: Another index was put in place of this one.
            OSError: The disk is full or failing. No document depends on these files.
        """
        manifest = self._store.manifest
        if index_type is not None:
            manifest = replace(manifest, index_type=index_type)
        self._store.require_same_file()
        self.vectors.rebuild(manifest.index_type, asked=index_type is not None, always=anew or index_type is not None)
        both = (self.vectors, self.keywords)
        with self.synchronised() as snapshot:
            records = [replica.write_temporary(snapshot.state.sequence) for replica in both]
        with self._store.transaction() as transaction:
            if index_type is not None:
                transaction.set_manifest(manifest.to_json())
            for record in records:
                transaction.add_checkpoint(record)
        self._store.manifest = manifest
        for replica in both:
            files.publish(self._directory, replica.name)
        with self._store.transaction() as transaction:
            transaction.keep_newest_checkpoints(records[0].sequence)
        for replica in both:
            replica.file_is_stale = False
        logger.info(
            "%s: wrote the files, %d vectors in %s, commit %d",
            self._directory,
            records[0].documents,
            self.vectors.description,
            records[0].sequence,
        )
