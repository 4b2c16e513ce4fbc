"""Counts what is left out of a collection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SkipCounter:
    """Counts skipped things and keeps the name of the first one only, so that memory does not grow.

    Args:
        what: the things that are counted, in the plural.
        fate: what happens to them.

    >>> skipped, problems = SkipCounter("empty documents"), []
    >>> skipped.add("d7")
    >>> skipped.report(problems)
    >>> problems
    ["1 empty documents (the first: 'd7'), left out."]
    """

    what: str
    fate: str = "left out"
    count: int = field(default=0, init=False)
    first: str = field(default="", init=False)

    def add(self, key: str) -> None:
        """Count one more."""
        self.first = self.first if self.count else key
        self.count += 1

    def report(self, problems: list[str]) -> None:
        """Append a sentence to the problems if anything was counted."""
        if self.count:
            problems.append(f"{self.count:,} {self.what} (the first: {self.first!r}), {self.fate}.")
