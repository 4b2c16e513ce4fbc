"""Training a head over cached hidden states; a run that was stopped goes on after its last epoch."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from glot_rag.errors import TrainingError
from glot_rag.files import write_atomically
from glot_rag.head import save_head
from glot_rag.head.config import HeadConfig
from glot_rag.head.fit import Epoch, Fitting, Measured, best_epoch, seeded
from glot_rag.head.registry import nothing_above
from glot_rag.head.storage import build_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import HiddenStateCache, from_stored
from glot_rag.training.config import TrainingConfig
from glot_rag.training.objectives import contrastive_loss, denoising_loss, signal_costs, token_loss
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import SIGNAL, SPECIAL, cache_views, data_fingerprint, rows_per_text

_POOL = 32  # batches' worth of texts that are sorted by length together, so that padding stays small
_log = logging.getLogger(__name__)


def train(
    texts: Sequence[TrainingText],
    backbone: Backbone,
    head_config: HeadConfig,
    config: TrainingConfig,
    out: str | os.PathLike[str],
    *,
    teacher: Backbone | None = None,
    cache: str | os.PathLike[str] | None = None,
    lines: Mapping[str, Sequence[str]] | None = None,
    details: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> list[Epoch]:
    """Train a head and save the one with the best validation loss.

    A run that was killed goes on after its last complete epoch when it is started again with the same settings.
    It runs on the backbone's device; with a seed the result is the same on the same CPU.

    Args:
        texts: clean texts; a share of them is held out for validation.
        backbone: the frozen transformer.
        head_config: the head's shape (`glot_rag.training.config.default_head`).
        config: how to train.
        out: gets `config.json` and `head.safetensors` (see `load_head`), `history.json` and `state/`.
        teacher: another frozen transformer, whose mean-pooled vectors are the denoising objective's targets: the head
            learns the teacher's space, so that vectors of both may lie in one index. None is the backbone itself.
        cache: directory of the hidden states; None is `out`/cache.
        lines: real lines for the noise, by kind (`glot_rag.training.texts.read_noise_lines`).
        details: more to record in the head's `config.json`.
        show_progress: draw progress bars on stderr.

    Returns:
        One entry an epoch.

    Raises:
        TrainingError: too few texts, a directory that belongs to a run with other settings, a head that does not fit
            the objectives, or a loss that is not finite.
    """
    out = Path(out)
    run = _Run(texts, backbone, head_config, config, out, lines, teacher)
    states = cache_views(
        cache or out / "cache",
        texts,
        backbone,
        layers=head_config.layers,
        views=config.views,
        seed=config.seed,
        lines=lines,
        without=config.without,
        queries=config.vectors,
        targets=run.needs_targets,
        teacher=teacher,
        show_progress=show_progress,
    )
    record = {
        "backbone": backbone.source.name,
        "backbone_fingerprint": backbone.fingerprint,
        **({"teacher": teacher.source.name, "teacher_fingerprint": teacher.fingerprint} if teacher else {}),
        "training": dataclasses.asdict(config),
        "texts": len(texts),
        **(details or {}),
    }
    while run.fitting.goes_on:
        epoch = run.step(states, show_progress)
        if epoch is best_epoch(run.fitting.history):
            save_head(run.head, out, {**record, "validation": dataclasses.asdict(epoch)})
        run.save()
    return run.fitting.history


class _Batch(NamedTuple):
    """Some texts of an epoch, by their rows in the cache: the shown view of each, and its query."""

    rows: NDArray[np.int64]
    queries: NDArray[np.int64]


class _Run:
    """A training run: the head, the texts' split, the losses, and the state on disk that a stopped run goes on from."""

    def __init__(
        self,
        texts: Sequence[TrainingText],
        backbone: Backbone,
        head_config: HeadConfig,
        config: TrainingConfig,
        out: Path,
        lines: Mapping[str, Sequence[str]] | None,
        teacher: Backbone | None,
    ) -> None:
        self.config, self.out, self.device = config, out, backbone.device
        split = np.random.default_rng([config.seed, 1]).permutation(len(texts))
        held_out = max(2, round(len(texts) * config.validation))
        self.validation, self.training = np.sort(split[:held_out]), np.sort(split[held_out:])
        if len(self.training) < 2:
            raise TrainingError(f"{len(texts)} texts are too few to train on and hold some out; give at least 4")
        self.has_query = np.array([bool(text.query.strip()) for text in texts])
        with seeded(config.seed):
            self.head = build_head(head_config).to(self.device)
        self._check(backbone, teacher)
        self.fitting = Fitting(self.head, config, math.ceil(len(self.training) / config.batch_size))
        self._costs: Tensor | None = None
        self._settings = {
            "head": head_config.to_dict() | {"layers": list(head_config.layers)},
            "training": dataclasses.asdict(config),
            "texts": len(texts),
            "data": data_fingerprint(texts, backbone, lines, teacher),
        }
        self._resume()

    def _check(self, backbone: Backbone, teacher: Backbone | None) -> None:
        """Refuse a head that does not fit the backbone or the objectives, before anything is computed."""
        config, head = self.config, self.head.config
        if config.vectors and head.form == "drop":
            raise TrainingError("the drop form is trained on token labels alone: set denoising=0 and contrastive=0")
        for layer in head.layers:
            if head.form == "drop" and backbone.layer_number(layer) == backbone.num_layers:
                raise TrainingError(nothing_above(layer, backbone))
        size = (teacher or backbone).state_size
        if config.denoising and self.head.output_size != size:
            whose = "teacher" if teacher else "backbone"
            raise TrainingError(
                f"the denoising objective compares with the {whose}'s vectors of length {size}, the head's have "
                f"{self.head.output_size}: set form='paper' and output_size={size}, or denoising=0"
            )
        if teacher and head.mean_queries:
            raise TrainingError(
                "the head learns the teacher's space, but queries would be mean-pooled in the backbone's: set "
                "form='paper'"
            )

    @property
    def needs_targets(self) -> bool:
        """Whether the losses read the frozen backbone's own vectors."""
        asked = self.config.contrastive > 0 and self.head.config.mean_queries
        return self.config.denoising > 0 or asked

    def step(self, cache: HiddenStateCache, show_progress: bool) -> Epoch:
        """Train for one epoch, then measure the loss on the texts held out."""
        return self.fitting.run_epoch(
            _batches(self.training, cache, self.config, len(self.fitting.history) + 1),
            lambda batch: self._loss(cache, batch)[0],
            lambda: self._measure(cache),
            show_progress=show_progress,
        )

    def _measure(self, cache: HiddenStateCache) -> Measured:
        """The mean loss over every view of the texts held out."""
        sums: dict[str, float] = {}
        count = 0
        for view in range(self.config.views):
            for batch in _batches(self.validation, cache, self.config, None, view):
                loss, parts = self._loss(cache, batch)
                for name, value in {**parts, "total": loss}.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(batch.rows)
                count += len(batch.rows)
        means = {name: value / count for name, value in sums.items()}
        return Measured(means.pop("total"), parts=means)

    def _loss(self, cache: HiddenStateCache, batch: _Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The objectives' weighted sum, and each of them."""
        config, head = self.config, self.head
        states, mask, labels, ids = (each.to(self.device) for each in gather(cache, batch.rows))
        pooled = head(states, mask)
        parts: dict[str, Tensor] = {}
        if config.vectors:
            asked = self.has_query[batch.queries // rows_per_text(config.views, True)]
            queries = batch.queries[asked]
            query_vectors, vectors = self._query_vectors(cache, queries), pooled.vector
            if config.denoising:
                compared, own = vectors, batch.rows
                if not head.config.mean_queries:
                    # The head makes the queries' vectors, too, and they have the clean query's own as the target.
                    compared, own = torch.cat([vectors, query_vectors]), np.concatenate([batch.rows, queries])
                parts["denoising"] = denoising_loss(compared, self._targets(cache, own))
            if config.contrastive:
                parts["contrastive"] = contrastive_loss(query_vectors, vectors[torch.from_numpy(asked).to(self.device)])
        assert pooled.logits is not None
        parts["tokens"] = token_loss(pooled.logits, labels, self._token_costs(cache)[ids])
        loss = sum(
            (getattr(config, name) * value for name, value in parts.items()), torch.zeros((), device=self.device)
        )
        return loss, parts

    def _token_costs(self, cache: HiddenStateCache) -> Tensor:
        """`signal_costs` of the cached texts' signal tokens, (V,); counted once."""
        if self._costs is None:
            signal = cache.column("label")[:, 0] == SIGNAL
            counts = np.bincount(cache.column("id")[signal, 0], minlength=int(cache.column("id").max()) + 1)
            self._costs = signal_costs(torch.from_numpy(counts)).to(self.device)
        return self._costs

    def _query_vectors(self, cache: HiddenStateCache, rows: NDArray[np.int64]) -> Tensor:
        if self.head.config.mean_queries:
            return self._targets(cache, rows)
        if not len(rows):
            return torch.zeros(0, self.head.output_size, device=self.device)
        states, mask, *_ = gather(cache, rows)
        vectors: Tensor = self.head(states.to(self.device), mask.to(self.device)).vector
        return vectors

    def _targets(self, cache: HiddenStateCache, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.array(cache.column("target")[rows])).to(self.device)

    # ---- the state on disk: safetensors and JSON, no pickle

    def save(self) -> None:
        """Write the state after an epoch; the JSON comes last and names the epoch of the tensors it belongs to."""
        folder, number = self.out / "state", len(self.fitting.history)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"epoch-{number}.safetensors", save(self.fitting.tensors()))
        history = [dataclasses.asdict(epoch) for epoch in self.fitting.history]
        write_atomically(folder / "state.json", json.dumps({**self._settings, "history": history}).encode())
        write_atomically(self.out / "history.json", json.dumps(history, indent=2).encode() + b"\n")
        for old in folder.glob("epoch-*.safetensors"):
            if old.name != f"epoch-{number}.safetensors":
                old.unlink()

    def _resume(self) -> None:
        path = self.out / "state" / "state.json"
        if not path.is_file():
            return
        record = json.loads(path.read_text())
        history = [Epoch(**epoch) for epoch in record.pop("history")]
        if record != json.loads(json.dumps(self._settings)):
            raise TrainingError(f"{self.out} holds a run with other settings or texts: choose another directory")
        self.fitting.resume(history, load((path.parent / f"epoch-{len(history)}.safetensors").read_bytes()))
        _log.info("%s: going on after epoch %d", self.out, len(history))


def _batches(
    texts: NDArray[np.int64], cache: HiddenStateCache, config: TrainingConfig, epoch: int | None, view: int = 0
) -> list[_Batch]:
    """The texts in batches of similar length.

    In epoch e text t shows view (t + e) mod V, in an order of its own; epoch None gives view `view` of each.
    """
    per_text = rows_per_text(config.views, config.vectors)
    order = np.arange(len(texts))
    if epoch is not None:
        rng = np.random.default_rng([config.seed, 2, epoch])
        order = rng.permutation(len(texts))
    chosen = texts[order]
    rows = chosen * per_text + ((chosen + epoch) % config.views if epoch is not None else view)
    lengths = np.diff(cache.ends)
    batches = []
    for start in range(0, len(rows), _POOL * config.batch_size):
        pool = rows[start : start + _POOL * config.batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + config.batch_size] for i in range(0, len(pool), config.batch_size)]
    if epoch is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return [_Batch(batch, batch // per_text * per_text + config.views) for batch in batches]


def gather(cache: HiddenStateCache, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of the cache as a padded batch: states (B, L, S·D), mask (B, L), labels (B, L), token ids (B, L)."""
    labels = torch.from_numpy(cache.padded("label", rows, SPECIAL)[..., 0])
    ids = torch.from_numpy(cache.padded("id", rows)[..., 0]).long()
    return from_stored(cache.padded("states", rows)), torch.from_numpy(cache.mask(rows)), labels, ids
