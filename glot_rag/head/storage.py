"""A trained head on disk: `config.json` and `head.safetensors`. No pickle, and checksums that are checked.

What a head was fitted with lies beside it in the same folder: see `glot_rag.denoise.storage`.
"""

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
from glot_rag.head.adapool import AdaPool
from glot_rag.head.config import HeadConfig
from glot_rag.head.glot import GlotHead

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
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()})
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "head": head.config.to_dict(),
        "sha256": hashlib.sha256(weights).hexdigest(),
        **({} if head.adjustment is None else {"adjustment": head.adjustment.checksum}),
        "details": dict(details or {}),
    }
    write_atomically(directory / "head.safetensors", weights)
    if head.adjustment is not None:
        head.adjustment.save(directory)
    # The configuration comes last: a directory without it, or with one of other weights, is refused.
    write_atomically(directory / "config.json", json.dumps(record, indent=2).encode() + b"\n")


def load_head(path: str | os.PathLike[str]) -> tuple[GlotHead | AdaPool, dict[str, Any]]:
    """Read a head that `save_head` wrote, without its score adjustment (`glot_rag.denoise.storage` reads both).

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
        config, tensors = HeadConfig.from_dict(settings), load(data)
        if config.pooling == "glot" and config.num_layers > len(tensors):
            raise InputError(f"{config.num_layers} layers, but {len(tensors)} tensors")
        # Built without memory: settings that ask for far more than the weights hold must not exhaust it, and no fresh
        # parameters are drawn, which would advance the caller's random numbers.
        with torch.device("meta"):
            head = build_head(config)
            head.load_state_dict(tensors, assign=True)
    except (InputError, SafetensorError, RuntimeError) as error:
        raise BundleError(f"{directory}: the weights do not fit the settings: {error}") from error
    return head.eval(), details
