"""Train the block graph head that finds noise in documents.

    python benchmarks/gather_blocks.py --pages pages.jsonl.gz --texts DIR --packages DIR --out documents.jsonl.gz
    python benchmarks/train_blocks.py --documents documents.jsonl.gz --cache DIR --out glot_rag/pretrained/minilm-blocks

Learns from the train part of the documents and chooses the threshold on the validation part; the report part is not
looked at. The states of any --backbone are computed once a file of documents, into --cache (2 bytes a dimension and
token), and read from there by further runs. The head first sees one token a block, the mean of its tokens, for
--means-epochs, which is many times as fast, then all tokens for --epochs. For an ablation, leave parts out with
--without.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import logging
import zlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.denoise.recurrence import RECURRENCE_FEATURES, recurrence_features
from glot_rag.documents.blocks import split_blocks
from glot_rag.documents.layout import LAYOUT_FEATURES
from glot_rag.evaluation.block_measures import WEB, calibration_error, clean_loss, kept_f1
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.block_storage import load_block_head, save_block_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import Column, HiddenStateCache
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

logger = logging.getLogger("train_blocks")
PARTS = ("states", "layout", "tokens", "blocks", "counts")
THRESHOLDS = [round(0.5 + 0.05 * i, 2) for i in range(8)]
MOST_LOST, MOST_LOST_OF_A_KIND = 0.01, 0.03  # of the words of clean documents
# Of the documents that are no pages, an epoch shows a share: there are eight times as many of them.
OTHERS = 0.33
MEANS_TOKENS = 512  # blocks a step, one token each


def states_of(
    documents: list[dict[str, Any]], folder: Path, layer: int, backbone: Backbone, skim: int | None = None
) -> HiddenStateCache:
    """Every document's token states and their places, computed where the cache lacks them.

    With `skim` only so many tokens of each block are read, its first, as a denoiser does: 60% of all.
    """
    columns = {"states": Column("float16", backbone.state_size, True), "spans": Column("int32", 2, True)}
    mark = {
        "backbone": backbone.fingerprint,
        "layer": layer,
        **({} if skim is None else {"skim": skim}),
        "documents": len(documents),
        "characters": sum(len(each["text"]) for each in documents),
    }
    cache = HiddenStateCache(folder, mark, columns, len(documents))
    while not cache.complete:
        texts = [each["text"] for each in documents[cache.done : cache.done + 40]]
        found = early_states(backbone, texts, layer, skim=skim)
        arrays: dict[str, NDArray[Any]] = {
            "states": np.concatenate([each.states for each in found]).astype(np.float16),
            "spans": np.concatenate([each.spans for each in found]).astype(np.int32),
        }
        cache.append(np.array([len(each.spans) for each in found], np.int32), arrays)
        logger.info("states of %d of %d documents", cache.done, len(documents))
    cache.close()
    return cache


def read(path: Path) -> list[dict[str, Any]]:
    """The documents to train and to choose on."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [each for each in map(json.loads, file) if each["part"] != "report"]


def prepared(documents: list[dict[str, Any]], cache: HiddenStateCache) -> list[BlockDocument]:
    """The documents as the head takes them."""
    states, spans, ends = cache.column("states"), np.array(cache.column("spans"), np.int64), cache.ends

    def reader(row: int) -> Any:
        first = int(ends[row])
        return lambda start, end: np.asarray(states[first + start : first + end], np.float32)

    counts: list[NDArray[np.float32] | None] = [None] * len(documents)
    grouped = [i for i, each in enumerate(documents) if each["kind"] == "site"]
    texts = [documents[i]["text"] for i in grouped]
    found = recurrence_features(texts, [split_blocks(t) for t in texts], [documents[i]["group"] for i in grouped])
    for i, each in zip(grouped, found, strict=True):
        counts[i] = each
    return [
        prepare(each["text"], each["noise"], spans[ends[row] : ends[row + 1]], reader(row), counts[row])
        for row, each in enumerate(documents)
    ]


