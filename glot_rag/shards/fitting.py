"""`Denoiser.fit` over shards of documents: each is counted by a worker, and the counts are merged.

The result equals that of `fit` over all documents in one process, in the order of the shards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS, MOST_COUNTED
from glot_rag.denoise.recurrence import Recurrence
from glot_rag.documents.groups import groups_of
from glot_rag.errors import UnsupportedError
from glot_rag.models.tokenizer import sample_positions
from glot_rag.shards.embedding import load_denoiser
from glot_rag.shards.engine import Engine, Item
from glot_rag.shards.format import DOCUMENTS, ShardRecord, read_documents_of

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.denoise.torch_denoiser import TorchDenoiser

COUNTS = "counts"  # the folder of counts that wait to be merged
logger = logging.getLogger(__name__)


def fit_over(folder: Path, shards: Sequence[ShardRecord], denoiser: str, engine: Engine) -> Denoiser:
    """Fit a denoiser to all documents of a run; unchanged where they are fewer than 50, or it cannot be fitted.

    Args:
        folder: the run's directory.
        shards: of documents.
        denoiser: a name or directory that `Denoiser.from_pretrained` takes.
        engine: runs the counting.
    """
    loaded = load_denoiser(denoiser)
    documents = sum(shard.rows for shard in shards)
    if documents < FEWEST_DOCUMENTS or not loaded.can_be_fitted:
        logger.info("the denoiser is not fitted: %d documents, %r", documents, loaded)
        return loaded
    (folder / COUNTS).mkdir(exist_ok=True)
    items = [{"name": shard.name, "rows": shard.rows, "sha256": shard.sha256} for shard in shards]
    settings = {"folder": str(folder), "denoiser": denoiser}
    counted = {each["name"]: each for each in engine.map(CountShard, settings, items)}
    names = [shard.name for shard in shards]
    paths = [_counts_path(folder, name) for name in names]
    merged = merge_all(Recurrence.load(path, pruned=False) for path in paths if path.exists())
    texts, groups = _flat_texts(folder, shards, loaded, [counted[name]["flat"] for name in names])
    grouped = any(each["grouped"] for each in counted.values())
    lined = documents - sum(each["flat"] for each in counted.values())
    fitted = _fitting(loaded).fit_counted(merged, lined, texts, groups if grouped else None)
    for path in paths:
        path.unlink(missing_ok=True)
    (folder / COUNTS).rmdir()
    return fitted


class CountShard:
    """A worker: counts what recurs in a shard of documents.

    Args:
        folder: the run's directory.
        denoiser: that counts.
    """

    def __init__(self, folder: str, denoiser: str) -> None:
        self._folder = Path(folder)
        self._denoiser = _fitting(load_denoiser(denoiser))

    def __call__(self, item: Item) -> dict[str, Any]:
        """Count a shard.

        Args:
            item: `name`, `rows` and `sha256` of a shard of documents.
        """
        shard = ShardRecord(item["name"], DOCUMENTS, item["rows"], item["sha256"])
        documents = [document for _, document in read_documents_of(self._folder, shard)]
        texts = [document.text for document in documents]
        groups = groups_of([document.metadata for document in documents])
        counts = self._denoiser.count(texts, groups)
        if counts is not None:
            counts.save(_counts_path(self._folder, shard.name))
        return {"name": shard.name, "flat": len(self._denoiser.flat(texts)), "grouped": groups is not None}


def merge_all(parts: Iterable[Recurrence]) -> Recurrence | None:
    """The counts of all parts together; None of none.

    As in a binary counter: parts of about one size are merged, so each is moved few times.
    """
    waiting: list[tuple[int, Recurrence]] = []  # (parts that are in it, their counts)
    for part in parts:
        size = 1
        while waiting and waiting[-1][0] <= size:
            more, other = waiting.pop()
            size, part = size + more, other.merge(part)
        waiting.append((size, part))
    while len(waiting) > 1:
        (size, part), (more, other) = waiting.pop(), waiting.pop()
        waiting.append((size + more, other.merge(part)))
    return waiting[0][1] if waiting else None


def _flat_texts(
    folder: Path, shards: Sequence[ShardRecord], denoiser: Denoiser, counts: Sequence[int]
) -> tuple[list[str], list[str]]:
    """The texts without lines that the word head is fitted to, and their groups: those that `fit` would take."""
    chosen = sample_positions(sum(counts), MOST_COUNTED)
    texts: list[str] = []
    groups: list[str] = []
    first = 0
    for shard, count in zip(shards, counts, strict=True):
        wanted = [position - first for position in chosen if first <= position < first + count]
        first += count
        if wanted:
            found = list(_flat(folder, shard, denoiser))
            texts += [found[position][0] for position in wanted]
            groups += [found[position][1] for position in wanted]
    return texts, groups


def _flat(folder: Path, shard: ShardRecord, denoiser: Denoiser) -> Iterator[tuple[str, str]]:
    documents = [document for _, document in read_documents_of(folder, shard)]
    texts = [document.text for document in documents]
    groups = groups_of([document.metadata for document in documents]) or [""] * len(texts)
    for position in _fitting(denoiser).flat(texts):
        yield texts[position], groups[position]


def _fitting(denoiser: Denoiser) -> TorchDenoiser:
    from glot_rag.denoise.torch_denoiser import TorchDenoiser  # here, as embedding without fitting needs no torch

    if not isinstance(denoiser, TorchDenoiser):
        raise UnsupportedError(f"{denoiser!r} cannot be fitted: use one that runs torch")
    return denoiser


def _counts_path(folder: Path, name: str) -> Path:
    return folder / COUNTS / f"{name}.safetensors"
