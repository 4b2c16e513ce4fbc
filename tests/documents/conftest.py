from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from glot_rag.documents.loaders import LOADERS, Loaded, ReadOptions
from glot_rag.documents.loaders.base import FileContext


class Loads:
    """Runs a loader over bytes; keeps what it says."""

    def __init__(self) -> None:
        self.failed: list[tuple[int, str]] = []
        self.notes: list[str] = []

    def all(self, suffix: str, data: str | bytes, **options: Any) -> list[Loaded]:
        context = FileContext(
            f"/x{suffix}",
            suffix,
            ReadOptions(**options),
            lambda n, why: self.failed.append((n, why)),
            self.notes.append,
        )
        return list(LOADERS[suffix](BytesIO(data.encode() if isinstance(data, str) else data), context))

    def one(self, suffix: str, data: str | bytes, **options: Any) -> Loaded:
        (loaded,) = self.all(suffix, data, **options)
        return loaded

    def text(self, suffix: str, data: str | bytes) -> str:
        return self.one(suffix, data, html="all").text


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def shown() -> Callable[[Loaded], list[tuple[str, str, int]]]:
    """The blocks of what was loaded: (text, kind, level)."""
    return lambda loaded: [(loaded.text[b.start : b.end], b.kind, b.level) for b in loaded.blocks]
