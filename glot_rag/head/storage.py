"""A trained head on disk.

What a head was fitted with lies beside it in the same folder: see `glot_rag.denoise.storage`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glot_rag.errors import InputError
from glot_rag.head.adapool import AdaPool
from glot_rag.head.config import HeadConfig
from glot_rag.head.glot import GlotHead
from glot_rag.head.weights import read_weights, write_weights

FORMAT = "glot-rag/head"
FORMAT_VERSION = 1


def build_head(config: HeadConfig) -> GlotHead | AdaPool:
    """A head with fresh parameters for a configuration."""
    return AdaPool(config) if config.pooling == "adapool" else GlotHead(config)


def save_head(head: GlotHead | AdaPool, path: str | os.PathLike[str], details: Mapping[str, Any] | None = None) -> None:
    """Write a head, and its score adjustment if it has one, into a directory.

    Args:
        head: the head.
        path: the directory; made if it is missing.
        details: what the head was made with (backbone and its fingerprint, training settings); kept as JSON.
    """
    more = {}
    if head.adjustment is not None:
        Path(path).mkdir(parents=True, exist_ok=True)
        head.adjustment.save(Path(path))
        more["adjustment"] = head.adjustment.checksum
    write_weights(head, path, (FORMAT, FORMAT_VERSION), head.config.to_dict(), details, **more)


def load_head(path: str | os.PathLike[str]) -> tuple[GlotHead | AdaPool, dict[str, Any]]:
    """Read a head that `save_head` wrote, without its score adjustment (`glot_rag.denoise.storage` reads both).

    Args:
        path: its directory.

    Returns:
        The head in evaluation mode, and the details it was saved with.

    Raises:
        BundleError: a file is missing, damaged (SHA-256), of another format or version, or does not fit its settings.
    """
    return read_weights(path, (FORMAT, FORMAT_VERSION), _build)


def _build(settings: dict[str, Any], tensors: int) -> GlotHead | AdaPool:
    config = HeadConfig.from_dict(settings)
    if config.pooling == "glot" and config.num_layers > tensors:
        raise InputError(f"{config.num_layers} layers, but {tensors} tensors")
    return build_head(config)
