"""A whole `SentenceTransformer`: from a `GlotEncoder`, or from a folder that one was saved in."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import import_from_string

from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.torch_encoder import as_torch
from glot_rag.errors import BundleError, InputError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead
from sentence_transformers_glot.pooling import GlotPooling
from sentence_transformers_glot.transformer import GlotTransformer

_BASELINES = {"mean": "mean", "max": "max", "cls": "cls", "last": "lasttoken"}
_OURS: dict[str, type[Module]] = {f"{cls.__module__}.{cls.__name__}": cls for cls in (GlotPooling, GlotTransformer)}


def from_encoder(encoder: GlotEncoder) -> SentenceTransformer:
    """The same backbone, pooling, prompts and limit as a `SentenceTransformer`, on the encoder's device and dtype.

    `encode_query` and `encode_document` give the encoder's `encode_queries` and `encode_documents`: in float32 the
    vectors differ by less than 1e-5, those of a fitted encoder (`GlotEncoder.fit`), too. The backbone is loaded
    again from its files and frozen: `model[0].model.requires_grad_(True)` lets it learn. A head in residual or paper
    form can be trained, too; a model with one in the drop form, as those that ship, cannot (see `GlotTransformer`).

    Args:
        encoder: `GlotEncoder.from_pretrained(...)`.

    Raises:
        InputError: the encoder denoises, cuts its vectors, has two poolings of which the queries' is not mean pooling,
            or its backbone is a GGUF file, which sentence-transformers does not read.
        UnsupportedError: the encoder does not run through torch.

    Example:
        >>> from glot_rag import GlotEncoder
        >>> model = from_encoder(GlotEncoder.from_pretrained(denoise=False))  # doctest: +SKIP
        >>> model.save("my-model")  # doctest: +SKIP
        >>> model = load("my-model")  # doctest: +SKIP
    """
    encoder = as_torch(encoder)
    backbone, pooling = encoder.backbone, encoder.pooling
    if encoder.denoiser is not None:
        raise InputError("an encoder that denoises reads a document in windows, which no module can: use denoise=False")
    expected = "mean" if isinstance(pooling, (GlotHead, AdaPool)) and pooling.config.mean_queries else pooling.name
    if encoder.query_pooling.name != expected:
        raise InputError(
            f"queries are pooled by {encoder.query_pooling.name!r}, documents by {pooling.name!r}: a model with this "
            f"pooling pools queries by {expected!r}"
        )
    if isinstance(pooling, BaselinePooling) and pooling.output_size < backbone.state_size:
        raise InputError(
            f"vectors are cut to {pooling.output_size} dimensions, which SentenceTransformer does only after it has "
            f"scaled them: leave dimensions= out and give truncate_dim= to encode"
        )
    if backbone.source.gguf_file:
        raise InputError(f"'{backbone.source.name}' is a GGUF file, which sentence-transformers does not read")
    options: dict[str, Any] = {"model_kwargs": {"dtype": backbone.dtype}, "max_seq_length": backbone.max_tokens}
    location = backbone.source.location
    transformer = Transformer
    modules: list[Module]
    if isinstance(pooling, (GlotHead, AdaPool)):
        # A copy: training the model must not change the encoder.
        head = type(pooling)(pooling.config)
        head.load_state_dict(pooling.state_dict())
        if pooling.adjustment is not None:
            head = head.with_adjustment(pooling.adjustment)
        if pooling.drops:
            modules = [
                GlotTransformer._over(location, head, {}, **options),
                Pooling(backbone.state_size, "mean"),
            ]
        else:
            modules = [transformer(location, **options), GlotPooling._over(head, {})]
    else:
        modules = [transformer(location, **options), Pooling(backbone.state_size, _BASELINES[pooling.name])]
    modules[0].model.requires_grad_(False)
    return SentenceTransformer(
        modules=[*modules, Normalize()],
        device=str(backbone.device),
        prompts={"query": encoder.query_prompt, "document": encoder.document_prompt},
    )


def load(path: str | os.PathLike[str], *, device: str | None = None, **kwargs: Any) -> SentenceTransformer:
    """Load a saved model that has a module of this package in it, without `trust_remote_code`.

    `SentenceTransformer(path)` refuses any class that is not its own, or, told to trust, runs the code that it finds.
    This takes the two classes of this package and those of sentence-transformers, and runs no code from the folder.

    Args:
        path: the folder that `model.save` wrote. For a hub id, give what `huggingface_hub.snapshot_download` returns.
        device: as `SentenceTransformer`.
        kwargs: for the modules, for example `model_kwargs={"dtype": "bfloat16"}`.

    Raises:
        BundleError: no saved model, a damaged one, or one that leads out of the folder.
        InputError: it needs a class from elsewhere, or trust_remote_code is given.
    """
    if "trust_remote_code" in kwargs:
        raise InputError("load() runs no code from the folder; for that use SentenceTransformer(path, ...)")
    folder = Path(path).resolve()
    entries = _read_json(folder / "modules.json")
    settings = _read_json(folder / "config_sentence_transformers.json")
    modules: Any = OrderedDict()  # under their names; the annotation of SentenceTransformer has lists only
    try:
        for entry in entries:
            if not (folder / entry["path"]).resolve().is_relative_to(folder):
                raise BundleError(f"{folder / 'modules.json'} leads out of the folder: {entry['path']!r}")
            modules[entry["name"]] = _module_class(entry["type"]).load(
                str(folder), subfolder=entry["path"], local_files_only=True, **kwargs
            )
        prompts, default, similarity = (
            settings.get(key) for key in ("prompts", "default_prompt_name", "similarity_fn_name")
        )
        truncate = settings.get("truncate_dim")
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder} is not a model that sentence-transformers saved: {error!r}") from error
    return SentenceTransformer(
        modules=modules,
        device=device,
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name=similarity,
        truncate_dim=truncate,
    )


def _module_class(name: str) -> Any:
    if name in _OURS:
        return _OURS[name]
    if name.startswith("sentence_transformers."):
        return import_from_string(name)
    raise InputError(
        f"the model needs the class {name!r}, which is neither of sentence-transformers nor of glot-rag: if you trust "
        "it, use SentenceTransformer(path, trust_remote_code=True)"
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}): not a model that sentence-transformers saved") from error
