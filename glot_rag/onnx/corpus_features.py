"""The corpus features that a fitted encoder's exported graph takes beside the token ids. No torch.

Corpus statistics are searched by runs of three tokens, which a graph of standard operators is not good at. So they stay
outside of the graph, and the features of every token go in with the ids. The network that weighs them is in the graph.
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
# In a bundle; the folder is the fitted head as `glot_rag.denoise.storage` writes it.
FILES = (f"head/{STATISTICS_FILE}", "head/noise_classifier.safetensors")


class CorpusFeatures:
    """Token ids -> the corpus features of every token.

    Args:
        directory: the bundle's.
        record: the bundle's record: which files it has, whose checksums have been compared, and which features its
            graph takes.

    Raises:
        BundleError: a file is not named, damaged or does not fit the other, or the graph takes other features.
    """

    def __init__(self, directory: Path, record: Mapping[str, Any]) -> None:
        if missing := [name for name in FILES if name not in record["sha256"]]:
            raise BundleError(f"the record of {directory} lacks {', '.join(missing)}: export the encoder again")
        if record.get(INPUT) != list(FEATURES):
            raise BundleError(
                f"the graph in {directory} takes the corpus features {record.get(INPUT)}, this glot-rag computes "
                f"{list(FEATURES)}: fit and export the encoder again"
            )
        counts, classifier = (directory / name for name in FILES)
        self._statistics = CorpusStatistics.load(counts)
        try:
            self._background = load(classifier.read_bytes())["background"].astype(np.float32)
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"{classifier} is not a noise classifier ({error}): export the encoder again") from error
        expected, found = len(self._statistics.occurrences), self._background.shape
        if found != (expected,):
            raise BundleError(f"{classifier} is for {found} tokens, {counts} for {expected}: export the encoder again")

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, L) -> (B, L, F)."""
        return self._statistics.features(ids, self._background)

    @staticmethod
    def none(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Zeros for an output that reads no corpus features: (B, L) -> (B, L, F)."""
        return np.zeros((*ids.shape, len(FEATURES)), np.float32)
