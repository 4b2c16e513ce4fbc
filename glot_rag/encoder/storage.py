"""A torch encoder's parts, by name or from a directory, and the directory that an encoder is saved in.

The directory: `encoder.json`, `head/` for a trained pooling, `denoiser/` for a denoiser (`glot_rag.denoise.storage`).
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.denoiser import Denoiser, is_exported
from glot_rag.denoise.storage import load_fitted_head, save_fitted_head
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.encoder.loading import SAVED_FORMAT as FORMAT
from glot_rag.encoder.loading import SAVED_RECORD as RECORD
from glot_rag.encoder.loading import SAVED_VERSION as FORMAT_VERSION
from glot_rag.errors import BundleError, InputError, ModelNotFoundError
from glot_rag.files import read_json_record, write_atomically
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooling
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.config import BASELINE_POOLINGS, POOLINGS
from glot_rag.head.registry import (
    block_head_for,
    check_trained_over,
    find_head,
    fixed_pooling,
    own_pooling,
    pooling_fingerprint,
)
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PACKAGED

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import TorchEncoder

HEAD, DENOISER = "head", "denoiser"  # folders

logger = logging.getLogger(__name__)


class Poolings(NamedTuple):
    """What pools documents and queries, the documents' noise classifier, if there is one, and what the head says.

    Attributes:
        documents: pools documents.
        queries: pools queries.
        classifier: the documents' noise classifier.
        denoise: whether encoders with this head drop noisy blocks from documents unless they are told not to.
        block_head: what finds these blocks; None takes the shipped one.
    """

    documents: Pooling
    queries: Pooling
    classifier: NoiseClassifier | None
    denoise: bool = False
    block_head: BlockGraphHead | None = None


class Parts(NamedTuple):
    """What a `TorchEncoder` is made of."""

    backbone: Backbone
    poolings: Poolings
    query_prompt: str
    document_prompt: str
    denoiser: Denoiser | None


def load_parts(
    name_or_path: str | os.PathLike[str],
    *,
    pooling: str | None,
    head: str | os.PathLike[str] | None,
    denoise: bool | Denoiser | None,
    device: str | None,
    dtype: str | None,
    max_tokens: int | None,
    dimensions: int | None,
    query_prompt: str | None,
    document_prompt: str | None,
) -> Parts:
    """Find and load everything that `GlotEncoder.from_pretrained` names. Arguments and errors are the same."""
    directory = Path(name_or_path)
    saved: dict[str, Any] = {}
    as_saved = False
    backbone_name = name_or_path
    if os.fspath(name_or_path) not in PACKAGED and (directory / RECORD).is_file():  # "./minilm" is a directory's name
        saved = _read_record(directory / RECORD)
        backbone_name = saved["backbone"]
        pooling = pooling or saved["pooling"]
        max_tokens = saved["max_tokens"] if max_tokens is None else max_tokens
        as_saved = head is None and pooling == saved["pooling"]
        if as_saved and pooling not in BASELINE_POOLINGS:
            head = directory / HEAD
        if as_saved and dimensions is None:
            dimensions = saved.get("dimensions")
    head_path = None
    try:  # a wrong name is told before a model is loaded
        head_path = find_head(os.fspath(backbone_name), pooling or "glot", head)
    except ModelNotFoundError:
        if pooling is not None:
            raise
    backbone = Backbone.load(backbone_name, device=device, dtype=dtype, max_tokens=max_tokens)
    if saved and saved.get("backbone_fingerprint") != backbone.fingerprint:
        raise BundleError(
            f"{name_or_path} was saved over a backbone with fingerprint {saved.get('backbone_fingerprint')}, but "
            f"'{backbone_name}' here has {backbone.fingerprint}: use the same files, or train a head for these"
        )
    blocks_alone = None  # for a backbone that has a block head, but no head for words
    if pooling is None:
        pooling = "glot" if head_path else own_pooling(backbone)
        known = PACKAGED.get(backbone.source.name)
        # A head over a package's own weights is none for those that the hub has of the same model.
        other_weights = known is not None and known.converts and backbone.source.converted_from is None
        if head_path is None and not other_weights:
            blocks_alone = block_head_for(backbone.source.name, None, backbone)
        if head_path is None and blocks_alone is None and denoise is None:
            logger.warning(
                "no trained head for %s ships with glot-rag: vectors are the model's own (pooling '%s'), noise and "
                "all; denoise=Denoiser.from_pretrained() drops it from documents, denoise=False is content with them",
                f"{backbone.source.name}, with the hub's weights," if other_weights else backbone.source.name,
                pooling,
            )
    poolings = load_poolings(pooling, head_path, backbone, dimensions)
    if blocks_alone is not None:
        poolings = poolings._replace(denoise=True, block_head=blocks_alone)
    if as_saved:
        if saved.get("pooling_fingerprint") != pooling_fingerprint(poolings.documents):
            raise BundleError(
                f"{directory / HEAD} is not the head, or not the corpus statistics, that the encoder was saved with: "
                "make the encoder again and save it"
            )
        if saved["query_pooling"] == pooling:
            poolings = poolings._replace(queries=poolings.documents)
        else:
            poolings = poolings._replace(queries=BaselinePooling(saved["query_pooling"], backbone.state_size))
    if denoise is None and as_saved:
        denoise = _saved_denoiser(directory / DENOISER, backbone) if saved["denoiser"] else False
    own = backbone.settings.prompts
    where = (backbone.device, backbone.dtype)
    logger.info("loaded '%s' with pooling %s on %s in %s", backbone.source.name, pooling, *where)
    return Parts(
        backbone,
        poolings,
        str(saved.get("query_prompt", own.query)) if query_prompt is None else query_prompt,
        str(saved.get("document_prompt", own.document)) if document_prompt is None else document_prompt,
        denoiser_for(denoise, backbone, poolings),
    )


def load_poolings(pooling: str, head: Path | None, backbone: Backbone, dimensions: int | None = None) -> Poolings:
    """Load the poolings that belong to a name.

    Args:
        pooling: one of `glot_rag.head.config.POOLINGS`.
        head: the directory of a trained head; None for a pooling without parameters (`find_head`).
        backbone: the frozen transformer.
        dimensions: of the vectors, for a pooling without parameters; None is what the model's files say.

    Raises:
        BundleError: the head is damaged, of another kind, or was trained over another backbone.
        InputError: dimensions that are not 1 to D, or that are given for a trained head.
        UnsupportedError: a pooling without parameters, for a model whose vectors take more than that.
    """
    if head is None:
        fixed = fixed_pooling(pooling, backbone, dimensions)
        return Poolings(fixed, fixed, None)
    if dimensions is not None:
        raise InputError(f"dimensions= goes with a pooling without parameters; got {dimensions} for {pooling!r}")
    loaded = load_fitted_head(head)
    if loaded.head.name != pooling:
        raise BundleError(f"{head} holds a head for pooling {loaded.head.name!r}; {pooling!r} was asked for")
    check_trained_over(loaded.details, head, backbone)
    in_mean_space = loaded.head.config.mean_queries
    queries = BaselinePooling("mean", backbone.state_size) if in_mean_space else loaded.head
    block_head = block_head_for(backbone.source.name, head, backbone)
    return Poolings(loaded.head, queries, loaded.classifier, loaded.details.get("denoise") is True, block_head)


def denoiser_for(denoise: bool | Denoiser | None, backbone: Backbone, poolings: Poolings) -> Denoiser | None:
    """The denoiser that `denoise=` asks for.

    Raises:
        InputError: neither a boolean nor a denoiser.
        ModelNotFoundError: True for a pooling without a head, and none ships for the backbone.
    """
    if isinstance(denoise, Denoiser):
        return denoise
    if denoise not in (True, False, None):
        raise InputError(f"denoise must be True, False, None or a Denoiser; got {denoise!r:.80}")
    if denoise is False or (denoise is None and not poolings.denoise):
        return None
    block_head = poolings.block_head or block_head_for(backbone.source.name, None, backbone)
    if denoise is None:  # the pooling itself drops words, inside the backbone
        return None if block_head is None else TorchDenoiser(backbone, None, block_head=block_head)
    if not isinstance(poolings.documents, (GlotHead, AdaPool)):
        try:
            head = find_head(backbone.source.name, "glot", None)
        except ModelNotFoundError:
            if block_head is None:
                raise
            return TorchDenoiser(backbone, None, block_head=block_head)
        poolings = load_poolings("glot", head, backbone)
    assert isinstance(poolings.documents, (GlotHead, AdaPool))
    return TorchDenoiser(backbone, poolings.documents, poolings.classifier, block_head)


def _saved_denoiser(directory: Path, backbone: Backbone) -> Denoiser:
    return Denoiser.from_pretrained(directory) if is_exported(directory) else TorchDenoiser.load(directory, backbone)


def save_encoder(encoder: TorchEncoder, path: str | os.PathLike[str]) -> None:
    """Write an encoder into a directory: `GlotEncoder.save`.

    The backbone's own files are not copied: it is frozen, so its name and fingerprint are enough, and loading refuses
    any other.

    Raises:
        InputError: the directory holds something else, or queries have a trained pooling of their own.
    """
    directory = Path(path)
    documents, queries, denoiser = encoder.pooling, encoder.query_pooling, encoder.denoiser
    if queries is not documents and queries.name not in BASELINE_POOLINGS:
        raise InputError("a saved encoder holds one trained head: use it for queries, too, or a fixed pooling")
    if directory.exists() and not (directory / RECORD).is_file() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty and not a saved encoder: choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(documents, (GlotHead, AdaPool)):
        details = {
            "backbone": encoder.backbone.source.name,
            "backbone_fingerprint": encoder.backbone.fingerprint,
            "max_tokens": encoder.max_tokens,
            "denoise": denoiser is not None and not denoiser.drops_words,
        }
        save_fitted_head(documents, encoder.classifier, directory / HEAD, details)
    if denoiser is not None:
        denoiser.save(directory / DENOISER)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "backbone": encoder.backbone.source.name,
        "backbone_fingerprint": encoder.backbone.fingerprint,
        "pooling": documents.name,
        "pooling_fingerprint": pooling_fingerprint(documents),
        "query_pooling": queries.name,
        "dimensions": documents.output_size if isinstance(documents, BaselinePooling) else None,
        "max_tokens": encoder.max_tokens,
        "query_prompt": encoder.query_prompt,
        "document_prompt": encoder.document_prompt,
        "denoiser": denoiser is not None,
        "fingerprint": encoder.fingerprint,
    }
    # The record comes last: without it there is no encoder.
    write_atomically(directory / RECORD, json.dumps(record, indent=2).encode() + b"\n")


def _read_record(path: Path) -> dict[str, Any]:
    """The record that `save_encoder` wrote, every field that loading needs checked."""
    record = read_json_record(path, FORMAT, FORMAT_VERSION)
    kinds = {"backbone": str, "max_tokens": int, "query_prompt": str, "document_prompt": str, "denoiser": bool}
    wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    wrong += [key for key in ("pooling", "query_pooling") if record.get(key) not in POOLINGS]
    wrong += [] if isinstance(record.get("dimensions"), (int, type(None))) else ["dimensions"]
    if wrong:
        raise BundleError(f"{path} lacks {', '.join(wrong)}, or holds no such thing there: make the bundle again")
    return record
