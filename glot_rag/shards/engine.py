"""What carries out the work of a run: one process here, a cluster elsewhere (`ray_glot.RayEngine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

Item = Mapping[str, Any]  # JSON values
Worker = Callable[[Item], dict[str, Any]]
MakeWorker = Callable[..., Worker]


class Engine(Protocol):
    """Runs a worker over items. Workers write files and give back small reports, so that little travels."""

    def map(self, make: MakeWorker, settings: Mapping[str, Any], items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """The report of each item, in any order.

        Args:
            make: gives a worker; called once in each process, with the settings.
            settings: paths and numbers, no models.
            items: what to work on. One may be worked on twice, if what ran it died.
        """
        ...


class LocalEngine:
    """One process, one item after the other."""

    def map(self, make: MakeWorker, settings: Mapping[str, Any], items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """See `Engine.map`."""
        worker: Worker | None = None
        for item in items:
            worker = worker or make(**settings)
            yield worker(item)
