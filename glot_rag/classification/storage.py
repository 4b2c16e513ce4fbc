"""A trained classifier on disk: `classifier.json` and `classifier.safetensors`, with a checksum that is checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from glot_rag.classification.classifier import TextClassifier
from glot_rag.errors import BundleError, GlotError, InputError
from glot_rag.files import read_checked, read_json_record, write_atomically

FORMAT = "glot-rag/classifier"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SavedClassifier:
    """What makes a classifier.

    Attributes:
        params: the estimator's, as JSON values.
        classes: (C,).
        fingerprint: of the backbone that it was trained over.
        state_size: D, of its states.
        net: pooling and linear layer.
    """

    params: dict[str, Any]
    classes: NDArray[Any]
    fingerprint: str
    state_size: int
    net: TextClassifier


def save_classifier(saved: SavedClassifier, path: str | os.PathLike[str]) -> None:
    """Write a classifier into a directory, made if it is missing.

    Raises:
        InputError: a parameter or a class that JSON cannot hold; nothing is written.
    """
    weights = save({name: value.detach().cpu().contiguous() for name, value in saved.net.state_dict().items()})
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "params": saved.params,
        "classes": {"dtype": saved.classes.dtype.str, "values": saved.classes.tolist()},
        "backbone_fingerprint": saved.fingerprint,
        "state_size": saved.state_size,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        data = json.dumps(record, indent=2, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"the classifier cannot be saved as JSON: {error}") from error
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "classifier.safetensors", weights)
    # The record comes last: a directory without it, or with one of other weights, is refused.
    write_atomically(directory / "classifier.json", data + b"\n")


def load_classifier(
    path: str | os.PathLike[str], network: Callable[[dict[str, Any], int, int], TextClassifier]
) -> SavedClassifier:
    """Read what `save_classifier` wrote.

    Args:
        path: the directory.
        network: makes the network of parameters, the width of the states and the number of classes.

    Raises:
        BundleError: a file is missing, damaged, of another format or version, or does not fit the others.
    """
    directory = Path(path)
    record = read_json_record(directory / "classifier.json", FORMAT, FORMAT_VERSION)
    data = read_checked(directory / "classifier.safetensors", record.get("sha256"), "classifier.json")
    try:
        params, classes = dict(record["params"]), _classes(record["classes"])
        # Without memory of its own: settings that ask for far more than the weights hold must not exhaust it.
        with torch.device("meta"):
            net = network(params, int(record["state_size"]), len(classes))
            net.load_state_dict(load(data), assign=True)
        return SavedClassifier(params, classes, str(record["backbone_fingerprint"]), int(record["state_size"]), net)
    except (KeyError, TypeError, ValueError, AttributeError, GlotError, SafetensorError, RuntimeError) as error:
        raise BundleError(f"{directory}: the weights do not fit the settings: {error}") from error


def _classes(record: dict[str, Any]) -> NDArray[Any]:
    dtype, values = np.dtype(record["dtype"]), record["values"]
    if dtype.kind not in "biufUO" or not all(isinstance(value, (str, int, float, bool)) for value in values):
        raise BundleError(f"classes must be strings, numbers or booleans; got {dtype} {values!r:.80}")
    return np.array(values, dtype)
