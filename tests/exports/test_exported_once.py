"""A model that is loaded for ONNX Runtime or OpenVINO by its name: exported once, then loaded from the cache."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag import Denoiser, GlotEncoder, OnnxEncoder, TorchEncoder
from glot_rag.errors import CacheError, InputError, MissingExtraError, ModelNotFoundError
from glot_rag.head import GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.onnx import loading

TEXTS = ["tea", "a note on wings", "The kettle boils water in two minutes. " * 12]
SETTINGS: dict[str, Any] = {"pooling": "mean", "denoise": False, "query_prompt": "query: "}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of these tests: what one exports the next one finds."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("GLOT_RAG_CACHE", str(path))
        yield path / "exported"


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Backbone]) -> Path:
    return Path(tiny("bert").source.location)


def bundles(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_it_is_exported_once_and_then_needs_no_torch(model: Path, cache: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    expected = GlotEncoder.from_pretrained(model, dtype="float32", **SETTINGS)
    dtype = None if backend == "onnx" else "float32"
    encoder = GlotEncoder.from_pretrained(model, backend=backend, dtype=dtype, **SETTINGS)
    assert isinstance(encoder, OnnxEncoder)
    assert (encoder.backend, encoder.fingerprint) == (backend, expected.fingerprint)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected.encode_documents(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), expected.encode_queries(TEXTS), atol=1e-5)
    (bundle,) = bundles(cache)
    made = (bundle / "model.onnx").stat().st_mtime_ns
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from glot_rag import GlotEncoder\n"
        f"encoder = GlotEncoder.from_pretrained({str(model)!r}, backend={backend!r}, **{SETTINGS!r})\n"
        "print(encoder.fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (expected.fingerprint, "")
    assert bundles(cache) == [bundle]
    assert (bundle / "model.onnx").stat().st_mtime_ns == made


def test_a_damaged_bundle_is_made_again(model: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = GlotEncoder.from_pretrained(model, backend="onnx", **SETTINGS).encode_documents(TEXTS)
    (bundle,) = bundles(cache)
    with open(bundle / "model.onnx", "r+b") as file:
        file.truncate(1000)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        again = GlotEncoder.from_pretrained(model, backend="onnx", **SETTINGS)
    assert f"exporting '{model}' again" in caplog.text
    np.testing.assert_array_equal(again.encode_documents(TEXTS), expected)
    assert bundles(cache) == [bundle]


def test_other_files_and_other_settings_are_other_bundles(
    model: Path, make_head: Callable[..., GlotHead], tmp_path: Path, minilm: Backbone
) -> None:
    model = Path(shutil.copytree(model, tmp_path / "model"))
    keys = [loading._key(str(model), SETTINGS), loading._key(str(model), {**SETTINGS, "max_tokens": 50})]
    denoiser = Denoiser.from_pretrained(dtype="float32")
    keys += [loading._key(str(model), {"denoise": each}) for each in (denoiser, True)]
    backbone = Backbone.load(model, device="cpu", dtype="float32")
    for seed in (0, 1):
        head = make_head(seed, state_size=32, layers=(1, -1), hidden_size=8)
        TorchEncoder(backbone, head).save(tmp_path / "saved")
        keys.append(loading._key(str(tmp_path / "saved"), {}))
    config = model / "config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-06'))
    keys += [loading._key(str(model), SETTINGS), loading._key(str(tmp_path / "saved"), {})]
    assert len(set(keys)) == len(keys) == 8
    assert loading._key(str(model), {**SETTINGS, "head": None, "max_tokens": None}) == keys[-2]


def test_two_at_once_export_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SETTINGS, "max_tokens": 50}
    exported = []
    export = loading._export
    monkeypatch.setattr(loading, "_export", lambda *given: (exported.append(given), export(*given)))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: GlotEncoder.from_pretrained(model, backend="onnx", **settings), range(2)))
    assert len(exported) == 1
    assert both[0].fingerprint == both[1].fingerprint


def test_what_cannot_be_exported(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOT_RAG_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="run on the CPU: leave device out"):
        GlotEncoder.from_pretrained(model, backend="onnx", device="cuda")
    with pytest.raises(InputError, match="computes in float32: leave dtype out"):
        GlotEncoder.from_pretrained(model, backend="onnx", dtype="bfloat16")
    with pytest.raises(ModelNotFoundError, match=r"No model '\./nowhere/at/all' was found"):
        GlotEncoder.from_pretrained("./nowhere/at/all", backend="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"'onnxruntime'.*pip install 'glot-rag\[onnx\]'"):
        GlotEncoder.from_pretrained(model, backend="onnx", **SETTINGS)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    for name in ("glot_onnx", "onnxscript"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"no exported encoder at '.*bert'.*pip install 'glot-rag\[export\]'"):
        GlotEncoder.from_pretrained(model, backend="onnx", **SETTINGS)


def test_a_cache_that_cannot_be_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLOT_RAG_CACHE", os.fspath(tmp_path / "file"))
    with pytest.raises(CacheError, match="make room there, or name another folder in the environment variable"):
        GlotEncoder.from_pretrained(model, backend="onnx", **SETTINGS)
