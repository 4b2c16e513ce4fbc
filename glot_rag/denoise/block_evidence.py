"""Why a block was dropped, and the graph of a document's blocks: what the block head saw. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.block_noise import MOST_BLOCKS, MOST_CHARACTERS, SKIM, find_noise
from glot_rag.denoise.block_scores import home_of
from glot_rag.denoise.block_states import early_states
from glot_rag.denoise.networks import BlockScorer, StateReader

FEWEST_TO_RECUR = 2  # documents of a group
BY_LAYOUT, BY_WORDS = "by its layout", "reads like navigation"


@dataclass(frozen=True, eq=False)
class BlockEvidence:
    """The blocks of a document as the block head saw them.

    Attributes:
        spans: N characters (start, end), in order.
        noise: (N,) float32, the noise probability of each.
        reasons: why each would be dropped: "recurs in 40 documents", "by its layout" (it would stay without its layout
            features) or "reads like navigation".
        similarity: (N, N) float32, the cosine of two blocks' mean states.
        threshold: blocks with a higher cosine are joined.
    """

    spans: tuple[tuple[int, int], ...]
    noise: NDArray[np.float32]
    reasons: tuple[str, ...]
    similarity: NDArray[np.float32]
    threshold: float

    @property
    def joined(self) -> NDArray[np.bool_]:
        """(N, N) boolean, True where two blocks are joined."""
        found: NDArray[np.bool_] = self.similarity > self.threshold
        return found

    def clusters(self) -> NDArray[np.int64]:
        """The cluster of each block, (N,): 0 is the largest. By Louvain's method over the cosines of joined blocks."""
        import networkx

        weights = np.where(self.joined, self.similarity - self.threshold, 0)
        graph = networkx.from_numpy_array(weights)
        graph.remove_edges_from(networkx.selfloop_edges(graph))
        found = networkx.community.louvain_communities(graph, weight="weight", resolution=1.2, seed=0)
        clusters = np.zeros(len(self.spans), np.int64)
        for number, members in enumerate(sorted(found, key=lambda each: (-len(each), min(each)))):
            clusters[list(members)] = number
        return clusters


def block_evidence(
    backbone: StateReader,
    head: BlockScorer,
    text: str,
    *,
    threshold: float,
    similarity_threshold: float,
    counts: NDArray[np.float32] | None = None,
) -> BlockEvidence | None:
    """Look at the blocks of a document once more, with and without their layout.

    Args:
        backbone: the frozen transformer.
        head: a trained block head.
        text: the document, without surrogates.
        threshold: blocks with a higher noise probability are dropped.
        similarity_threshold: the head joins blocks whose cosine is higher.
        counts: (N, 4), the recurrence of each block; None where nothing was counted.

    Returns:
        None for a text without blocks, and for one that the head reads in several sections.
    """
    if len(text) > MOST_CHARACTERS:
        return None
    states = early_states(backbone, [text], head.layer, skim=SKIM)
    given = None if counts is None else [counts]
    (found,) = find_noise(head, [text], states, given)
    if not 0 < len(found.blocks) <= MOST_BLOCKS:
        return None
    (plain,) = find_noise(head, [text], states, given, layout=False)
    home = home_of(found.blocks, states[0].spans[:, 1] - 1)
    means = np.zeros((len(found.blocks), states[0].states.shape[1]), np.float32)
    np.add.at(means, home, states[0].states)
    means /= np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-12)
    return BlockEvidence(
        spans=tuple((block.start, block.end) for block in found.blocks),
        noise=found.block_noise,
        reasons=tuple(_reasons(plain.block_noise, counts, threshold)),
        similarity=means @ means.T,
        threshold=similarity_threshold,
    )


def _reasons(
    without_layout: NDArray[np.float32], counts: NDArray[np.float32] | None, threshold: float
) -> Sequence[str]:
    documents = np.zeros(len(without_layout)) if counts is None else np.expm1(counts[:, 0]).round()
    return [
        f"recurs in {number:.0f} documents" if number >= FEWEST_TO_RECUR else BY_LAYOUT if by_layout else BY_WORDS
        for number, by_layout in zip(documents, without_layout <= threshold, strict=True)
    ]