def read_prepared(
    paths: list[Path], cache: Path, backbone: Backbone, skim: int | None = None
) -> tuple[list[dict[str, Any]], list[BlockDocument]]:
    """The documents of some files, as they were gathered and as the head takes them."""
    records: list[dict[str, Any]] = []
    documents: list[BlockDocument] = []
    for path in paths:
        found = read(path)
        states = states_of(found, cache / path.name.partition(".")[0], BlockGraphConfig.layer, backbone, skim)
        records += found
        documents += prepared(found, states)
    return records, documents


@torch.inference_mode()
def predict(head: BlockGraphHead, documents: list[BlockDocument]) -> list[NDArray[np.float32]]:
    """Noise probabilities of each document's blocks."""
    found: dict[int, NDArray[np.float32]] = {}
    for group in batches(documents, None, 8192):
        batch = collate(group)
        logits = head(batch.states, batch.block, batch.mask, batch.layout, batch.counts).blocks
        for each, row in zip(group, torch.sigmoid(logits).numpy(), strict=True):
            found[id(each)] = row[: len(each.words)]
    return [found[id(each)] for each in documents]


def summary(
    documents: list[BlockDocument], records: list[dict[str, Any]], found: list[NDArray[np.float32]], least: float
) -> dict[str, Any]:
    """F1 by kind, and the share of their words that clean documents lose: blocks are kept or dropped whole.

    A document's threshold is its own (`best_threshold`), but not below `least`.
    """
    f1: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, list[tuple[float, float]]] = defaultdict(list, all=[(0.0, 1e-9)])  # there may be no clean ones
    for each, record, noise in zip(documents, records, found, strict=True):
        kind, kept = record["kind"].removesuffix("~"), noise <= max(least, best_threshold(noise, each.words))
        if kind.startswith("clean-"):
            lost[kind].append(clean_loss(each.words, kept))
            lost["all"].append(lost[kind][-1])
        else:
            f1[kind].append(kept_f1(each.words, each.noise, kept))
            if record["kind"] in WEB:
                f1["pages"].append(f1[kind][-1])
                if record["source"].startswith("page:sh-"):
                    f1["news"].append(f1[kind][-1])
    return {
        "threshold": least,
        "f1": {kind: round(float(np.mean(values)), 4) for kind, values in sorted(f1.items())},
        "lost": {k: round(sum(a for a, _ in v) / sum(b for _, b in v), 4) for k, v in sorted(lost.items())},
    }


def recalibrated(probability: NDArray[np.float32], scale: float, shift: float) -> NDArray[np.float32]:
    clipped = probability.clip(1e-6, 1 - 1e-6)
    changed: NDArray[np.float32] = 1 / (1 + np.exp(-(scale * np.log(clipped / (1 - clipped)) + shift)))
    return changed


