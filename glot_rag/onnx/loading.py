"""What `GlotEncoder.from_pretrained` loads for the backends "onnx" and "openvino": a bundle, or a model exported once.

Exporting takes a minute or two and torch; the bundle stays in the cache folder (`glot_rag.models.unpacking`), from
which it loads in about a second and without torch. Deleting it there loses nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

import glot_rag
from glot_rag.denoise.denoiser import Denoiser
from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.loading import SAVED_FORMAT, SAVED_RECORD, SAVED_VERSION, is_bundle
from glot_rag.errors import BundleError, CacheError, GlotError, InputError, MissingExtraError
from glot_rag.files import read_json_record
from glot_rag.fingerprint import fingerprint
from glot_rag.models.registry import PACKAGED, PRETRAINED, locate
from glot_rag.models.unpacking import cache_folder, file_sha256
from glot_rag.onnx.encoder import DENOISER, FORMAT_VERSION, OnnxEncoder
from glot_rag.onnx.runtimes import check_runtime, import_runtime

logger = logging.getLogger(__name__)

_MODEL_FILES = {".bin", ".gguf", ".json", ".model", ".safetensors", ".txt"}
_TEXTS = 20  # compared with torch after the export, beside made-up ones


def load(
    name_or_path: str | os.PathLike[str],
    backend: str,
    *,
    dtype: str | None = None,
    denoise: bool | Denoiser | None = None,
    **settings: object,
) -> OnnxEncoder:
    """Load a bundle, or export a model into the cache folder first, unless that was done before.

    Arguments and errors are those of `GlotEncoder.from_pretrained`.
    """
    runtime = "openvino" if backend == "openvino" else "onnxruntime"
    if os.fspath(name_or_path) in PACKAGED or not is_bundle(name_or_path):
        return _load_model(os.fspath(name_or_path), runtime, dtype, {**settings, "denoise": denoise})
    built_in = {**settings, **({} if backend == "openvino" else {"dtype": dtype})}
    if denoise is None or isinstance(denoise, bool):
        if denoise and not (Path(name_or_path) / DENOISER).is_dir():
            raise InputError(f"{name_or_path} was exported without a denoiser: export an encoder that has one")
    else:
        built_in["denoise"] = denoise
    if given := [name for name, value in built_in.items() if value is not None]:
        raise InputError(
            f"an exported encoder has its settings built in; got {', '.join(given)}: leave them out, or export one "
            f"with them (`glot-rag export`)"
        )
    return OnnxEncoder(name_or_path, denoise=denoise is not False, runtime=runtime, dtype=dtype)


def _load_model(name: str, runtime: str, dtype: str | None, settings: dict[str, Any]) -> OnnxEncoder:
    if settings.pop("device") not in (None, "cpu"):
        raise InputError("the backends 'onnx' and 'openvino' run on the CPU: leave device out, or use backend='torch'")
    check_runtime(runtime, None, dtype, computes_in="float32")
    import_runtime(runtime)
    # A model that is not on this machine is fetched by loading it; only then are its files there to be hashed.
    encoder = _torch_encoder(name, settings) if locate(name) is None else None
    folder = cache_folder() / "exported" / f"{Path(name).name}-{_key(name, settings)[:16]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if is_bundle(folder):
                try:
                    return OnnxEncoder(folder, runtime=runtime, dtype=dtype)
                except BundleError as error:
                    logger.warning("%s: exporting '%s' again", error, name)
            _export(encoder or _torch_encoder(name, settings), folder)
            return OnnxEncoder(folder, runtime=runtime, dtype=dtype)
    except GlotError:
        raise
    except OSError as error:
        raise CacheError(
            f"'{name}' cannot be exported to {folder} ({error.strerror or error}): make room there, or name another "
            f"folder in the environment variable GLOT_RAG_CACHE"
        ) from error


def _torch_encoder(name: str, settings: Mapping[str, Any]) -> GlotEncoder:
    try:
        # What exports is built on this library, so it is looked up only here.
        importlib.import_module("glot_onnx")
    except MissingExtraError as error:
        what = f"There is no exported encoder at '{name}', and exporting a model of that name"
        raise MissingExtraError(error.package, error.extra, what) from error
    return GlotEncoder.from_pretrained(name, backend="torch", device="cpu", dtype="float32", **settings)


def _export(encoder: GlotEncoder, folder: Path) -> None:
    logger.warning("exporting %r to %s, once: a minute or two", encoder, folder)
    importlib.import_module("glot_onnx").export_encoder(encoder, folder, texts=_TEXTS)


def _key(name: str, settings: Mapping[str, Any]) -> str:
    """Hash of what decides the bundle: the files of the model and of its heads, the settings, this version."""
    given = {key: value for key, value in settings.items() if value is not None}
    if isinstance(given.get("denoise"), Denoiser):
        given["denoise"] = given["denoise"].fingerprint
    if "head" in given:
        given["head"] = dict(_digests(Path(given["head"])))
    return fingerprint(
        {
            "version": glot_rag.__version__,
            "format_version": FORMAT_VERSION,
            "name": name,
            "settings": given,
            "model": _model(name),
        }
    )


def _model(name: str) -> object:
    """What tells the files of a model and of the heads that ship for it from others."""
    heads = [dict(_digests(folder)) for folder in sorted(PRETRAINED.glob(f"{name}*"))] if name in PACKAGED else []
    found, path = locate(name) or (None, None)
    if found == "package":  # has the SHA-256 that it must have, or is refused
        return {"files": PACKAGED[name].sha256, "heads": heads}
    backbone = None
    if path is not None and (path / SAVED_RECORD).is_file():
        backbone = _model(str(read_json_record(path / SAVED_RECORD, SAVED_FORMAT, SAVED_VERSION).get("backbone")))
    return {"files": None if path is None else dict(_digests(path)), "heads": heads, "backbone": backbone}


def _digests(path: Path) -> Iterator[tuple[str, str]]:
    files = [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.suffix in _MODEL_FILES]
    return ((each.relative_to(path).as_posix(), file_sha256(each)) for each in files if each.is_file())
