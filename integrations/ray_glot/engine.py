"""Runs the work of `glot_rag.shards` in a pool of Ray Data's actors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from glot_rag import errors
from glot_rag.errors import GlotError, InputError
from glot_rag.index.validation import check_count, check_number
from glot_rag.shards.engine import Item, MakeWorker
from ray_glot.connecting import connect, last_line

if TYPE_CHECKING:
    from ray.data import Dataset

_ERROR = "error"
_THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS")


class RayEngine:
    """An `Engine` of many processes, on one machine or a cluster. Memory on every path is bounded by a shard.

    Only names of shards travel through Ray; documents and vectors go from the shared file system to a worker and back.
    So what a lost machine was working on is made again, and nothing else. Every machine must see the same paths and
    have glot-rag installed. Each worker loads its models once.

    Args:
        workers: processes, at most.
        cpus: of each worker; its threads, too.
        gpus: of each worker, such as 1 or 0.5.
        address: of the cluster, such as "head:6379", or "auto" for the one that this machine is of. None is the cluster
            of this process, or that RAY_ADDRESS names, or that runs on this machine, or else a new one here
            ("local").

    Raises:
        InputError: a count that cannot be, no cluster at that address, or no room in it for one worker.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self, workers: int | None = None, *, cpus: int = 1, gpus: float = 0.0, address: str | None = None
    ) -> None:
        self._cpus = check_count(cpus, "cpus")
        self._gpus = check_number(gpus, "gpus")
        if self._gpus < 0:
            raise InputError(f"gpus must be 0 or more, got {gpus!r}")
        connect(address)
        room = self._room()
        self.workers = room if workers is None else check_count(workers, "workers")

    def map(self, make: MakeWorker, settings: Mapping[str, Any], items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """See `Engine.map`. An item whose worker or machine died is given to another one."""
        import ray

        rows = [{"item": json.dumps(item)} for item in items]
        if not rows:
            return
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(self.workers, len(rows)))
        dataset: Dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(make, dict(settings), self._cpus),
            batch_size=1,
            compute=pool,
            num_cpus=self._cpus,
            num_gpus=self._gpus or None,
        )
        dataset.context.enable_progress_bars = False  # there is one already
        try:
            for row in dataset.iter_rows():
                yield _report(json.loads(row["report"]))
        except ray.exceptions.RayError as error:
            raise InputError(
                f"Ray's workers fail ({last_line(error)}); glot-rag must be installed on every machine, with the "
                "models, and all must see the same paths"
            ) from error

    def _room(self) -> int:
        """How many workers fit into the cluster; none would wait for ever."""
        import ray

        there = ray.cluster_resources()
        room = there.get("CPU", 1) // self._cpus
        if self._gpus:
            room = min(room, there.get("GPU", 0) // self._gpus)
        if room < 1:
            raise InputError(
                f"no worker of {self._cpus} CPUs and {self._gpus:g} GPUs fits the cluster, which has "
                f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs: ask for less, or first start "
                "a machine that has them"
            )
        return int(room)


class _Actor:
    """A worker, in a process of its own."""

    def __init__(self, make: MakeWorker, settings: dict[str, Any], threads: int) -> None:
        for name in _THREADS:  # before torch is loaded
            os.environ[name] = str(threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._worker = make(**settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"report": np.array([json.dumps(self._done(json.loads(item))) for item in batch["item"]], object)}

    def _done(self, item: Item) -> dict[str, Any]:
        try:
            return self._worker(item)
        except GlotError as error:  # it would be the same elsewhere: Ray shall not try again
            return {_ERROR: [type(error).__name__, str(error)]}


def _report(report: dict[str, Any]) -> dict[str, Any]:
    """The report, unless it tells of an error, which is raised."""
    if _ERROR in report:
        name, message = report[_ERROR]
        kind = getattr(errors, name, GlotError)
        error = GlotError.__new__(kind)
        error.args = (message,)
        raise error
    return report
