"""Runs the work of `glot_rag.shards` in a pool of Ray Data's actors."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from glot_rag import errors
from glot_rag.errors import GlotError, InputError, MissingExtraError
from glot_rag.index.validation import check_count, check_number
from glot_rag.shards.engine import Item, MakeWorker

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
        address: of the cluster, such as "auto" or "ray://head:10001". None is the cluster that this process is
            connected to, or that RAY_ADDRESS names, or else a new one on this machine.

    Raises:
        InputError: a count that cannot be, or no cluster at that address.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self, workers: int | None = None, *, cpus: int = 1, gpus: float = 0.0, address: str | None = None
    ) -> None:
        self._cpus = check_count(cpus, "cpus")
        self._gpus = check_number(gpus, "gpus")
        if self._gpus < 0:
            raise InputError(f"gpus must be 0 or more, got {gpus!r}")
        _connect(address)
        self.workers = self._fitting() if workers is None else check_count(workers, "workers")

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
        try:
            for row in dataset.iter_rows():
                yield _report(json.loads(row["report"]))
        except ray.exceptions.RayError as error:
            raise InputError(
                f"Ray's workers fail ({_last_line(error)}); glot-rag must be installed on every machine, with the "
                "models, and all must see the same paths"
            ) from error

    def _fitting(self) -> int:
        """As many workers as the cluster has room for."""
        import ray

        there = ray.cluster_resources()
        room = there.get("CPU", 1) // self._cpus
        if self._gpus:
            room = min(room, there.get("GPU", 0) // self._gpus)
        if room < 1:
            raise InputError(
                f"no worker of {self._cpus} CPUs and {self._gpus} GPUs fits the cluster, which has "
                f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
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


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__


def _connect(address: str | None) -> None:
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    if ray.is_initialized():
        return
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # Ray raises a bare Exception where a node is slow to start
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise InputError(
            f"no Ray cluster at {where} ({error!s:.200}): start one with `ray start --head`, or leave the address out "
            "for one on this machine"
        ) from error
