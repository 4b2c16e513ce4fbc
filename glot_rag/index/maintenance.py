"""Looking after an index: its figures, the check of everything that is stored, and a backup while it is in use."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from glot_rag.errors import IndexCorruptedError, IndexStoreError
from glot_rag.files import sync_tree
from glot_rag.index import index_types
from glot_rag.index.keywords.bm25 import KeywordIndex
from glot_rag.index.replica.files import BLOCK, Digest, digest_of
from glot_rag.index.replicas import Replicas
from glot_rag.index.store.directory import (
    DENOISER_NAME,
    ENCODER_NAME,
    FILE_NAMES,
    LAST_COMMIT_NAME,
    new_index_directory,
    temporary_name,
)
from glot_rag.index.store.schema import WAY_OUT
from glot_rag.index.store.snapshot import Snapshot
from glot_rag.index.store.store import Store

CHECKED_AT_OPENING = 100_000  # documents, whose checksums take about two seconds


@dataclass(frozen=True)
class IndexStats:
    """Size and settings of an index.

    Attributes:
        documents: How many there are.
        dimension: D, the length of a vector.
        index_type: As it was asked for, e.g. "auto".
        serving: The FAISS index in memory that searches go to, e.g. "IVFFlat (128 lists, …)"; None before it is loaded.
        reason: Why that one, or what the next FAISS file will hold instead and why.
        fingerprint: That of the encoder.
        sequence: Number of commits that changed a document.
        language: Of the keywords.
        file_sequence: The commit that the FAISS file and the keyword file hold; None if there are none yet.
        bytes: Size of the files on disk.
    """

    documents: int
    dimension: int
    index_type: str
    serving: str | None
    reason: str
    fingerprint: str
    sequence: int
    language: str
    file_sequence: int | None
    bytes: int


@dataclass(frozen=True)
class VerifyReport:
    """What a check of an index found.

    Attributes:
        documents: Documents of the store whose checksum is right.
        vectors: Vectors in FAISS that equal the stored ones, bit for bit; where FAISS compresses them, those that are
            there.
        keywords: Documents whose posting lists equal the stored counts of terms.
        problems: One line each; empty if all is well.
    """

    documents: int
    vectors: int
    keywords: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def stats(directory: Path, store: Store, replicas: Replicas) -> IndexStats:
    """The figures of this moment."""
    with store.snapshot() as snapshot:
        state, files = snapshot.state, snapshot.checkpoints()
    manifest = store.read_manifest()  # another process may have changed the type since this one opened the index
    return IndexStats(
        documents=state.documents,
        dimension=manifest.dimension,
        index_type=manifest.index_type,
        serving=replicas.vectors.description,
        reason=index_types.plan(manifest.index_type, manifest.dimension, state.documents).reason,
        fingerprint=manifest.fingerprint,
        sequence=state.sequence,
        language=manifest.language,
        file_sequence=files[-1].sequence if files else None,
        bytes=sum(file.stat().st_size for file in directory.iterdir() if file.is_file()),
    )


# -- checks


def check_at_opening(store: Store, *, every_row: bool | None) -> None:
    """Check the store before it is used.

    Args:
        store: Of the index.
        every_row: Check all documents; None: only where there are at most 100,000.

    Raises:
        IndexCorruptedError: There are problems.
    """
    last_commit = store.last_commit()
    with store.snapshot() as snapshot:
        if every_row or (every_row is None and snapshot.state.documents <= CHECKED_AT_OPENING):
            _, problems = _check_rows(snapshot, last_commit)
        else:
            problems = _check_bookkeeping(snapshot, last_commit)
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        told = "; ".join(problems[:3]) + more
        raise IndexCorruptedError(told if "backup" in told else f"{told}. {WAY_OUT}")


def verify(directory: Path, store: Store, replicas: Replicas) -> VerifyReport:
    """Check the store, the derived files, and vectors and keywords in memory against the store."""
    problems: list[str] = []
    documents = vectors = keywords = 0
    try:
        last_commit = store.last_commit()
        with store.snapshot() as snapshot:
            documents, found = _check_rows(snapshot, last_commit)
            problems += found
        for name in FILE_NAMES:
            problems += _check_file(directory, store, name)
        with replicas.synchronised() as snapshot:
            vectors, found = _check_vectors(snapshot, replicas)
            problems += found
            keywords, found = _check_keywords(snapshot, replicas)
            problems += found
    except IndexStoreError as error:
        if str(error) not in problems:
            problems.append(str(error))
    return VerifyReport(documents, vectors, keywords, tuple(problems))


def _check_rows(snapshot: Snapshot, last_commit: int) -> tuple[int, list[str]]:
    """Check SQLite's structure, every checksum, the counts, and that no acknowledged commit is gone.

    Args:
        snapshot: Of the store.
        last_commit: What `Store.last_commit` said before the snapshot was made.

    Returns:
        How many documents are intact, and a line for each problem.
    """
    problems = snapshot.integrity_problems()
    stored = intact = 0
    for columns in snapshot.raw_documents():
        stored += 1
        try:
            snapshot.check(columns)
            intact += 1
        except IndexCorruptedError as error:
            problems.append(str(error))
    if stored != snapshot.state.documents:
        problems.append(f"{stored} documents are stored, {snapshot.state.documents} were committed")
    for table, what in (("vectors", "vectors"), ("term_counts", "counts of terms")):
        if orphans := snapshot.orphans(table):
            problems.append(f"{orphans} {what} are stored of documents that do not exist")
    return intact, problems + _check_bookkeeping(snapshot, last_commit)


def _check_bookkeeping(snapshot: Snapshot, last_commit: int) -> list[str]:
    """The part of `_check_rows` that takes no longer for more documents: the bookkeeping, and the last commit."""
    snapshot.removed_since(-1)
    snapshot.checkpoints()
    if snapshot.state.sequence >= last_commit:
        return []
    return [
        f"Commit {last_commit} was acknowledged, the store ends at commit {snapshot.state.sequence}: its log was "
        "cut off, damaged or left out of a copy. Restore the directory from a backup; or, to go on from what is "
        f"left, delete {LAST_COMMIT_NAME} in it"
    ]


def _check_vectors(snapshot: Snapshot, replicas: Replicas) -> tuple[int, list[str]]:
    problems, right = [], 0
    keys, matrix = replicas.vectors.part.contents()
    position = {key: place for place, key in enumerate(keys.tolist())}
    for row, vector in snapshot.documents():
        place = position.pop(row.key, None)
        if place is None:
            problems.append(f"FAISS holds no vector for document {row.id!r}")
        elif matrix is not None and matrix[place].tobytes() != vector:
            problems.append(f"FAISS holds another vector for document {row.id!r}")
        else:
            right += 1
    if position:
        problems.append(f"FAISS holds {len(position)} vectors of documents that do not exist")
    return right, problems


def _check_keywords(snapshot: Snapshot, replicas: Replicas) -> tuple[int, list[str]]:
    """Compare each document's terms by their sum; posting lists hold the same documents in another order."""
    stored, held = KeywordIndex.build(snapshot.all_counts()).merged(), replicas.keywords.part.merged()
    there = set(zip(held.keys.tolist(), held.sums().tolist(), strict=True))
    right = there & set(zip(stored.keys.tolist(), stored.sums().tolist(), strict=True))
    intact = {key for key, _ in right}
    names = {row.key: row.id for row in snapshot.rows()} if len(right) < len(stored.keys) else {}
    problems = [
        f"The keywords of document {id!r} are not those that are stored"
        for key, id in names.items()
        if key not in intact
    ]
    if extra := len(set(held.keys.tolist()) - set(stored.keys.tolist())):
        problems.append(f"There are keywords of {extra} documents that do not exist")
    return len(right), problems


