"""The networks of an exported denoiser: lower layers, word head and block head, each a graph. No torch.

They stand where a backbone and its heads stand with torch (`glot_rag.denoise.networks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.corpus_statistics import FEATURES, CorpusStatistics
from glot_rag.denoise.recurrence import RECURRENCE_FEATURES
from glot_rag.models.tokenizer import TokenBatch, Tokenizer, pack
from glot_rag.onnx.runtimes import GraphRuntime

# B·L and B·L² of a batch, fewer than in torch: every head's attention scores are held, and stay in the caches.
BATCH_TOKENS = 1_024
BATCH_PAIRS = 1 << 17


class LowerLayers:
    """A backbone's lower layers.

    Args:
        graph: `input_ids`, `attention_mask` -> `layer_N` for every layer that a head reads.
        tokenizer: the backbone's.
        state_size: D.
    """

    def __init__(self, graph: GraphRuntime, tokenizer: Tokenizer, state_size: int) -> None:
        self._graph = graph
        self.tokenizer = tokenizer
        self.state_size = state_size

    def pack(self, sequences: Sequence[Sequence[int]], batch_tokens: int | None = None) -> Iterator[TokenBatch]:
        """Batches of sequences of like length."""
        return pack(sequences, self.tokenizer.pad_id, batch_tokens or BATCH_TOKENS, BATCH_PAIRS)

    def states(self, batch: TokenBatch, layers: Sequence[int]) -> NDArray[np.float32]:
        """The states of some layers side by side: (B, L, S·D)."""
        feed = {"input_ids": batch.ids, "attention_mask": batch.mask.astype(np.int64)}
        (found,) = self._graph.run([f"layer_{layer}" for layer in layers], [feed], 1)
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)


class WordHead:
    """A head that scores words, with the corpus statistics of a fitted one.

    Args:
        graph: `states`, `attention_mask`, `corpus_features` -> `scores`, `fitted_scores`; the last input and output for
            a head with a noise classifier only.
        layers: of the backbone, whose states it reads side by side.
        min_keep_ratio: at least this share of a text's words stays.
        min_drop_ratio: a text that would lose less than this share of its words is left whole.
        statistics: of the corpus that it is fitted to; None for one that is not.
        background: (V,), each token's log-probability in text at large; needed with statistics.
    """

    def __init__(
        self,
        graph: GraphRuntime,
        layers: Sequence[int],
        min_keep_ratio: float,
        min_drop_ratio: float,
        statistics: CorpusStatistics | None = None,
        background: NDArray[np.float32] | None = None,
    ) -> None:
        self._graph = graph
        self.layers = tuple(layers)
        self.min_keep_ratio = min_keep_ratio
        self.min_drop_ratio = min_drop_ratio
        self._statistics = statistics
        self._background = background

    def score(
        self, states: NDArray[np.float32], batch: TokenBatch, groups: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """How much each token looks like signal: (B, L, S·D) -> (B, L)."""
        feed: dict[str, NDArray[Any]] = {"states": states, "attention_mask": batch.mask.astype(np.int64)}
        if self._statistics is not None and self._background is not None:
            feed["corpus_features"] = self._statistics.features(batch.ids, self._background, groups)
        elif "corpus_features" in self._graph.inputs:
            feed["corpus_features"] = np.zeros((*batch.ids.shape, len(FEATURES)), np.float32)
        output = "scores" if self._statistics is None else "fitted_scores"
        ((scores,),) = self._graph.run([output], [feed], 1)
        return scores


class BlockHead:
    """A block graph head.

    Args:
        graph: `states`, `block`, `mask`, `layout`, `counts` -> `block_logits`, `token_logits`.
        layer: of the backbone, whose states it reads.
        noise_threshold: blocks with a higher noise probability are dropped, unless another threshold is asked for.
    """

    def __init__(self, graph: GraphRuntime, layer: int, noise_threshold: float) -> None:
        self._graph = graph
        self.layer = layer
        self.noise_threshold = noise_threshold

    def score(
        self,
        states: NDArray[np.float32],
        block: NDArray[np.int64],
        mask: NDArray[np.bool_],
        layout: NDArray[np.float32],
        counts: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Noise logits of the blocks and tokens of some documents: (B, N) and (W, L)."""
        if counts is None:  # zeros say that nothing was counted
            counts = np.zeros((*mask.shape, len(RECURRENCE_FEATURES)), np.float32)
        feed: dict[str, NDArray[Any]] = {
            "states": states,
            "block": block,
            "mask": mask,
            "layout": layout,
            "counts": counts,
        }
        ((blocks, tokens),) = self._graph.run(["block_logits", "token_logits"], [feed], 1)
        return blocks, tokens
