"""Documents from anywhere, read once and kept on disk: memory does not grow with their texts."""

from __future__ import annotations

from glot_rag.evaluation.collections.collection import Collection, Judged
from glot_rag.evaluation.collections.id_table import IdTable
from glot_rag.evaluation.collections.skip_counter import Tally


class SpooledCollection(Collection):
    """A collection that is filled a document at a time, and then given its queries.

    The texts stand in a temporary file until it is closed, wherever they came from.

    Args:
        name: for reports.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems = []
        self.queries_made = {}
        self.sha256 = {}
        self._table: IdTable[bytes] = IdTable()
        self._empty = Tally("empty documents")
        self._judged: Judged | None = None

    def add(self, key: str, text: str, place: str) -> int | None:
        """The next document -> its position; one without any text is counted and left out.

        Args:
            key: its id.
            text: its text.
            place: where it is from, for errors.

        Raises:
            DatasetError: the id was used before, or there is no room on the disk.
        """
        filled = bool(text.strip())
        self._table.add(key, place, text.encode("utf-8", "surrogatepass"), counts=filled)
        if filled:
            return len(self) - 1
        self._empty.add(key)
        return None

    def replace(self, position: int, text: str) -> None:
        """Another text for a document."""
        self._table.replace(position, text.encode("utf-8", "surrogatepass"))

    def note_empty(self) -> None:
        """Say among the problems how many documents had no text."""
        self._empty.note(self.problems)

    def judge(self, judged: Judged) -> None:
        """What it is measured on: the last thing that it is told."""
        self._judged = judged
        self.sha256 = {"dataset_hash": self.hash}

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: object) -> bool:
        """Whether there is a document of that id with a text."""
        return key in self._table

    def key(self, index: int) -> str:
        """The id of a document."""
        return self._table.key(index)

    def text(self, index: int) -> str:
        """The text of a document."""
        return self._table.value(index).decode("utf-8", "surrogatepass")

    def position(self, key: str) -> int:
        """Where a document stands."""
        return self._table.position(key)

    @property
    def judged(self) -> Judged:
        """As it was told."""
        assert self._judged is not None, "a collection without judgements"
        return self._judged

    def close(self) -> None:
        """Remove the temporary file."""
        self._table.close()
