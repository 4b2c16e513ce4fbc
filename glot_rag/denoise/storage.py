"""A head's folder with what `fit` needs and makes, and with the block head that goes with it.

`noise_classifier.safetensors`, `corpus_statistics.safetensors` and the folder `blocks`, whichever of them there are.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from glot_rag.denoise.classifier import CLASSIFIER_FILE, FittedClassifier, NoiseClassifier
from glot_rag.denoise.corpus_statistics import STATISTICS_FILE, CorpusStatistics
from glot_rag.errors import BundleError
from glot_rag.files import read_json_record
from glot_rag.head import AdaPool, GlotHead, load_head, save_head
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.block_storage import save_block_head
from glot_rag.head.registry import BLOCKS
from glot_rag.head.storage import FORMAT, FORMAT_VERSION


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
    block_head: BlockGraphHead | None = None,
) -> None:
    """Write a head with its noise classifier, its block head and, if it is fitted, its corpus statistics."""
    directory = Path(path)
    shutil.rmtree(directory / BLOCKS, ignore_errors=True)
    for name in (CLASSIFIER_FILE, STATISTICS_FILE):  # of another head that lay here
        (directory / name).unlink(missing_ok=True)
    if classifier is not None and head.adjustment is None:
        directory.mkdir(parents=True, exist_ok=True)
        classifier.save(directory)
    if block_head is not None:
        save_block_head(block_head, directory / BLOCKS, details)
    save_head(head, directory, details)
