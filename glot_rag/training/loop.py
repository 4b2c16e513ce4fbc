"""The training loop: AdamW over cached hidden states, with warm-up, early stopping and resume."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from glot_rag.errors import TrainingError
from glot_rag.files import write_atomically
from glot_rag.head import AdaPool, GlotHead, save_head
from glot_rag.head.config import HeadConfig
from glot_rag.head.registry import nothing_above
from glot_rag.head.storage import build_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import HiddenStateCache, from_stored
from glot_rag.progress import bar
from glot_rag.training.config import TrainingConfig
from glot_rag.training.negatives import NONE, mine
from glot_rag.training.objectives import contrastive_loss, denoising_loss, signal_costs, token_loss
from glot_rag.training.texts import TrainingText
from glot_rag.training.views import SIGNAL, SPECIAL, cache_views, rows_a_text, what_is_read

_POOL = 32  # batches' worth of texts that are sorted by length together, so that padding stays small


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Losses after an epoch. `validation` is what early stopping looks at: the objectives' weighted sum."""

    number: int
    train: float
    validation: float
    parts: dict[str, float]


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

    A run that was killed goes on with its last completed epoch when it is started again with the same settings.
    It runs on the backbone's device; with a seed the result is the same on the same CPU.

    Args:
        texts: clean texts; a share of them is held out for validation.
        backbone: the frozen transformer.
        head_config: the head's shape.
        config: how to train.
        teacher: another frozen transformer, whose mean-pooled vectors are the denoising objective's targets and rank
            the hard negatives: the head learns its space, so that vectors of both may lie in one index. None is the
            backbone itself.
        out: gets `config.json` and `head.safetensors` (see `load_head`), `history.json` and `state/`.
        cache: directory of the hidden states; None is `out`/cache.
        lines: real lines for the noise, by kind (`glot_rag.training.texts.read_lines`).
        details: more to record in the head's `config.json`.
        show_progress: draw progress bars on stderr.

    Returns:
        One entry an epoch.

    Raises:
        TrainingError: too few texts, a directory that belongs to a run with other settings, or a loss that is NaN.
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
    while run.goes_on:
        epoch = run.step(states, show_progress)
        if epoch is run.best:
            save_head(run.head, out, {**record, "validation": dataclasses.asdict(epoch)})
        run.save()
    return run.history


