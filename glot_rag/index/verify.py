"""A full check of an index, which alters nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glot_rag.errors import IndexCorruptedError, IndexStoreError
from glot_rag.index import checkpoint, commit_mark
from glot_rag.index.mirror import Mirror
from glot_rag.index.snapshot import Snapshot
from glot_rag.index.store import Store


@dataclass(frozen=True)
class VerifyReport:
    """What a check found.

    Attributes:
        documents: Rows of the store whose checksum is right.
        vectors: Vectors in FAISS that equal the stored ones, bit for bit; in an index that compresses them, those that
            are there.
        problems: One line each; empty if all is well.
    """

    documents: int
    vectors: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


CHECKED_AT_OPENING = 100_000  # documents, whose checksums take about two seconds


def check_rows(snapshot: Snapshot, acknowledged: int) -> tuple[int, list[str]]:
    """Check SQLite's structure, every checksum, the count, and that no acknowledged commit is gone.

    Args:
        snapshot: Of the store.
        acknowledged: What `Store.acknowledged` said before the snapshot was made.

    Returns:
        How many documents are intact, and a line for each problem.
    """
    problems = snapshot.integrity_problems()
    stored = intact = 0
    for columns in snapshot.raw_documents():
        stored += 1
        try:
            snapshot.decode(columns)
            intact += 1
        except IndexCorruptedError as error:
            problems.append(str(error))
    if stored != snapshot.state.documents:
        problems.append(f"{stored} documents are stored, {snapshot.state.documents} were committed")
    orphans = snapshot.orphans()
    if orphans:
        problems.append(f"{orphans} vectors are stored of documents that do not exist")
    return intact, problems + check_bookkeeping(snapshot, acknowledged)


def check_bookkeeping(snapshot: Snapshot, acknowledged: int) -> list[str]:
    """The part of `check_rows` that takes no longer for more documents: the bookkeeping, and the last commit."""
    snapshot.removed_since(-1)
    snapshot.checkpoints()
    if snapshot.state.sequence >= acknowledged:
        return []
    return [
        f"Commit {acknowledged} was acknowledged, the store ends at commit {snapshot.state.sequence}: its log was "
        "cut off, damaged or left out of a copy. Restore the directory from a copy; or, to go on from what is "
        f"left, delete {commit_mark.NAME} in it"
    ]


def check_store(store: Store, *, every_row: bool | None) -> None:
    """As `check_rows`, for the opening of an index.

    Args:
        store: Of the index.
        every_row: Walk over all documents; None: only where there are at most 100,000.

    Raises:
        IndexCorruptedError: There are some.
    """
    acknowledged = store.acknowledged()
    with store.snapshot() as snapshot:
        if every_row or (every_row is None and snapshot.state.documents <= CHECKED_AT_OPENING):
            _, problems = check_rows(snapshot, acknowledged)
        else:
            problems = check_bookkeeping(snapshot, acknowledged)
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise IndexCorruptedError("; ".join(problems[:3]) + more)


def verify(directory: Path, store: Store, mirror: Mirror) -> VerifyReport:
    """Check the store, the FAISS file, and FAISS in memory against the store."""
    problems: list[str] = []
    documents = vectors = 0
    try:
        acknowledged = store.acknowledged()
        with store.snapshot() as snapshot:
            documents, found = check_rows(snapshot, acknowledged)
            problems += found
        problems += _file_problems(directory, store)
        with mirror.synchronised() as snapshot:
            vectors, found = _memory_problems(snapshot, mirror)
            problems += found
    except IndexStoreError as error:
        if str(error) not in problems:
            problems.append(str(error))
    return VerifyReport(documents, vectors, tuple(problems))


def _memory_problems(snapshot: Snapshot, mirror: Mirror) -> tuple[int, list[str]]:
    problems, right = [], 0
    keys, matrix = mirror.contents()
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


def _file_problems(directory: Path, store: Store) -> list[str]:
    path = directory / checkpoint.FILE_NAME
    problem = "is not the file that was written"
    for _ in range(2):  # a writer may put new files in place between our reading of the file and of the records
        digests = set()
        # A file whose record is committed counts, though its writer died before it had its name.
        for name in (checkpoint.FILE_NAME, checkpoint.TEMPORARY_NAME):
            try:
                with open(directory / name, "rb") as file:
                    digests.add(checkpoint.sha256(file))
            except OSError as error:
                if name == checkpoint.FILE_NAME:
                    problem = f"cannot be read ({error.strerror})"
        with store.snapshot() as snapshot:
            records = snapshot.checkpoints()
        if not records or digests & {record.sha256 for record in records}:
            return []
    return [f"{path} {problem}; it will be rebuilt from the stored vectors"]