def calibrated(head: BlockGraphHead, documents: list[BlockDocument], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Calibrate the head on the validation pages, and measure it on all validation documents.

    The calibration error is that of pages whose hosts a calibration has not seen: one on each half of the hosts,
    measured on the other. The head gets the one on all of them. The least threshold is the lowest at which clean
    documents lose at most `MOST_LOST` of their words, all together, and each kind at most `MOST_LOST_OF_A_KIND`.
    """
    before = predict(head, documents)
    noise, words = [each.noise for each in documents], [each.words for each in documents]
    pages = [i for i, record in enumerate(records) if record["kind"] in WEB]
    halves = [[i for i in pages if zlib.crc32(records[i]["group"].encode()) // 5 % 2 == half] for half in (0, 1)]

    def of(rows: list[int], values: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([values[row] for row in rows])

    unseen = list(before)
    for fitted, other in (halves, halves[::-1]):
        values = calibrate(copy.deepcopy(head), of(fitted, before), of(fitted, noise), of(fitted, words))
        for row in other:
            unseen[row] = recalibrated(before[row], *values)
    errors = [
        round(calibration_error(of(pages, each), of(pages, noise), of(pages, words)), 4) for each in (before, unseen)
    ]
    scale, shift = calibrate(head, of(pages, before), of(pages, noise), of(pages, words))
    found = [recalibrated(each, scale, shift) for each in before]
    tried = [summary(documents, records, found, least) for least in THRESHOLDS]
    for each in tried:
        logger.info(
            "least threshold %.2f: pages %.4f, clean lost %.4f, of a kind at most %.4f",
            each["threshold"], each["f1"]["pages"], each["lost"]["all"], max(each["lost"].values()),
        )  # fmt: skip
    allowed = [
        each for each in tried if each["lost"]["all"] <= MOST_LOST and max(each["lost"].values()) <= MOST_LOST_OF_A_KIND
    ]
    best = (allowed or tried[-1:])[0]
    return {**best, "calibration_error": errors, "scale": round(scale, 4), "shift": round(shift, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, nargs="+", required=True, help="what gather_blocks.py wrote")
    parser.add_argument("--backbone", default="minilm", help="a short name, a hub id or a folder")
    parser.add_argument("--cache", type=Path, required=True, help="folder of hidden states")
    parser.add_argument("--skim", type=int, help="read so many tokens of each block (the denoiser: 12); default: all")
    parser.add_argument("--out", type=Path, help="where the head goes")
    parser.add_argument("--start", type=Path, help="a head to go on from")
    parser.add_argument("--without", default="", help=f"comma-separated parts to leave out: {', '.join(PARTS)}")
    parser.add_argument("--pages-only", action="store_true", help="train on web pages alone")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--means-epochs", type=int, default=8, help="epochs before those, with one token a block")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    without = set(filter(None, options.without.split(",")))
    backbone = Backbone.load(options.backbone)
    records, documents = read_prepared(options.documents, options.cache, backbone, options.skim)
    config = BlockGraphConfig(
        state_size=0 if "states" in without else backbone.state_size,
        layout_size=0 if "layout" in without else len(LAYOUT_FEATURES),
        count_size=0 if "counts" in without else len(RECURRENCE_FEATURES),
        token_layers=0 if "tokens" in without else 1,
        block_graph="blocks" not in without,
        hidden_size=options.hidden_size,
        dropout=options.dropout,
    )
    train = [i for i, r in enumerate(records) if r["part"] == "train" and (not options.pages_only or r["kind"] in WEB)]
    chosen = [i for i, r in enumerate(records) if r["part"] == "validation"]
    train, chosen = ([i for i in rows if len(documents[i].block)] for rows in (train, chosen))
    logger.info("%d documents to learn from, %d to choose on, %s", len(train), len(chosen), config)

    def mixer(ready: list[BlockDocument]) -> PageMixer:
        return PageMixer([each for each, row in zip(ready, train, strict=True) if records[row]["kind"] in WEB])

    chances = [1.0 if records[i]["kind"] in WEB else OTHERS for i in train]
    head = load_block_head(options.start)[0] if options.start else None
    if options.means_epochs:
        settings = BlockTraining(
            options.means_epochs, options.learning_rate, batch_tokens=MEANS_TOKENS, seed=options.seed
        )
        means, held = ([block_means(documents[i]) for i in rows] for rows in (train, chosen))

        def log(epoch: int, average: BlockGraphHead) -> None:
            if epoch % 3 == 2:
                found = summary(held, [records[i] for i in chosen], predict(average, held), 0.5)
                logger.info("%s, clean lost %.4f", json.dumps(found["f1"]), found["lost"]["all"])

        head = train_blocks(config, means, settings, log, head, chances, mixer(means))
    if options.epochs:
        rate = options.learning_rate / 4 if head is not None else options.learning_rate
        settings = BlockTraining(options.epochs, rate, seed=options.seed)
        whole = [documents[i] for i in train]
        head = train_blocks(config, whole, settings, start=head, chances=chances, view=mixer(whole))
    if head is None:
        parser.error("--epochs and --means-epochs are both 0: nothing to train")
    best = calibrated(head, [documents[i] for i in chosen], [records[i] for i in chosen])
    logger.info("%d parameters; %s", sum(p.numel() for p in head.parameters()), json.dumps(best))
    if options.out:
        head.config = replace(config, noise_threshold=best["threshold"])
        details = {
            "backbone": options.backbone,
            "backbone_fingerprint": backbone.fingerprint,
            "epochs": [options.means_epochs, options.epochs],
            "seed": options.seed,
            "validation": best,
        }
        save_block_head(head, options.out, details)


if __name__ == "__main__":
    main()
