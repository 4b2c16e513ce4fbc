"""Documents with known noise -> a trained, calibrated block head, and what it does to documents that it never saw."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.block_noise import SKIM
from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.denoise.recurrence import FEWEST, recurrence_features
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import TrainingError
from glot_rag.evaluation.block_measures import clean_loss, kept_f1
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.block_storage import load_block_head, save_block_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import Column, HiddenStateCache
from glot_rag.progress import bar
from glot_rag.training.block_mixing import PageMixer
from glot_rag.training.block_noise import (
    BlockDocument,
    BlockTraining,
    batches,
    block_means,
    calibrate,
    collate,
    prepare,
    train_blocks,
)
from glot_rag.training.documents import NoisyDocument

logger = logging.getLogger(__name__)

FEWEST_DOCUMENTS = 20
MEANS_EPOCHS, EPOCHS = 9, 1  # over block means, then over all tokens
MEANS_TOKENS = 512  # blocks a step, one token each
HELD_OUT = 5  # of so many groups one is held out
_READ = 32  # documents whose states are computed at a time
_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(8))
_MOST_LOST = 0.01  # of the words of clean documents


@dataclass(frozen=True)
class BlockReport:
    """What a block head does to documents of groups that it was neither trained nor calibrated on.

    Attributes:
        trained: documents that it learned from.
        noisy: documents with noise that were measured.
        clean: documents without noise that were measured.
        everything: mean F1 of the words kept if all are kept, over the noisy ones.
        kept: the same of what the head keeps.
        lost: the share of the clean ones' words that the head drops.
        threshold: blocks with a lower noise probability are never dropped.
    """

    trained: int
    noisy: int
    clean: int
    everything: float
    kept: float
    lost: float
    threshold: float


def split(documents: Sequence[NoisyDocument]) -> tuple[list[int], list[int], list[int]]:
    """Rows to train on, to calibrate on and to measure on: eight, one and one of ten groups.

    Groups are whole, so that no site is on two sides. Where there are fewer than 20 of them, documents are drawn.
    """
    groups = {each.group for each in documents}
    names = [each.group if len(groups) >= 2 * HELD_OUT * 2 else each.text for each in documents]
    places = [zlib.crc32(name.encode()) % (2 * HELD_OUT) for name in names]
    parts = [[row for row, place in enumerate(places) if place in wanted] for wanted in (range(2, 10), (0,), (1,))]
    return parts[0], parts[1], parts[2]


def train_block_head(
    documents: Sequence[NoisyDocument],
    backbone: Backbone,
    out: Path,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> BlockReport:
    """Train a block head over an early layer of a backbone, calibrate it, and save it with its report.

    The hidden states are computed once, of as many tokens of a block as a denoiser reads, into `out`/cache; a run that
    was stopped goes on there. The head first learns from one token a block, the mean of its tokens, then from all.

    Args:
        documents: with and without noise, of many groups.
        backbone: the frozen transformer.
        out: gets `config.json` and `head.safetensors`.
        seed: of every random choice.
        show_progress: draw progress bars on stderr.

    Raises:
        TrainingError: fewer than 20 documents with noise, or none held out has any.
    """
    noisy = sum(bool(each.noise) for each in documents)
    if noisy < FEWEST_DOCUMENTS:
        raise TrainingError(
            f"the block head learns from documents whose noise is known: expected at least {FEWEST_DOCUMENTS}, got "
            f'{noisy}: give web pages, or JSON Lines with "noise" or "gold"'
        )
    config = BlockGraphConfig(state_size=backbone.state_size, dropout=0.3)
    data = _fingerprint(documents, backbone, config.layer)
    details = {
        "backbone": backbone.source.name,
        "backbone_fingerprint": backbone.fingerprint,
        "epochs": [MEANS_EPOCHS, EPOCHS],
        "seed": seed,
        "data": data,
    }
    if (out / "config.json").is_file():
        _, found_details = load_block_head(out)
        if all(found_details.get(name) == value for name, value in details.items()):
            logger.info("%s is trained already", out)
            return BlockReport(**found_details["held_out"])
    ready = _prepared(documents, _cached(documents, backbone, config.layer, data, out / "cache", show_progress))
    parts = [[row for row in part if len(ready[row].block)] for part in split(documents)]
    learned, fitted, measured = ([ready[row] for row in part] for part in parts)
    if not any(documents[row].noise for row in parts[1]) or not any(documents[row].noise for row in parts[2]):
        raise TrainingError(
            f"none of the documents held out has noise: expected more than {noisy} documents with noise, of several "
            "groups (sites, folders)"
        )
    head = _trained(config, learned, [bool(documents[row].noise) for row in parts[0]], seed, show_progress)
    found = [_predict(head, part) for part in (fitted, measured)]
    of_noisy = [row for row, each in enumerate(fitted) if each.noise.any()]
    scale, shift = calibrate(
        head,
        np.concatenate([found[0][row] for row in of_noisy]),
        np.concatenate([fitted[row].noise for row in of_noisy]),
        np.concatenate([fitted[row].words for row in of_noisy]),
    )
    found = [_predict(head, part) for part in (fitted, measured)]
    logger.info("calibrated: logits scaled by %.3f, shifted by %.3f", scale, shift)
    lost = {least: _measure(fitted, found[0], least, len(learned)).lost for least in _THRESHOLDS}
    threshold = next((least for least, share in lost.items() if share <= _MOST_LOST), _THRESHOLDS[-1])
    report = _measure(measured, found[1], threshold, len(learned))
    head.config = replace(config, noise_threshold=threshold)
    save_block_head(head, out, {**details, "held_out": asdict(report)})
    return report


def _fingerprint(documents: Sequence[NoisyDocument], backbone: Backbone, layer: int) -> dict[str, Any]:
    """What decides the head, settings aside."""
    digest = hashlib.sha256()
    for each in documents:
        digest.update(json.dumps([each.text, each.noise, each.group]).encode())
    return {"backbone": backbone.fingerprint, "layer": layer, "skim": SKIM, "documents": digest.hexdigest()}


def _cached(
    documents: Sequence[NoisyDocument],
    backbone: Backbone,
    layer: int,
    data: dict[str, Any],
    folder: Path,
    show_progress: bool,
) -> HiddenStateCache:
    """The states and places of the tokens of every document, computed where the cache lacks them."""
    columns = {"states": Column("float16", backbone.state_size, True), "spans": Column("int32", 2, True)}
    cache = HiddenStateCache(folder, data, columns, len(documents))
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("hidden states of documents", total=cache.rows, completed=cache.done)
        while not cache.complete:
            texts = [each.text for each in documents[cache.done : cache.done + _READ]]
            found = early_states(backbone, texts, layer, skim=SKIM)
            arrays: dict[str, NDArray[Any]] = {
                "states": np.concatenate([each.states for each in found]).astype(np.float16),
                "spans": np.concatenate([each.spans for each in found]).astype(np.int32),
            }
            cache.append(np.array([len(each.spans) for each in found], np.int32), arrays)
            progress.advance(task, len(texts))
    cache.close()
    return cache


def _prepared(documents: Sequence[NoisyDocument], cache: HiddenStateCache) -> list[BlockDocument]:
    """The documents as the head takes them, with what recurs among those of a group."""
    states, spans, ends = cache.column("states"), np.array(cache.column("spans"), np.int64), cache.ends
    members = Counter(each.group for each in documents)
    grouped = [row for row, each in enumerate(documents) if members[each.group] >= FEWEST]
    texts = [documents[row].text for row in grouped]
    counts = recurrence_features(texts, [split_blocks(t) for t in texts], [documents[row].group for row in grouped])
    by_row = dict(zip(grouped, counts, strict=True))

    def reader(row: int) -> Callable[[int, int], NDArray[np.float32]]:
        first = int(ends[row])
        return lambda start, end: np.asarray(states[first + start : first + end], np.float32)

    return [
        prepare(each.text, each.noise, spans[ends[row] : ends[row + 1]], reader(row), by_row.get(row))
        for row, each in enumerate(documents)
    ]


def _trained(
    config: BlockGraphConfig, documents: Sequence[BlockDocument], noisy: Sequence[bool], seed: int, show_progress: bool
) -> BlockGraphHead:
    """A head that has learned from block means, then from all tokens."""
    with bar(disable=not show_progress) as progress:
        task = progress.add_task("training the block head", total=MEANS_EPOCHS + EPOCHS)

        def view(ready: Sequence[BlockDocument]) -> PageMixer:
            return PageMixer([each for each, is_noisy in zip(ready, noisy, strict=True) if is_noisy])

        def advance(epoch: int, head: BlockGraphHead) -> None:
            progress.advance(task)

        means = [block_means(each) for each in documents]
        settings = BlockTraining(MEANS_EPOCHS, batch_tokens=MEANS_TOKENS, seed=seed)
        head = train_blocks(config, means, settings, advance, view=view(means))
        settings = BlockTraining(EPOCHS, settings.learning_rate / 4, seed=seed)
        return train_blocks(config, documents, settings, advance, head, view=view(documents))


@torch.inference_mode()
def _predict(head: BlockGraphHead, documents: Sequence[BlockDocument]) -> list[NDArray[np.float32]]:
    """Noise probabilities of the blocks of each document, which is not counted in a corpus."""
    found: dict[int, NDArray[np.float32]] = {}
    for group in batches(documents, None, 8192):
        batch = collate(group)
        logits = head(batch.states, batch.block, batch.mask, batch.layout).blocks
        for each, row in zip(group, torch.sigmoid(logits).numpy(), strict=True):
            found[id(each)] = row[: len(each.words)]
    return [found[id(each)] for each in documents]


def _measure(
    documents: Sequence[BlockDocument], found: Sequence[NDArray[np.float32]], least: float, trained: int
) -> BlockReport:
    """What is kept at each document's own threshold, but none below `least`."""
    everything, kept, lost = [], [], [(0.0, 1e-9)]
    for each, noise in zip(documents, found, strict=True):
        stays = noise <= max(least, best_threshold(noise, each.words))
        if each.noise.any():
            everything.append(kept_f1(each.words, each.noise, np.ones_like(stays)))
            kept.append(kept_f1(each.words, each.noise, stays))
        else:
            lost.append(clean_loss(each.words, stays))
    dropped, words = (sum(column) for column in zip(*lost, strict=True))
    of_everything, of_kept = (float(np.mean(values)) if values else 0.0 for values in (everything, kept))
    return BlockReport(trained, len(kept), len(lost) - 1, of_everything, of_kept, dropped / words, least)
