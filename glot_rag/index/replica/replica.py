"""A part of the index in memory that follows the store's commits."""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, Protocol, TypeVar

from glot_rag.errors import IndexRecoveryWarning
from glot_rag.index.replica.files import digest_of
from glot_rag.index.replica.shared_lock import SharedLock
from glot_rag.index.store.directory import temporary_name
from glot_rag.index.store.snapshot import CheckpointRecord, Snapshot, Version
from glot_rag.index.store.store import Store

NOT_LOADED: Version = (-1, -1)
logger = logging.getLogger(__name__)


class Part(Protocol):
    """What a replica holds: something over the store's documents, by their keys."""

    def __len__(self) -> int: ...

    @property
    def largest(self) -> int:
        """The largest key; 0 if there is none."""

    def remove(self, keys: Iterable[int]) -> None:
        """Leave documents out of searches from now on."""


P = TypeVar("P", bound=Part)


class Replica(ABC, Generic[P]):
    """Keeps a part in step with the store.

    Writers do not touch it. A search that finds the store ahead replays the newer commits first, whether this process
    or another one made them: one code path for both, and an addition is done once SQLite has committed it.

    Several searches may run at once, but not beside a change. So a search holds the lock together with other searches,
    and a replay holds it alone. Copying the part for every change would leave searches undisturbed, at the price of
    copying all of it for every batch; replaying a batch takes milliseconds.

    Args:
        directory: That of the index.
        store: Its documents.

    Attributes:
        name: Of the file.
        what: What is in the file, for messages.
        lock: Held by searches together, or by a change alone.
        version: The version of the store that the part is at.
        file_is_stale: The file on disk was found missing or damaged.
    """

    name: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, directory: Path, store: Store) -> None:
        self._directory = directory
        self._store = store
        self._part: P | None = None
        self.lock = SharedLock()
        self.version = NOT_LOADED
        self.file_is_stale = False

    @property
    def part(self) -> P:
        """What it holds. Call it inside `synchronised`."""
        assert self._part is not None, "outside of `synchronised`"
        return self._part

    def catch_up(self) -> None:
        """Replay the store's newer commits, or load the part. The caller holds the lock alone.

        Raises:
            IndexCorruptedError: It can be loaded neither from its file nor from the store.
        """
        try:
            if self._part is not None:
                with self._store.snapshot() as snapshot:
                    (generation, sequence), part = self.version, self._part
                    same_store = generation == snapshot.version[0] and sequence >= snapshot.state.horizon
                    if same_store and self._can_take(part, snapshot) and self._replay(part, snapshot, sequence):
                        return
            self._load()
        except BaseException:
            self._part, self.version = None, NOT_LOADED  # it may be half changed: load it anew next time
            raise

    def replace(self, part: P, version: Version) -> None:
        """Search through another part from now on."""
        with self.lock.exclusive():
            self._part, self.version = part, version

    @abstractmethod
    def write_temporary(self, sequence: int) -> CheckpointRecord:
        """Write the part's file under its temporary name. Call it inside `synchronised`.

        Raises:
            OSError: The disk is full or failing; the file in place is as it was.
        """

    @abstractmethod
    def _read(self, file: BinaryIO, record: CheckpointRecord, snapshot: Snapshot) -> P:
        """The part in an open file whose digest is that of its record.

        It is read through the descriptor that was hashed: the name may point to another file by now.

        Raises:
            RuntimeError, ValueError, MemoryError: The file holds no part that a replica of this store could have
                written.
        """

    @abstractmethod
    def _build(self, snapshot: Snapshot) -> P:
        """The part from the store alone."""

    @abstractmethod
    def _append(self, part: P, snapshot: Snapshot) -> None:
        """Add the documents whose keys are larger than the part's."""

    def _can_take(self, part: P, snapshot: Snapshot) -> bool:
        """Whether new documents can be added, or there are none."""
        return True

    def _load(self) -> None:
        # Twice: a writer may put two new files in place between our opening of one and our reading of the records.
        for _ in range(2):
            try:
                if self._load_file(self.name) or self._load_file(temporary_name(self.name)):
                    logger.info("%s: read %s", self._directory, self.what)
                    return
                problem = "is not the file that was written"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
        with self._store.snapshot() as snapshot:
            if snapshot.checkpoints(self.name):
                self.file_is_stale = True
                message = f"{self._directory / self.name} {problem}; rebuilding it from the stored {self.what}"
                logger.warning(message)
                warnings.warn(message, IndexRecoveryWarning, stacklevel=2)
            self._part = self._build(snapshot)
            self.version = snapshot.version

    def _load_file(self, name: str) -> bool:
        if name != self.name and not (self._directory / name).exists():
            return False
        with open(self._directory / name, "rb") as file:
            digest = digest_of(file)
            with self._store.snapshot() as snapshot:
                record = next((r for r in snapshot.checkpoints(self.name) if r.digest == digest), None)
                if record is None or record.sequence < snapshot.state.horizon:
                    return False
                try:
                    part = self._read(file, record, snapshot)
                except (RuntimeError, ValueError, MemoryError):
                    return False
                if part.largest >= snapshot.state.next_key:
                    return False
                self._part = part
                return self._replay(part, snapshot, record.sequence)

    def _replay(self, part: P, snapshot: Snapshot, sequence: int) -> bool:
        """Apply the commits after `sequence`; False if the counts do not agree then."""
        part.remove(snapshot.removed_since(sequence))
        # A changed text or vector has a new key, and keys only grow: what is new is what is larger.
        self._append(part, snapshot)
        self.version = snapshot.version
        return len(part) == snapshot.state.documents


@contextmanager
def synchronised(store: Store, *replicas: Replica[Any]) -> Iterator[Snapshot]:
    """A snapshot of the store with replicas at the same commit, until the block ends.

    Args:
        store: Theirs.
        replicas: Always in the same order, so that nobody waits for each other.

    Raises:
        IndexCorruptedError: One can be loaded neither from its file nor from the store.
    """
    while True:
        # In this order: the versions cannot move once the locks are held, and the store can only be ahead of them.
        with ExitStack() as held:
            for replica in replicas:
                held.enter_context(replica.lock.shared())
            snapshot = held.enter_context(store.snapshot())
            behind = [replica for replica in replicas if replica.version != snapshot.version]
            if not behind:
                yield snapshot
                return
        for replica in behind:
            with replica.lock.exclusive():
                replica.catch_up()
