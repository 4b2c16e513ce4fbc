"""What an exported encoder that is adapted to a collection needs beside its graph: each token's numbers. No torch.

The counts are searched by runs of three tokens, which a graph of standard operators is not good at; so they stay
outside of it, and their numbers go in with the ids. The network that weighs them is in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from glot_rag.denoise.corpus_statistics import FEATURES, STATISTICS_FILE, CorpusStatistics
from glot_rag.errors import BundleError

INPUT = "corpus_features"  # of the graph: (batch, seq, F)
# In a bundle; the folder is the adapted head as `glot_rag.head.save_head` writes it.
FILES = (f"head/{STATISTICS_FILE}", "head/calibration.safetensors")


class CorpusFeatures:
    """Token ids -> the collection's numbers of every token.

    Args:
        directory: the bundle's.
        record: what the bundle says of itself; names the files, whose checksums have been compared, and the numbers.

    Raises:
        BundleError: a file is not named, damaged or does not fit the other, or the graph takes other numbers.
    """

    def __init__(self, directory: Path, record: Mapping[str, Any]) -> None:
        if missing := [name for name in FILES if name not in record["sha256"]]:
            raise BundleError(f"the record of {directory} lacks {', '.join(missing)}: export the encoder again")
        if record.get(INPUT) != list(FEATURES):
            raise BundleError(
                f"{directory} takes {record.get(INPUT)} from its collection, this glot-rag computes {list(FEATURES)}: "
                "adapt and export the encoder again"
            )
        counts, calibration = (directory / name for name in FILES)
        self._statistics = CorpusStatistics.load(counts)
        try:
            self._background = load(calibration.read_bytes())["background"].astype(np.float32)
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"{calibration} is not a calibration ({error}): export the encoder again") from error
        expected, found = len(self._statistics.occurrences), self._background.shape
        if found != (expected,):
            raise BundleError(f"{calibration} is for {found} tokens, {counts} for {expected}: export the encoder again")

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, L) -> (B, L, F)."""
        return self._statistics.features(ids, self._background)

    @staticmethod
    def none(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """What to feed where nothing reads them: (B, L) -> (B, L, F)."""
        return np.zeros((*ids.shape, len(FEATURES)), np.float32)
