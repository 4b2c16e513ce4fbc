"""A block graph head on disk: `config.json` and `head.safetensors`. No pickle, and checksums that are checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from glot_rag.errors import BundleError, InputError
from glot_rag.files import read_checked, read_json_record, write_atomically
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead

FORMAT = "glot-rag/block-head"
FORMAT_VERSION = 1
_MAX_WEIGHT_BYTES = 1 << 28


def save_block_head(
    head: BlockGraphHead, path: str | os.PathLike[str], details: Mapping[str, Any] | None = None
) -> None:
    """Write a block graph head into a directory.

    Args:
        head: the head.
        path: the directory; made if it is missing.
        details: what the head was made with (backbone and its fingerprint, training settings); kept as JSON.
    """
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()})
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "head": head.config.to_dict(),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "details": dict(details or {}),
    }
    write_atomically(directory / "head.safetensors", weights)
    # The configuration comes last: a directory without it, or with one of other weights, is refused.
    write_atomically(directory / "config.json", json.dumps(record, indent=2).encode() + b"\n")


def load_block_head(path: str | os.PathLike[str]) -> tuple[BlockGraphHead, dict[str, Any]]:
    """Read a head that `save_block_head` wrote.

    Args:
        path: its directory.

    Returns:
        The head in evaluation mode, and the details it was saved with.

    Raises:
        BundleError: a file is missing, damaged (SHA-256), of another format or version, or does not fit its settings.
    """
    directory = Path(path)
    record = read_json_record(directory / "config.json", FORMAT, FORMAT_VERSION)
    data = read_checked(directory / "head.safetensors", record.get("sha256"), "config.json")
    settings, details = record.get("head"), record.get("details", {})
    if not isinstance(settings, dict) or not isinstance(details, dict):
        raise BundleError(f"{directory / 'config.json'} lacks the head's settings: make the bundle again")
    try:
        config, tensors = BlockGraphConfig.from_dict(settings), load(data)
        if config.token_layers + config.block_layers > len(tensors):
            raise InputError(f"{config.token_layers + config.block_layers} layers, but {len(tensors)} tensors")
        # Built without memory: settings that ask for far more than the weights hold must not exhaust it, and no fresh
        # parameters are drawn, which would advance the caller's random numbers.
        with torch.device("meta"):
            head = BlockGraphHead(config)
            head.load_state_dict(tensors, assign=True)
    except (InputError, SafetensorError, RuntimeError) as error:
        raise BundleError(f"{directory}: the weights do not fit the settings: {error}") from error
    return head.eval(), details
