"""Where a classifier reads hidden states: a cache on disk, or the vectors that a fixed pooling made of it."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.head import Pooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.state_cache import Column, HiddenStateCache, from_stored, stored_dtype, token_states
from glot_rag.models.tokenizer import check_texts
from glot_rag.progress import bar

_CHUNK = 1_024  # texts between two points that a killed run can go on from
_POOLED_AT_ONCE = 64


class States(ABC):
    """The frozen states of N texts.

    Attributes:
        lengths: (N,) tokens of each text.
    """

    lengths: NDArray[np.int64]

    @abstractmethod
    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States (n, L, S·D) and boolean mask (n, L) of some texts."""


class CachedStates(States):
    """Texts run through the backbone once, and read from disk from then on. A run that was killed goes on.

    Args:
        path: the cache's directory.
        texts: N texts; cut to the backbone's longest input.
        backbone: the frozen transformer.
        layers: the backbone layers whose states are kept, concatenated.
        show_progress: draw a progress bar on stderr.

    Raises:
        InputError: not a list of strings.
        TrainingError: the directory holds states of something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        texts: Sequence[str],
        backbone: Backbone,
        *,
        layers: Sequence[int] = (-1,),
        show_progress: bool = False,
    ) -> None:
        checked = check_texts(texts)
        fingerprint = states_fingerprint(checked, backbone, layers)
        column = Column(stored_dtype(backbone.dtype), backbone.state_size * len(layers), per_token=True)
        self._cache = HiddenStateCache(path, fingerprint, {"states": column}, rows=len(checked))
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("hidden states", total=len(checked), completed=self._cache.done)
            for start in range(self._cache.done, len(checked), _CHUNK):
                chunk = checked[start : start + _CHUNK]
                self._append(chunk, backbone, layers)
                progress.advance(task, len(chunk))
        self._cache.close()
        self.lengths = np.diff(self._cache.ends)

    def _append(self, texts: list[str], backbone: Backbone, layers: Sequence[int]) -> None:
        sequences = backbone.tokenizer(texts)
        lengths = np.array([len(ids) for ids in sequences], np.int32)
        self._cache.append(lengths, {"states": token_states(backbone, sequences, layers)})

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States in the backbone's dtype."""
        return from_stored(self._cache.padded("states", rows)), torch.from_numpy(self._cache.mask(rows))


def states_fingerprint(texts: Sequence[str], backbone: Backbone, layers: Sequence[int]) -> dict[str, Any]:
    """Fingerprint of the states of some texts, as JSON values."""
    return {
        "backbone": backbone.fingerprint,
        "dtype": str(backbone.dtype),
        "max_tokens": backbone.max_tokens,
        "layers": list(layers),
        "plain texts": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
    }


class PooledStates(States):
    """The vectors of a pooling without parameters, which are the same in each epoch and computed once.

    Each text becomes a text of one token whose state is its vector: any fixed pooling leaves that as it is.
    """

    def __init__(self, states: States, pooling: Pooling) -> None:
        count = len(states.lengths)
        self._vectors = torch.empty(count, 1, pooling.output_size)
        self.lengths = np.ones(count, np.int64)
        order = np.argsort(states.lengths, kind="stable")
        with torch.no_grad():
            for start in range(0, count, _POOLED_AT_ONCE):
                rows = order[start : start + _POOLED_AT_ONCE]
                self._vectors[torch.from_numpy(rows), 0] = pooling(*states.batch(rows)).vector

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The vectors (n, 1, O), float32."""
        vectors = self._vectors[torch.from_numpy(rows)]
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool)


def states_for(pooling: Pooling, states: States) -> States:
    """What a pooling reads in each epoch: `PooledStates` for one without parameters, else the states themselves."""
    if isinstance(states, PooledStates) or any(True for _ in pooling.parameters()):
        return states
    return PooledStates(states, pooling)
