"""The one look of every progress bar: on stderr, with counts, speed and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def bar(*, disable: bool = False, of_bytes: bool = False) -> Progress:
    """A progress bar that leaves stdout alone, so that output can be piped.

    Args:
        disable: draw nothing.
        of_bytes: what is counted are bytes.
    """
    from rich.console import Console  # here, as importing the library draws no bar
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if of_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=disable,
    )