class _Run:
    """The state of a training run: the head, its optimiser, and what has been reached."""

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
        self.config, self.out = config, out
        split = np.random.default_rng([config.seed, 1]).permutation(len(texts))
        held_out = max(2, round(len(texts) * config.validation))
        self.validation, self.training = np.sort(split[:held_out]), np.sort(split[held_out:])
        if len(self.training) < 2:
            raise TrainingError(f"{len(texts)} texts are too few to train on and hold some out; give at least 4")
        self.has_query = np.array([bool(text.query.strip()) for text in texts])
        torch.manual_seed(config.seed)
        self.device = backbone.device
        self.head: GlotHead | AdaPool = build_head(head_config).to(self.device)
        if config.vectors and head_config.form == "drop":
            raise TrainingError("the drop form is trained on token labels alone: set denoising=0 and contrastive=0")
        for layer in head_config.layers:
            if head_config.form == "drop" and backbone.layer_number(layer) == backbone.num_layers:
                raise TrainingError(nothing_above(layer, backbone))
        size = (teacher or backbone).state_size
        if config.denoising and self.head.output_size != size:
            whose = "teacher" if teacher else "backbone"
            raise TrainingError(
                f"the denoising objective compares with the {whose}'s vectors of length {size}, the head's have "
                f"{self.head.output_size}: set form='paper' and output_size={size}, or denoising=0"
            )
        if teacher and head_config.mean_queries:
            raise TrainingError("the head learns the teacher's space: queries cannot be the backbone's mean pooling")
        self.optimiser = torch.optim.AdamW(
            self.head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        steps = config.epochs * math.ceil(len(self.training) / config.batch_texts)
        self.schedule = get_cosine_schedule_with_warmup(self.optimiser, round(steps * config.warmup), steps)
        self.history: list[Epoch] = []
        self._token_costs: Tensor | None = None
        self._mined: NDArray[np.int64] | None = None
        self._settings = {
            "head": head_config.to_dict() | {"layers": list(head_config.layers)},
            "training": dataclasses.asdict(config),
            "texts": len(texts),
            "read": what_is_read(texts, backbone, lines, teacher),
        }
        self._resume()

    @property
    def best(self) -> Epoch:
        return min(self.history, key=lambda epoch: epoch.validation)

    @property
    def needs_targets(self) -> bool:
        """Whether anything is compared with the frozen backbone's own vectors."""
        config = self.config
        asked = config.contrastive > 0 and self.head.config.mean_queries
        return config.denoising > 0 or config.negatives > 0 or asked

    @property
    def goes_on(self) -> bool:
        done = len(self.history)
        return done < self.config.epochs and (done == 0 or done - self.best.number < self.config.patience)

    def step(self, cache: HiddenStateCache, show_progress: bool) -> Epoch:
        """Train for one epoch, then measure the loss on the texts held out."""
        number = len(self.history) + 1
        batches = list(_batches(self.training, cache, self.config, number))
        total = 0.0
        self.head.train()
        with bar(disable=not show_progress) as progress:
            task = progress.add_task(f"epoch {number}/{self.config.epochs}", total=len(batches))
            for done, (rows, queries) in enumerate(batches, start=1):
                loss, _ = self._loss(cache, rows, queries)
                self.optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
                self.optimiser.step()
                self.schedule.step()
                total += loss.item()
                if not math.isfinite(total):
                    raise TrainingError(f"the loss is {loss.item()} in epoch {number}: lower the learning rate")
                progress.update(
                    task, advance=1, description=f"epoch {number}/{self.config.epochs}  loss {total / done:.4f}"
                )
            self.head.eval()
            parts = self._validate(cache)
            epoch = Epoch(number, total / len(batches), parts.pop("total"), parts)
            if not math.isfinite(epoch.validation):
                raise TrainingError(
                    f"the validation loss is {epoch.validation} in epoch {number}: lower the learning rate"
                )
            progress.update(
                task, description=f"epoch {number}  loss {epoch.train:.4f}  validation {epoch.validation:.4f}"
            )
        self.history.append(epoch)
        return epoch

    @torch.no_grad()
    def _validate(self, cache: HiddenStateCache) -> dict[str, float]:
        """The mean loss over every view of the texts held out."""
        sums: dict[str, float] = {}
        count = 0
        for view in range(self.config.views):
            for rows, queries in _batches(self.validation, cache, self.config, None, view):
                loss, parts = self._loss(cache, rows, queries)
                for name, value in {**parts, "total": loss}.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(rows)
                count += len(rows)
        return {name: value / count for name, value in sums.items()}

    def _loss(
        self, cache: HiddenStateCache, rows: NDArray[np.int64], queries: NDArray[np.int64]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, head = self.config, self.head
        states, mask, labels, ids = (each.to(self.device) for each in gather(cache, rows))
        pooled = head(states, mask)
        parts: dict[str, Tensor] = {}
        if config.vectors:
            asked = self.has_query[queries // rows_a_text(config.views, True)]
            asking, vectors = self._query_vectors(cache, queries[asked]), pooled.vector
            if config.denoising:
                compared, own = vectors, rows
                if not head.config.mean_queries:
                    # The head makes the queries' vectors, too: they are to be where the clean query has its own.
                    compared, own = torch.cat([vectors, asking]), np.concatenate([rows, queries[asked]])
                parts["denoising"] = denoising_loss(compared, self._targets(cache, own))
            if config.contrastive:
                parts["contrastive"] = self._contrastive(cache, queries, asked, asking, vectors)
        assert pooled.logits is not None
        parts["tokens"] = token_loss(pooled.logits, labels, self._costs(cache)[ids])
        loss = sum(
            (getattr(config, name) * value for name, value in parts.items()), torch.zeros((), device=self.device)
        )
        return loss, parts

    def _costs(self, cache: HiddenStateCache) -> Tensor:
        if self._token_costs is None:
            signal = cache.column("label")[:, 0] == SIGNAL
            counts = np.bincount(cache.column("id")[signal, 0], minlength=int(cache.column("id").max()) + 1)
            self._token_costs = signal_costs(torch.from_numpy(counts), self.config.rarity).to(self.device)
        return self._token_costs

    def _contrastive(
        self,
        cache: HiddenStateCache,
        queries: NDArray[np.int64],
        asked: NDArray[np.bool_],
        query_vectors: Tensor,
        vectors: Tensor,
    ) -> Tensor:
        per_text = rows_a_text(self.config.views, True)
        negatives = present = None
        if self.config.negatives and asked.any():
            mined = self._hard_negatives(cache)[queries[asked] // per_text]  # (B, H)
            rows = np.where(mined == NONE, 0, mined) * per_text + self.config.views
            negatives = self._query_vectors(cache, rows.ravel()).view(*rows.shape, -1)
            present = torch.from_numpy(mined != NONE).to(self.device)
        return contrastive_loss(
            query_vectors, vectors[torch.from_numpy(asked).to(self.device)], self.config.temperature, negatives, present
        )

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

    def _hard_negatives(self, cache: HiddenStateCache) -> NDArray[np.int64]:
        """Of each text, the numbers of other texts, (T, H). What is held out stays out of what is trained on."""
        if self._mined is None:
            per_text = rows_a_text(self.config.views, True)
            targets = cache.column("target")
            self._mined = np.full((len(self.has_query), self.config.negatives), NONE)
            for part in (self.training, self.validation):
                asked = part[self.has_query[part]]
                if not len(asked):
                    continue
                texts, queries = (np.array(targets[asked * per_text + row]) for row in (0, self.config.views))
                mined = mine(torch.from_numpy(texts), torch.from_numpy(queries), self.config.negatives).numpy()
                self._mined[asked] = np.where(mined == NONE, NONE, asked[mined])
        return self._mined

    # ---- what a resumed run needs; safetensors and JSON, no pickle

    def save(self) -> None:
        """Write the state after an epoch; the JSON comes last and names the epoch of the tensors it belongs to."""
        tensors = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        folder = self.out / "state"
        folder.mkdir(parents=True, exist_ok=True)
        number = len(self.history)
        write_atomically(folder / f"epoch-{number}.safetensors", save({k: v.contiguous() for k, v in tensors.items()}))
        history = [dataclasses.asdict(epoch) for epoch in self.history]
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
        tensors = load((path.parent / f"epoch-{len(history)}.safetensors").read_bytes())
        self.head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
        optimiser = self.optimiser.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".")
                optimiser["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(optimiser)
        steps = len(history) * math.ceil(len(self.training) / self.config.batch_texts)
        state = self.schedule.state_dict()
        state["last_epoch"] = steps
        self.schedule.load_state_dict(state)
        for group, base, factor in zip(
            self.optimiser.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(steps)
        self.history = history


def _batches(
    texts: NDArray[np.int64], cache: HiddenStateCache, config: TrainingConfig, epoch: int | None, view: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cache rows of views and of queries.

    In epoch e text t shows view (t + e) mod V, in an order of its own; epoch None gives view `view` of each.
    """
    per_text = rows_a_text(config.views, config.vectors)
    order = np.arange(len(texts))
    if epoch is not None:
        rng = np.random.default_rng([config.seed, 2, epoch])
        order = rng.permutation(len(texts))
    chosen = texts[order]
    rows = chosen * per_text + ((chosen + epoch) % config.views if epoch is not None else view)
    lengths = np.diff(cache.ends)
    batches = []
    for start in range(0, len(rows), _POOL * config.batch_texts):
        pool = rows[start : start + _POOL * config.batch_texts]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + config.batch_texts] for i in range(0, len(pool), config.batch_texts)]
    if epoch is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    for batch in batches:
        yield batch, batch // per_text * per_text + config.views


def gather(cache: HiddenStateCache, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of the cache as a padded batch: states (B, L, S·D), mask (B, L), labels (B, L), token ids (B, L)."""
    labels = torch.from_numpy(cache.padded("label", rows, SPECIAL)[..., 0])
    ids = torch.from_numpy(cache.padded("id", rows)[..., 0]).long()
    return from_stored(cache.padded("states", rows)), torch.from_numpy(cache.mask(rows)), labels, ids
