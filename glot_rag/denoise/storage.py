"""A head's folder with what `fit` needs and makes, and a saved denoiser.

A head's folder: `noise_classifier.safetensors` and `corpus_statistics.safetensors` lie beside the head, whichever of
them there are. A denoiser's directory: `denoiser.json`, and of `words/` (a head's folder), `blocks/` (the block head)
and `recurrence.safetensors` what it has.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glot_rag.denoise.classifier import CLASSIFIER_FILE, FittedClassifier, NoiseClassifier
from glot_rag.denoise.corpus_statistics import STATISTICS_FILE, CorpusStatistics
from glot_rag.denoise.recurrence import RECURRENCE_FILE, Recurrence
from glot_rag.errors import BundleError, InputError
from glot_rag.files import read_json_record, write_atomically
from glot_rag.head import AdaPool, GlotHead, load_head, save_head
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.block_storage import load_block_head, save_block_head
from glot_rag.head.storage import FORMAT, FORMAT_VERSION

if TYPE_CHECKING:
    from glot_rag.denoise.torch_denoiser import TorchDenoiser

RECORD = "denoiser.json"
WORDS, BLOCKS = "words", "blocks"  # folders
DENOISER_FORMAT, DENOISER_FORMAT_VERSION = "glot-rag/denoiser", 1


class FittedHead(NamedTuple):
    """What a head's folder holds.

    Attributes:
        head: with its score adjustment, if it was fitted to a corpus.
        classifier: None for a head that cannot be fitted.
        details: what the head was saved with.
    """

    head: GlotHead | AdaPool
    classifier: NoiseClassifier | None
    details: dict[str, Any]


def load_fitted_head(path: str | os.PathLike[str]) -> FittedHead:
    """Read a head, its noise classifier and its corpus statistics, whichever of them there are.

    Raises:
        BundleError: a file is damaged, or is not the one that was saved with the head.
    """
    directory = Path(path)
    head, details = load_head(directory)
    checksum = read_json_record(directory / "config.json", FORMAT, FORMAT_VERSION).get("adjustment")
    classifier = NoiseClassifier.load(directory)
    if checksum is not None:
        if classifier is None:
            raise BundleError(f"{directory} holds a fitted head without its noise classifier: fit and save it again")
        fitted = FittedClassifier(classifier, CorpusStatistics.load(directory / STATISTICS_FILE))
        if fitted.checksum != checksum:
            raise BundleError(
                f"{directory} holds corpus statistics or a noise classifier that were not saved with its head: fit "
                "and save it again"
            )
        head = head.with_adjustment(fitted)
    return FittedHead(head, classifier, details)


def save_fitted_head(
    head: GlotHead | AdaPool,
    classifier: NoiseClassifier | None,
    path: str | os.PathLike[str],
    details: dict[str, Any] | None = None,
) -> None:
    """Write a head with its noise classifier and, if it is fitted, its corpus statistics."""
    directory = Path(path)
    for name in (CLASSIFIER_FILE, STATISTICS_FILE):  # of another head that lay here
        (directory / name).unlink(missing_ok=True)
    if classifier is not None and head.adjustment is None:
        directory.mkdir(parents=True, exist_ok=True)
        classifier.save(directory)
    save_head(head, directory, details)


class SavedDenoiser(NamedTuple):
    """What a denoiser's directory holds."""

    backbone: str
    backbone_fingerprint: str
    max_tokens: int
    head: GlotHead | AdaPool | None
    classifier: NoiseClassifier | None
    block_head: BlockGraphHead | None
    threshold: float | None
    recurrence: Recurrence | None


def is_saved_denoiser(path: str | os.PathLike[str]) -> bool:
    """Whether `save_denoiser` wrote a directory."""
    return (Path(path) / RECORD).is_file()


def save_denoiser(denoiser: TorchDenoiser, path: str | os.PathLike[str]) -> None:
    """Write a denoiser into a directory: `Denoiser.save`.

    Raises:
        InputError: the directory holds something else.
    """
    directory = Path(path)
    if directory.exists() and not is_saved_denoiser(directory) and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty and not a saved denoiser: choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD).unlink(missing_ok=True)
    (directory / RECURRENCE_FILE).unlink(missing_ok=True)
    for folder in (WORDS, BLOCKS):
        shutil.rmtree(directory / folder, ignore_errors=True)
    recurrence = denoiser.recurrence
    if denoiser.head is not None:
        save_fitted_head(denoiser.head, denoiser.classifier, directory / WORDS)
    if denoiser.block_head is not None:
        save_block_head(denoiser.block_head, directory / BLOCKS)
    if recurrence is not None:
        recurrence.save(directory / RECURRENCE_FILE)
    record = {
        "format": DENOISER_FORMAT,
        "format_version": DENOISER_FORMAT_VERSION,
        "backbone": denoiser.backbone.source.name,
        "backbone_fingerprint": denoiser.backbone.fingerprint,
        "max_tokens": denoiser.backbone.max_tokens,
        "words": denoiser.head is not None,
        "blocks": denoiser.block_head is not None,
        "threshold": denoiser.threshold,
        "recurrence": None if recurrence is None else recurrence.fingerprint,
    }
    # The record comes last: without it there is no denoiser.
    write_atomically(directory / RECORD, json.dumps(record, indent=2).encode() + b"\n")


def load_saved(path: str | os.PathLike[str]) -> SavedDenoiser:
    """Read what `save_denoiser` wrote.

    Raises:
        BundleError: a file is missing or damaged, or is not the one that was saved with the others.
    """
    directory = Path(path)
    record = read_json_record(directory / RECORD, DENOISER_FORMAT, DENOISER_FORMAT_VERSION)
    kinds = {"backbone": str, "backbone_fingerprint": str, "max_tokens": int, "words": bool, "blocks": bool}
    wrong = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    threshold = record.get("threshold")
    if threshold is not None and not (isinstance(threshold, float) and 0 < threshold < 1):
        wrong.append("threshold")
    if not wrong and not (record["words"] or record["blocks"]):
        wrong.append("words or blocks")
    if wrong:
        raise BundleError(f"{directory / RECORD} lacks {', '.join(wrong)}, or holds no such thing there: save it again")
    head, classifier, _ = load_fitted_head(directory / WORDS) if record["words"] else (None, None, {})
    recurrence = None
    if record.get("recurrence") is not None:
        recurrence = Recurrence.load(directory / RECURRENCE_FILE)
        if recurrence.fingerprint != record["recurrence"]:
            raise BundleError(
                f"{directory / RECURRENCE_FILE} was not saved with {RECORD} beside it: fit the denoiser again, save it"
            )
    return SavedDenoiser(
        backbone=record["backbone"],
        backbone_fingerprint=record["backbone_fingerprint"],
        max_tokens=record["max_tokens"],
        head=head,
        classifier=classifier,
        block_head=load_block_head(directory / BLOCKS)[0] if record["blocks"] else None,
        threshold=threshold,
        recurrence=recurrence,
    )
