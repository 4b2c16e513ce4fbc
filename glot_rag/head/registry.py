"""A pooling by name: the fixed ones, a trained head from a directory, or one of those that ship with the library."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from glot_rag.checks import choose
from glot_rag.errors import BundleError, InputError, ModelNotFoundError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooling, block_storage
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.head.config import BASELINE_POOLINGS, POOLINGS, HeadConfig
from glot_rag.head.pooling import TrainedPooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PACKAGED, PRETRAINED

logger = logging.getLogger(__name__)

AnyPooling = TypeVar("AnyPooling", bound=Pooling)
BLOCKS = "blocks"  # a block head's folder: within that of the word head, or called after the backbone and this


def find_head(name: str, pooling: str, head: str | os.PathLike[str] | None) -> Path | None:
    """The directory of the head that a pooling needs, before anything heavy is loaded.

    Args:
        name: the backbone's name.
        pooling: one of `glot_rag.head.config.POOLINGS`.
        head: the user's choice; None takes the shipped one.

    Returns:
        The directory, or None for a pooling without parameters.

    Raises:
        InputError: no such pooling, or a head given for a pooling that has none.
        ModelNotFoundError: none ships for this backbone.
    """
    choose("pooling", pooling, POOLINGS)
    if pooling in BASELINE_POOLINGS:
        if head is not None:
            raise InputError(f"pooling {pooling!r} has no parameters: leave head= out, or use pooling='glot'")
        return None
    return Path(head) if head is not None else _shipped_head(name, pooling)


def own_pooling(backbone: Backbone) -> str:
    """The pooling that a model's own files name, for a backbone that no head ships for.

    Raises:
        ModelNotFoundError: they name none.
        UnsupportedError: the model does more to its vectors than to pool them.
    """
    own = backbone.settings.pooling
    _refuse_more(backbone)
    if own is None:
        raise ModelNotFoundError(
            f"no trained glot head for '{backbone.source.name}' ships with glot-rag, and its files name no pooling "
            f"(1_Pooling/config.json): train one with `glot-rag train --text FILE.jsonl --backbone "
            f"{backbone.source.name} --out DIR` and give head=DIR, or say pooling='mean', 'cls' or 'last'"
        )
    return own


def fixed_pooling(name: str, backbone: Backbone, dimensions: int | None = None) -> BaselinePooling:
    """A pooling without parameters, as sentence-transformers has it for the same model.

    Args:
        name: one of `BASELINE_POOLINGS`.
        backbone: the frozen transformer.
        dimensions: as in `BaselinePooling`; None is what the model's files say.

    Raises:
        UnsupportedError: the model does more to its vectors than to pool them (a Dense layer).
        InputError: dimensions that are not 1 to D.
    """
    settings = backbone.settings
    _refuse_more(backbone)
    if settings.pooling not in (None, name):
        logger.warning("'%s' was trained for pooling '%s', not '%s'", backbone.source.name, settings.pooling, name)
    return BaselinePooling(name, backbone.state_size, settings.dimensions if dimensions is None else dimensions)


def _refuse_more(backbone: Backbone) -> None:
    if backbone.settings.missing:
        raise UnsupportedError(
            f"'{backbone.source.name}' makes its vectors with {backbone.settings.missing}, which glot-rag does not do: "
            f"use a model of Transformer, Pooling and Normalize, or this one through sentence-transformers, with "
            f"Denoiser.from_pretrained() to clean its texts"
        )


def block_head_for(name: str, head: Path | None, backbone: Backbone) -> BlockGraphHead | None:
    """The block head in a trained head's folder, or else the one that ships for the backbone; None if there is none.

    Args:
        name: the backbone's name.
        head: the folder of the word head; None for none.
        backbone: the frozen transformer.

    Raises:
        BundleError: it is damaged, or was trained over another backbone.
    """
    folder = None if head is None else head / BLOCKS
    if folder is None or not folder.is_dir():
        if not ships_block_head(name):
            return None
        folder = PRETRAINED / f"{name}-{BLOCKS}"
    block_head, details = block_storage.load_block_head(folder)
    check_trained_over(details, folder, backbone)
    return block_head


def ships_block_head(name: str) -> bool:
    """Whether a block head ships for a backbone of this name."""
    return "/" not in name and (PRETRAINED / f"{name}-{BLOCKS}" / "config.json").is_file()


def check_trained_over(details: Mapping[str, Any], path: Path, backbone: Backbone) -> None:
    """See whether a head was trained over this backbone.

    Args:
        details: what the head was saved with.
        path: the head's directory, for the message.
        backbone: the frozen transformer.

    Raises:
        BundleError: it was trained over another one.
    """
    trained_over = details.get("backbone_fingerprint")
    if trained_over is not None and trained_over != backbone.fingerprint:
        packaged = PACKAGED.get(backbone.source.name)
        raise BundleError(
            f"{path} was trained over a backbone with fingerprint {trained_over}; '{backbone.source.name}' has "
            f"{backbone.fingerprint}: use the same model files{'' if packaged is None else f' ({packaged.install})'}, "
            f"or train a head for these"
        )


def freeze(pooling: AnyPooling, backbone: Backbone) -> AnyPooling:
    """A frozen copy of a pooling on the backbone's device; the pooling itself may go on being trained.

    Raises:
        BundleError: the pooling was made for states of another width, or reads layers that the backbone lacks.
    """
    if isinstance(pooling, (GlotHead, AdaPool)):
        if pooling.config.state_size != backbone.state_size:
            raise BundleError(
                f"the head was made for states of width {pooling.config.state_size}, '{backbone.source.name}' gives "
                f"{backbone.state_size}: train a head for it with `glot-rag train --backbone`"
            )
        for layer in pooling.layers:
            try:
                number = backbone.layer_number(layer)
            except InputError as error:
                raise BundleError(f"the head does not fit the backbone: {error}") from error
            if pooling.drops and number == backbone.num_layers:
                raise BundleError(f"the head does not fit the backbone: {nothing_above(layer, backbone)}")
    shared = {id(pooling.adjustment): pooling.adjustment} if isinstance(pooling, TrainedPooling) else {}
    return copy.deepcopy(pooling, shared).to(backbone.device).eval().requires_grad_(False)


def freeze_block_head(block_head: BlockGraphHead, backbone: Backbone) -> BlockGraphHead:
    """A frozen copy of a block head on the CPU, where it runs whatever the backbone's device.

    Raises:
        BundleError: it was made for states of another width, or reads a layer that the backbone lacks.
    """
    width = block_head.config.state_size
    if width != backbone.state_size:
        raise BundleError(
            f"the block head was made for states of width {width}, '{backbone.source.name}' gives "
            f"{backbone.state_size}: use the backbone that it was trained over"
        )
    try:
        backbone.layer_number(block_head.config.layer)
    except InputError as error:
        raise BundleError(f"the block head does not fit the backbone: {error}") from error
    return copy.deepcopy(block_head).to("cpu").eval().requires_grad_(False)


def nothing_above(layer: int, backbone: Backbone) -> str:
    """Why the drop form cannot read the last layer."""
    return (
        f"the drop form drops tokens before the layers above those that it reads, and '{backbone.source.name}' has "
        f"none above {layer}: layers must lie below the last, for example (2,)"
    )


def pooling_fingerprint(pooling: Pooling) -> str:
    """Hash of a pooling's settings, as far as they are not the defaults, its parameters and its score adjustment."""
    values: dict[str, object] = {"pooling": pooling.name}
    if isinstance(pooling, BaselinePooling) and pooling.output_size < pooling.state_size:
        values["dimensions"] = pooling.output_size
    if isinstance(pooling, (GlotHead, AdaPool)):
        values |= {f"config.{name}": value for name, value in changed_settings(pooling.config).items()}
        values |= {f"parameter.{name}": value.cpu().numpy() for name, value in pooling.state_dict().items()}
        values["adjustment"] = None if pooling.adjustment is None else pooling.adjustment.fingerprint
    return fingerprint(values)


