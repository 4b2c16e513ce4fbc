"""Size and settings of an index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glot_rag.index import index_types
from glot_rag.index.mirror import Mirror
from glot_rag.index.store import Store


@dataclass(frozen=True)
class IndexStats:
    """Size and settings of an index.

    Attributes:
        documents: How many there are.
        dimension: D, the length of a vector.
        index_type: As it was asked for, e.g. "auto".
        serving: The FAISS index in memory that searches go to, e.g. "IVFFlat (128 lists, …)"; None before it is loaded.
        reason: Why that one, or what the next FAISS file will hold instead and why.
        fingerprint: Of the encoder.
        sequence: Number of commits that changed a document.
        file_sequence: The commit that the FAISS file holds; None if there is no file yet.
        bytes: Size of the files on disk.
    """

    documents: int
    dimension: int
    index_type: str
    serving: str | None
    reason: str
    fingerprint: str
    sequence: int
    file_sequence: int | None
    bytes: int


def collect(directory: Path, store: Store, mirror: Mirror) -> IndexStats:
    """The figures of this moment."""
    with store.snapshot() as snapshot:
        state, files = snapshot.state, snapshot.checkpoints()
    manifest = store.read_manifest()  # another process may have changed the type since this one opened the index
    return IndexStats(
        documents=state.documents,
        dimension=manifest.dimension,
        index_type=manifest.index_type,
        serving=mirror.description,
        reason=index_types.plan(manifest.index_type, manifest.dimension, state.documents).reason,
        fingerprint=manifest.fingerprint,
        sequence=state.sequence,
        file_sequence=files[-1].sequence if files else None,
        bytes=sum(file.stat().st_size for file in directory.iterdir() if file.is_file()),
    )
