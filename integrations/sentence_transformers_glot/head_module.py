"""What the two modules share: a head that stays in float32, and its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glot_rag.denoise.storage import load_fitted_head
from glot_rag.errors import BundleError
from glot_rag.head import AdaPool, GlotHead, save_head
from glot_rag.head.registry import find_head
from glot_rag.models.registry import PACKAGED

Head = GlotHead | AdaPool


class Float32Head(nn.Module):
    """Holds a head and keeps its parameters in float32, whatever the model around it is cast to.

    sentence-transformers casts every module to the backbone's dtype. A rounded threshold or score turns an edge of
    the token graph, or a token, over; `GlotEncoder` computes in float32, and so does this.

    Args:
        head: the head.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Float32Head:
        def moved(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return tensor.to(out.device) if out.is_floating_point() else out

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> Any:
        """As the head's own, outside of autocast."""
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states, mask, ids)


def read_head(name_or_path: str | os.PathLike[str], pooling: str) -> tuple[Head, dict[str, Any]]:
    """A head and its details: by the name of a backbone that one ships for ("minilm"), else from a directory.

    Raises:
        ModelNotFoundError: none ships for a backbone of that name, and there is no such directory.
        BundleError: the files are damaged, or hold a head of another kind.
        InputError: no such pooling, or one that is not trained.
    """
    name = os.fspath(name_or_path)
    given = Path(name) if name not in PACKAGED and (Path(name) / "config.json").is_file() else None
    directory = given or find_head(name, pooling, None)
    assert directory is not None
    head, _, details = load_fitted_head(directory)
    if given is None and head.name != pooling:
        raise BundleError(f"{directory} holds a head for pooling {head.name!r}; {pooling!r} was asked for")
    return head, details


def write_head(head: Head, path: str | os.PathLike[str], details: dict[str, Any]) -> None:
    """Write a head beside the transformer that it belongs to.

    sentence-transformers writes the transformer's files anew, and with that another fingerprint: the one of the
    backbone that the head was trained over would have `GlotEncoder` refuse the copy that lies beside it.
    """
    save_head(head, path, {key: value for key, value in details.items() if key != "backbone_fingerprint"})
