"""How many things were left out of a collection, and the first of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts; holds one name, however many there are.

    Args:
        what: is counted, in the plural.
        fate: what happens to it.

    >>> tally, problems = Tally("empty documents"), []
    >>> tally.add("d7")
    >>> tally.note(problems)
    >>> problems
    ["1 empty documents (the first: 'd7'), left out."]
    """

    what: str
    fate: str = "left out"
    count: int = field(default=0, init=False)
    first: str = field(default="", init=False)

    def add(self, key: str) -> None:
        """One more."""
        self.first = self.first if self.count else key
        self.count += 1

    def note(self, problems: list[str]) -> None:
        """Say among the problems how many there were, if there were any."""
        if self.count:
            problems.append(f"{self.count:,} {self.what} (the first: {self.first!r}), {self.fate}.")
