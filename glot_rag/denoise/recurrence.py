"""In how many documents of a group (a site, a folder, a mailing list) a block recurs.

Navigation, footers and notices of a site stand on most of its pages, word for word or with a few words changed. Whole
blocks and their runs of three words are counted within each group, as across sites hardly anything recurs.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glot_rag.documents.blocks import Block
from glot_rag.errors import InputError

RECURRENCE_FEATURES = (
    "documents",  # ln(1 + documents of the group that have the same block)
    "share",  # of the group's documents that have the same block
    "runs",  # the mean share of the group's documents that have its three-word runs
    "recurring runs",  # the share of its runs that stand in another document, too
)
FEWEST = 3  # documents of a group; in fewer nothing can be said to recur
_WORD = re.compile(r"\w+")


def recurrence_features(
    texts: Sequence[str], blocks: Sequence[Sequence[Block]], groups: Sequence[str] | None = None
) -> list[NDArray[np.float32]]:
    """The recurrence of each block of each document: (N_i, 4) float32, columns as in `RECURRENCE_FEATURES`.

    Args:
        texts: the documents of a corpus.
        blocks: of each document.
        groups: the group of each document; None makes one group of all.

    Returns:
        One array a document; all zero in a group of fewer than three documents.

    Raises:
        InputError: the three are not of one length.
    """
    names = list(groups) if groups is not None else [""] * len(texts)
    if not len(texts) == len(blocks) == len(names):
        raise InputError(
            f"got {len(texts)} texts, {len(blocks)} lists of blocks and {len(names)} groups: expected one each"
        )
    members = Counter(names)
    found: list[list[tuple[int, list[int]]]] = []
    having: dict[str, Counter[int]] = {name: Counter() for name in members}
    for text, of_text, name in zip(texts, blocks, names, strict=True):
        keys = [_keys(text[block.start : block.end]) for block in of_text] if members[name] >= FEWEST else []
        having[name].update({key for whole, runs in keys for key in (whole, *runs)})
        found.append(keys)
    out = []
    for keys, of_text, name in zip(found, blocks, names, strict=True):
        features = np.zeros((len(of_text), len(RECURRENCE_FEATURES)), np.float32)
        counts, number = having[name], members[name]
        for row, (whole, runs) in zip(features, keys, strict=False):
            same = counts[whole]
            times = np.array([counts[run] for run in runs] or [same])
            row[:] = np.log1p(same), same / number, times.mean() / number, (times > 1).mean()
        out.append(features)
    return out


def _keys(block: str) -> tuple[int, list[int]]:
    """A block and its three-word runs as numbers; case and punctuation aside, and numbers alike."""
    words = ["0" if word.isdigit() else word.lower() for word in _WORD.findall(block)] or [block]
    return _hash(words), [_hash(words[i : i + 3]) ^ 1 for i in range(len(words) - 2)]


def _hash(words: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=8).digest(), "big")
