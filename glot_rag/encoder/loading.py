"""Finds what runs an encoder: torch, or ONNX Runtime or OpenVINO for an exported one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.checks import choose
from glot_rag.denoise.denoiser import is_exported
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.files import read_json_record
from glot_rag.models.registry import PACKAGED

if TYPE_CHECKING:
    from glot_rag.encoder.base import GlotEncoder

BUNDLE_RECORD = "onnx.json"  # the file that makes a directory an exported bundle
# The one that makes it a saved encoder, and what it says of itself
SAVED_RECORD, SAVED_FORMAT, SAVED_VERSION = "encoder.json", "glot-rag/encoder", 1
# Each module has a function load(name_or_path, backend, **settings). They are found by name: a backend is built on this
# room, so this room cannot import it.
_BACKENDS = {
    "torch": "glot_rag.encoder.torch_encoder",
    "onnx": "glot_rag.onnx.loading",
    "openvino": "glot_rag.onnx.loading",
}


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a directory holds an exported encoder."""
    return (Path(path) / BUNDLE_RECORD).is_file()


def denoiser_of(encoder: str | os.PathLike[str]) -> str:
    """What `Denoiser.from_pretrained` takes for the texts of a saved encoder.

    That is the denoiser that was exported with it, which needs no torch; its backbone's own, where a block head ships
    for it: that of `e5` knows more languages than English; or that of `minilm`.
    """
    folder = Path(encoder)
    if is_exported(folder / "denoiser"):
        return str(folder / "denoiser")
    record = folder / SAVED_RECORD
    if record.is_file():
        from glot_rag.head.registry import ships_block_head  # here, as it needs torch; a saved encoder does, too

        backbone = str(read_json_record(record, SAVED_FORMAT, SAVED_VERSION).get("backbone"))
        if ships_block_head(backbone):
            return backbone
    return "minilm"


def load_encoder(name_or_path: str | os.PathLike[str], backend: str | None, **settings: object) -> GlotEncoder:
    """Load an encoder with the backend that is asked for, or that the files call for: `GlotEncoder.from_pretrained`.

    Raises:
        InputError: no such backend, or torch for a bundle.
        MissingExtraError: what runs the encoder is not installed.
    """
    # A directory called "minilm" is "./minilm": known names come first.
    bundled = os.fspath(name_or_path) not in PACKAGED and is_bundle(name_or_path)
    chosen = choose("backend", backend or ("onnx" if bundled else "torch"), tuple(_BACKENDS))
    if bundled and chosen == "torch":
        raise InputError(f"{name_or_path} is an exported encoder, which ONNX Runtime runs: leave backend out")
    try:
        module = importlib.import_module(_BACKENDS[chosen])
    except ModuleNotFoundError as error:
        if error.name in ("torch", "transformers", "torch_geometric"):
            raise MissingExtraError(error.name, "torch") from error
        raise
    encoder: GlotEncoder = module.load(name_or_path, chosen, **settings)
    return encoder
