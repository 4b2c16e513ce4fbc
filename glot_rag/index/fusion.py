"""Two rankings into one: by vectors and by keywords."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.index.validation import check_count, check_number

METHODS = ("convex", "rrf")
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Fusion:
    """How a hybrid search makes one ranking of two.

    Both take the best documents by vectors and by keywords, `depth` of each, and give every one of them both scores.

    - "convex": `weight · v + (1 − weight) · b`. v is the cosine, scaled so that the best of these documents has 1 and
      the last 0; b is the BM25 score over the best one (Bruch, Gai and Ingber, TOIS 2023, compare such scalings).
    - "rrf": `weight / (k + rank by vectors) + (1 − weight) / (k + rank by keywords)`, reciprocal rank fusion (Cormack,
      Clarke and Büttcher, SIGIR 2009), which looks at ranks alone.

    Args:
        method: "convex" or "rrf".
        weight: Of the vectors, from 0 to 1; the rest is the keywords'. benchmarks/fusion.py chose the default.
        depth: Documents taken from each of the two; at least as many as are asked for.
        rank_constant: The k of "rrf".

    Raises:
        InputError: A value out of its range.
    """

    method: Literal["convex", "rrf"] = "convex"
    weight: float = 0.4
    depth: int = 100
    rank_constant: int = 60

    def __post_init__(self) -> None:
        choose("fusion method", self.method, METHODS)
        object.__setattr__(self, "weight", check_number(self.weight, "the weight of a fusion"))
        if not 0 <= self.weight <= 1:
            raise InputError(f"the weight of a fusion must be from 0 to 1, got {self.weight!r}")
        for name in ("depth", "rank_constant"):
            object.__setattr__(self, name, check_count(getattr(self, name), f"the {name} of a fusion"))

    def fuse(self, cosines: ArrayLike, keywords: ArrayLike) -> Numbers:
        """One score, from 0 to 1, for each of N documents that one of the two rankings found.

        Args:
            cosines: (N,) by vectors.
            keywords: (N,) by keywords; 0: it has none of the query's terms.

        >>> Fusion(weight=0.25).fuse([0.5, 0.3, 0.1], [0.0, 6.0, 3.0]).tolist()
        [0.25, 0.875, 0.375]
        """
        v, b = np.asarray(cosines, np.float64), np.asarray(keywords, np.float64)
        if not len(v):
            return v
        if self.method == "rrf":
            found = np.where(b > 0, 1 / (self.rank_constant + _ranks(b)), 0.0)
            return self.weight / (self.rank_constant + _ranks(v)) + (1 - self.weight) * found
        near: Numbers = (v - v.min()) / (np.ptp(v) or 1)
        fused: Numbers = self.weight * near + (1 - self.weight) * (b / (b.max() or 1))
        return fused


def _ranks(scores: Numbers) -> Numbers:
    """1 for the best; equal scores have equal ranks."""
    ordered = np.sort(-scores)
    return np.searchsorted(ordered, -scores).astype(np.float64) + 1