def block_head_fingerprint(block_head: BlockGraphHead) -> str:
    """Hash of a block head's settings, as far as they are not the defaults, and its parameters."""
    values: dict[str, object] = {f"config.{name}": each for name, each in changed_settings(block_head.config).items()}
    values |= {f"parameter.{name}": each.cpu().numpy() for name, each in block_head.state_dict().items()}
    return fingerprint(values)


def changed_settings(config: HeadConfig | BlockGraphConfig) -> dict[str, Any]:
    """A head's settings that are not the defaults, by name."""
    fields = dataclasses.fields(config)
    values = {field.name: getattr(config, field.name) for field in fields}
    return {field.name: values[field.name] for field in fields if values[field.name] != field.default}


def _shipped_head(name: str, pooling: str) -> Path:
    folder = PRETRAINED / _folder(name, pooling)
    if "/" not in name and (folder / "config.json").is_file():
        return folder
    known = [name for name in PACKAGED if (PRETRAINED / _folder(name, pooling) / "config.json").is_file()]
    raise ModelNotFoundError(
        f"no trained {pooling} head for '{name}' ships with glot-rag (there is one for: {', '.join(known) or 'none'}). "
        f"Train one with `glot-rag train --text FILE.jsonl --backbone {name} --pooling {pooling} --out DIR` and give "
        f"head=DIR, or use pooling='mean'"
    )


def _folder(name: str, pooling: str) -> str:
    return name if pooling == "glot" else f"{name}-{pooling}"
