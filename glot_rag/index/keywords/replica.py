"""The keyword replica: posting lists over the store's counts of terms, kept in step with its commits."""

from __future__ import annotations

import mmap
import os
from typing import BinaryIO

from glot_rag.index.keywords.bm25 import KeywordIndex
from glot_rag.index.keywords.postings import from_buffer, sections
from glot_rag.index.replica.files import check_size, write_temporary
from glot_rag.index.replica.replica import Replica
from glot_rag.index.store.directory import KEYWORDS_NAME
from glot_rag.index.store.snapshot import CheckpointRecord, Snapshot


class KeywordReplica(Replica[KeywordIndex]):
    """Posting lists of the store's documents.

    Those in the file are not read into memory but mapped, so the system keeps what searches touch, for all processes
    together. Windows, which would not let the file be replaced, reads them.
    """

    name = KEYWORDS_NAME
    what = "counts of terms"

    def write_temporary(self, sequence: int) -> CheckpointRecord:
        """See `Replica.write_temporary`."""
        postings = self.part.merged()
        digest, size = write_temporary(
            self._directory, self.name, lambda write: [write(part) for part in sections(postings)]
        )
        return CheckpointRecord(self.name.encode(), sequence, digest, size, len(postings.keys))

    def _read(self, file: BinaryIO, record: CheckpointRecord, snapshot: Snapshot) -> KeywordIndex:
        check_size(file, record)
        if os.name == "nt":
            buffer = memoryview(file.read())
        else:
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return KeywordIndex(from_buffer(buffer, snapshot.state.next_key - 1))

    def _build(self, snapshot: Snapshot) -> KeywordIndex:
        return KeywordIndex.build(snapshot.all_counts())

    def _append(self, part: KeywordIndex, snapshot: Snapshot) -> None:
        part.append(snapshot.counts_after(part.largest))
