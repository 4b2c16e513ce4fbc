"""A block graph head on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from glot_rag.errors import InputError
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.weights import read_weights, write_weights

FORMAT = "glot-rag/block-head"
FORMAT_VERSION = 1


def save_block_head(
    head: BlockGraphHead, path: str | os.PathLike[str], details: Mapping[str, Any] | None = None
) -> None:
    """Write a block graph head into a directory.

    Args:
        head: the head.
        path: the directory; made if it is missing.
        details: what the head was made with (backbone and its fingerprint, training settings); kept as JSON.
    """
    write_weights(head, path, (FORMAT, FORMAT_VERSION), head.config.to_dict(), details)


def load_block_head(path: str | os.PathLike[str]) -> tuple[BlockGraphHead, dict[str, Any]]:
    """Read a head that `save_block_head` wrote.

    Args:
        path: its directory.

    Returns:
        The head in evaluation mode, and the details it was saved with.

    Raises:
        BundleError: a file is missing, damaged (SHA-256), of another format or version, or does not fit its settings.
    """
    return read_weights(path, (FORMAT, FORMAT_VERSION), _build)


def _build(settings: dict[str, Any], tensors: int) -> BlockGraphHead:
    config = BlockGraphConfig.from_dict(settings)
    if config.token_layers + config.block_layers > tensors:
        raise InputError(f"{config.token_layers + config.block_layers} layers, but {tensors} tensors")
    return BlockGraphHead(config)
