"""A module on disk: settings in `config.json`, weights in `head.safetensors`. No pickle; checksums are checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from glot_rag.errors import BundleError, InputError
from glot_rag.files import read_checked, read_json_record, write_atomically

RECORD, WEIGHTS = "config.json", "head.safetensors"

Module = TypeVar("Module", bound=nn.Module)


def write_weights(
    module: nn.Module,
    path: str | os.PathLike[str],
    kind: tuple[str, int],
    settings: Mapping[str, Any],
    details: Mapping[str, Any] | None,
    **more: Any,
) -> None:
    """Write a module into a directory, which is made if it is missing.

    Args:
        module: whose weights are written.
        path: the directory.
        kind: the format's name and version.
        settings: what it is built from.
        details: what it was made with.
        **more: what else belongs into the record.
    """
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()})
    record = {
        "format": kind[0],
        "format_version": kind[1],
        "head": dict(settings),
        "sha256": hashlib.sha256(weights).hexdigest(),
        **more,
        "details": dict(details or {}),
    }
    write_atomically(directory / WEIGHTS, weights)
    # The record comes last: a directory without it, or with one of other weights, is refused.
    write_atomically(directory / RECORD, json.dumps(record, indent=2).encode() + b"\n")


def read_weights(
    path: str | os.PathLike[str], kind: tuple[str, int], build: Callable[[dict[str, Any], int], Module]
) -> tuple[Module, dict[str, Any]]:
    """Read a module that `write_weights` wrote.

    Args:
        path: its directory.
        kind: the format's name and version.
        build: settings and the number of tensors -> the module; raises InputError where they do not go together.

    Returns:
        The module in evaluation mode, and the details it was saved with.

    Raises:
        BundleError: a file is missing, damaged (SHA-256), of another format or version, or does not fit its settings.
    """
    directory = Path(path)
    record = read_json_record(directory / RECORD, *kind)
    data = read_checked(directory / WEIGHTS, record.get("sha256"), RECORD)
    settings, details = record.get("head"), record.get("details", {})
    if not isinstance(settings, dict) or not isinstance(details, dict):
        raise BundleError(f"{directory / RECORD} lacks the head's settings: make the bundle again")
    try:
        tensors = load(data)
        # Built without memory: settings that ask for far more than the weights hold must not exhaust it, and no fresh
        # parameters are drawn, which would advance the caller's random numbers.
        with torch.device("meta"):
            module = build(settings, len(tensors))
            module.load_state_dict(tensors, assign=True)
    except (InputError, SafetensorError, RuntimeError) as error:
        raise BundleError(f"{directory}: the weights do not fit the settings: {error}") from error
    return module.eval(), details
