"""Hidden states on disk: computed once, appended in order, read back by memory map.

A frozen backbone gives the same states every epoch. A directory holds one file for each column and `cache.json`, which
records the fingerprint of what was computed and how many rows are complete: a killed run goes on from there, and a
cache of other texts, another backbone or another dtype is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.errors import TrainingError
from glot_rag.files import write_atomically
from glot_rag.models.backbone import Backbone

_FORMAT = "glot-rag/hidden-states"
# numpy has no bfloat16: the bits are stored as uint16.
_STORED = {torch.bfloat16: np.uint16, torch.float16: np.float16, torch.float32: np.float32}


@dataclass(frozen=True)
class Column:
    """One array of the cache: `width` values of a dtype for each token, or for each row (text)."""

    dtype: str
    width: int
    per_token: bool


class HiddenStateCache:
    """An append-only table of texts; each row has some token-level columns, (L_i, width), and some row-level ones.

    Args:
        path: the directory, made if it is missing.
        fingerprint: what decides the content (backbone, dtype, layers, texts, noise, seed); JSON values.
        columns: by name.
        rows: how many there will be.

    Raises:
        TrainingError: the directory holds a cache of something else.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Mapping[str, Any], columns: Mapping[str, Column], rows: int
    ) -> None:
        self.path = Path(path)
        self.columns = dict(columns)
        self.rows = rows
        self._record = {"format": _FORMAT, "fingerprint": json.loads(json.dumps(fingerprint)), "rows": rows}
        self.path.mkdir(parents=True, exist_ok=True)
        self.done = 0
        progress = self.path / "cache.json"
        if progress.is_file():
            try:
                found = json.loads(progress.read_text())
                self.done, tokens = int(found.pop("done")), int(found.pop("tokens"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise TrainingError(f"{progress} is damaged: delete the directory, it can be computed again") from error
            if found != self._record:
                raise TrainingError(
                    f"{self.path} holds hidden states of other texts, settings or another backbone: "
                    f"choose another directory, or delete this one"
                )
        else:
            tokens = 0
        self._files: dict[str, BinaryIO] = {}
        for name, column in {**self.columns, "length": Column("int32", 1, per_token=False)}.items():
            file = open(self.path / f"{name}.bin", "ab")  # noqa: SIM115 (closed by close())
            self._files[name] = file
            size = (tokens if column.per_token else self.done) * column.width * np.dtype(column.dtype).itemsize
            if os.fstat(file.fileno()).st_size < size:  # truncate() would fill it up with zeros
                self.close()
                raise TrainingError(
                    f"{self.path / name}.bin is shorter than cache.json says: delete the directory, it can be "
                    f"computed again"
                )
            # What was written after the last completed step is cut off.
            file.truncate(size)
        self._tokens = tokens
        self._maps: dict[str, NDArray[Any]] = {}

    @property
    def complete(self) -> bool:
        """True once every row is there."""
        return self.done == self.rows

    def append(self, lengths: NDArray[np.int32], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, and sync them to the disk.

        Args:
            lengths: (n,) tokens of each new row.
            arrays: by column name; token-level ones (lengths.sum(), width), row-level ones (n, width).
        """
        total = int(lengths.sum())
        for name, column in self.columns.items():
            expected = (total if column.per_token else len(lengths), column.width)
            if arrays[name].shape != expected or arrays[name].dtype != np.dtype(column.dtype):
                raise TrainingError(f"column {name}: got {arrays[name].dtype}{arrays[name].shape}, expected {expected}")
        for name, file in self._files.items():
            file.write((lengths.astype(np.int32) if name == "length" else np.ascontiguousarray(arrays[name])).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(lengths)
        self._tokens += total
        record = {**self._record, "done": self.done, "tokens": self._tokens}
        write_atomically(self.path / "cache.json", json.dumps(record).encode())
        self._maps.clear()

    def close(self) -> None:
        """Close the files; reading goes on working."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __len__(self) -> int:
        return self.done

    @property
    def ends(self) -> NDArray[np.int64]:
        """(rows + 1,): row i's tokens are `ends[i]` to `ends[i + 1]` of the token-level columns."""
        if "ends" not in self._maps:
            lengths = np.fromfile(self.path / "length.bin", dtype=np.int32)[: self.done]
            self._maps["ends"] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return self._maps["ends"]

    def column(self, name: str) -> NDArray[Any]:
        """A memory map of a column: (tokens, width) or (rows, width)."""
        if name not in self._maps:
            column = self.columns[name]
            count = self._tokens if column.per_token else self.done
            self._maps[name] = np.memmap(
                self.path / f"{name}.bin", dtype=column.dtype, mode="r", shape=(count, column.width)
            )
        return self._maps[name]

    def padded(self, name: str, rows: NDArray[np.int64], fill: int = 0) -> NDArray[Any]:
        """Some rows of a token-level column as one array, padded on the right.

        Args:
            name: the column.
            rows: (n,) row numbers, in any order.
            fill: what padding holds.

        Returns:
            (n, longest, width), in the column's dtype.
        """
        column, starts, stops = self.column(name), self.ends[rows], self.ends[rows + 1]
        out = np.full((len(rows), int((stops - starts).max()), column.shape[1]), fill, column.dtype)
        for place, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            out[place, : stop - start] = column[start:stop]
        return out

    def mask(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where `padded` holds real tokens: (n, longest)."""
        lengths = self.ends[rows + 1] - self.ends[rows]
        mask: NDArray[np.bool_] = np.arange(int(lengths.max())) < lengths[:, None]
        return mask


def token_states(backbone: Backbone, sequences: Sequence[Sequence[int]], layers: Sequence[int]) -> NDArray[Any]:
    """The hidden states of some texts, to be appended to a cache.

    Args:
        backbone: the frozen transformer.
        sequences: the token ids of each text.
        layers: the layers whose states are concatenated.

    Returns:
        (tokens of all texts one after the other, S·D), in `stored_dtype`.
    """
    states: list[NDArray[Any]] = [np.empty(0)] * len(sequences)
    for batch in backbone.pack(sequences):
        by_layer, _ = backbone.hidden_states(batch, layers)
        joined = to_stored(torch.cat(by_layer, dim=-1))
        for place, row in enumerate(batch.rows):
            states[row] = joined[place, : len(sequences[row])]
    return np.concatenate(states)


def stored_dtype(dtype: torch.dtype) -> str:
    """The numpy dtype that holds a tensor's bits."""
    return str(np.dtype(_STORED[dtype]).name)


def to_stored(tensor: Tensor) -> NDArray[Any]:
    """A tensor's bits as a numpy array."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return np.asarray(tensor.numpy())


def from_stored(array: NDArray[Any]) -> Tensor:
    """The tensor back from `to_stored`'s array; over the same memory, unless that is a map that must not be written."""
    own = array if array.flags.writeable else array.copy()
    if own.dtype == np.uint16:
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(own)
