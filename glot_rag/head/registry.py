"""A pooling by name: the fixed ones, a trained head from a directory, or one of those that ship with the library."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from glot_rag.checks import choose
from glot_rag.errors import BundleError, InputError, ModelNotFoundError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooling, load_head
from glot_rag.head.config import BASELINE_POOLINGS, POOLINGS
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PACKAGED

PRETRAINED = Path(__file__).parents[1] / "pretrained"


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


def load_poolings(pooling: str, head: Path | None, backbone: Backbone) -> tuple[Pooling, Pooling]:
    """The documents' pooling and the queries' (`HeadConfig.mean_queries`).

    Raises:
        BundleError: the head is damaged, of another kind, or was trained over another backbone.
    """
    if head is None:
        fixed = BaselinePooling(pooling, backbone.state_size)
        return fixed, fixed
    loaded, details = load_head(head)
    if loaded.name != pooling:
        raise BundleError(f"{head} holds a head for pooling {loaded.name!r}; {pooling!r} was asked for")
    trained_over = details.get("backbone_fingerprint")
    if trained_over is not None and trained_over != backbone.fingerprint:
        raise BundleError(
            f"{head} was trained over a backbone with fingerprint {trained_over}; '{backbone.source.name}' has "
            f"{backbone.fingerprint}: use the same model files, or train a head for these"
        )
    if loaded.config.mean_queries:
        return loaded, BaselinePooling("mean", backbone.state_size)
    return loaded, loaded


def fit(pooling: Pooling, backbone: Backbone) -> Pooling:
    """Put a pooling on the backbone's device, after a look at whether it fits."""
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
    return pooling.to(backbone.device).eval().requires_grad_(False)


def nothing_above(layer: int, backbone: Backbone) -> str:
    """Why the drop form cannot read the last layer."""
    return (
        f"the drop form drops tokens before the layers above those that it reads, and '{backbone.source.name}' has "
        f"none above {layer}: layers must lie below the last, for example (2,)"
    )


def pooling_fingerprint(pooling: Pooling) -> str:
    """SHA-256 of a pooling's settings and parameters."""
    digest = hashlib.sha256(pooling.name.encode())
    if isinstance(pooling, (GlotHead, AdaPool)):
        digest.update(json.dumps(pooling.config.to_dict(), sort_keys=True).encode())
        for name, value in sorted(pooling.state_dict().items()):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        if pooling.adaptation is not None:
            digest.update(pooling.adaptation.fingerprint.encode())
    return digest.hexdigest()


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