def _check_file(directory: Path, store: Store, name: str) -> list[str]:
    path = directory / name
    problem = "is not the file that was written"
    for _ in range(2):  # a writer may put new files in place between our reading of the file and of the records
        digests = set()
        # A file whose record is committed counts, though its writer died before it had its name.
        for candidate in (name, temporary_name(name)):
            try:
                with open(directory / candidate, "rb") as file:
                    digests.add(digest_of(file))
            except OSError as error:
                if candidate == name:
                    problem = f"cannot be read ({error.strerror})"
        with store.snapshot() as snapshot:
            records = snapshot.checkpoints(name)
        if not records or digests & {record.digest for record in records}:
            return []
    return [f"{path} {problem}; it will be rebuilt from what is stored"]


# -- copies


def backup(directory: Path, store: Store, destination: str | os.PathLike[str]) -> None:
    """Copy an index as of its last commit, while this and other processes go on reading and writing."""
    with new_index_directory(destination) as copy:
        with store.snapshot():
            pass  # to turn to the index that is there now
        store.copy_to(copy)
        digests = {name: _copy_file(directory / name, copy / name) for name in FILE_NAMES}
        copied = Store(copy, read_only=False)
        try:
            # A writer may have put newer files in place since, or be about to: the copy then builds its own.
            with copied.transaction() as transaction:
                newest = {name: [record.digest for record in transaction.checkpoints(name)[-1:]] for name in FILE_NAMES}
                if any(digests[name] not in newest[name] for name in FILE_NAMES):
                    transaction.forget_checkpoints()
                    for name in FILE_NAMES:
                        (copy / name).unlink(missing_ok=True)
        finally:
            copied.close()
        copy_models(directory, copy)


def copy_models(source: Path, destination: Path) -> None:
    """Copy the saved encoder and the denoiser, whichever of them there are beside the index."""
    for name in (ENCODER_NAME, DENOISER_NAME):
        if (source / name).is_dir():
            shutil.copytree(source / name, destination / name)
            sync_tree(destination / name)


def _copy_file(source: Path, destination: Path) -> bytes | None:
    if not source.is_file():
        return None
    digest = Digest()
    with open(source, "rb") as file, open(destination, "wb") as copy:
        while block := file.read(BLOCK):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hex()
