"""An exported denoiser gives the torch denoiser's probabilities and texts, without torch."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from exported import PROMPTS, Exported
from glot_onnx import ParityError, export_denoiser
from glot_onnx.denoiser import DenoiserParity

from glot_rag import Denoiser, GlotEncoder, OnnxDenoiser, TorchDenoiser, TorchEncoder
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead
from glot_rag.models.backbone import Backbone

MENU = ["Home", "Products | Support | About us", "Sign in", "Accept all cookies", "Share on Facebook", "Read more »"]
FOOTER = ["© 2026 Example Ltd. All rights reserved.", "Privacy policy | Terms", "Subscribe to our newsletter"]


@pytest.fixture(scope="module")
def site(prose: list[tuple[str, str]]) -> list[str]:
    """Documentation between a menu and a footer, a line a paragraph: pages of one site."""
    texts = [text for _, text in prose[:60]]
    return ["\n".join([*MENU, *text.split(". "), f"Page {number}", *FOOTER]) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def flat(pages: list[str]) -> list[str]:
    """Texts without line breaks that have noise among their words."""
    return [" ".join(text.split())[:400] for text in pages[:52]]


@pytest.fixture(scope="module")
def denoiser(minilm: Backbone) -> TorchDenoiser:
    """The shipped heads over all-MiniLM-L6-v2."""
    return cast(TorchDenoiser, Denoiser.from_pretrained("minilm", device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def bundle(denoiser: TorchDenoiser, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DenoiserParity]:
    path = tmp_path_factory.mktemp("exported") / "denoiser"
    return path, export_denoiser(denoiser, path)


@pytest.fixture(scope="module")
def fitted(denoiser: TorchDenoiser, site: list[str], flat: list[str]) -> TorchDenoiser:
    groups = ["site"] * len(site) + ["mail"] * len(flat)
    return cast(TorchDenoiser, denoiser.fit([*site, *flat], groups))


@pytest.fixture(scope="module")
def fitted_bundle(
    fitted: TorchDenoiser, bundle: tuple[Path, DenoiserParity], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("exported") / "fitted"
    report = export_denoiser(fitted, path, graphs_of=bundle[0])
    assert report.max_difference < 1e-5
    return path


def web_pages(count: int) -> list[str]:
    folder = Path(os.environ.get("GLOT_RAG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = folder / "pages" / "pages.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no web pages in {folder} (set GLOT_RAG_DATA)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        pages = [json.loads(line) for line in lines]
    held_out = [page["text"] for page in pages if zlib.crc32(page["host"].encode()) % 5 == 0]
    return [text for text in held_out if len(text) < 6_000][:count]


def same(ours: Denoiser, theirs: Denoiser, texts: list[str], groups: list[str] | None = None) -> None:
    """The same parts of every text are kept; probabilities differ in the last digits only."""
    for one, other in zip(ours.denoise(texts, groups), theirs.denoise(texts, groups), strict=True):
        assert one.spans == other.spans
        assert (one.text, one.kept) == (other.text, other.kept)
        np.testing.assert_allclose([b.noise for b in one.blocks], [b.noise for b in other.blocks], atol=1e-5)


def test_web_pages_are_kept_as_with_torch(denoiser: TorchDenoiser, bundle: tuple[Path, DenoiserParity]) -> None:
    path, report = bundle
    assert report.max_difference < 1e-5
    assert report.texts_changed == 0
    assert json.loads((path / "parity.json").read_text())["parts"] == report.parts > 2_000
    exported = Denoiser.from_pretrained(path)
    assert isinstance(exported, OnnxDenoiser)
    assert (exported.fingerprint, exported.fitted) == (denoiser.fingerprint, False)
    texts = web_pages(8)
    assert len(texts) == 8
    assert sum(found.kept < 0.9 for found in denoiser.denoise(texts)) >= 4  # there is something to drop
    same(exported, denoiser, texts)


def test_words_of_flat_texts_are_kept_as_with_torch(
    denoiser: TorchDenoiser, bundle: tuple[Path, DenoiserParity], flat: list[str], noisy: list[str]
) -> None:
    texts = [*flat[:8], *noisy, "tea", "", " \n ", "a\ud800b " * 9, "word " * 400]
    same(OnnxDenoiser(bundle[0]), denoiser, texts)


def test_openvino_runs_it(
    denoiser: TorchDenoiser, bundle: tuple[Path, DenoiserParity], site: list[str], flat: list[str]
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    same(OnnxDenoiser(bundle[0], runtime="openvino"), denoiser, [*site[:3], *flat[:3], "", "tea"])


def test_a_fitted_one_knows_what_recurs(
    denoiser: TorchDenoiser, fitted: TorchDenoiser, fitted_bundle: Path, site: list[str], flat: list[str]
) -> None:
    exported = OnnxDenoiser(fitted_bundle)
    assert exported.fitted
    assert exported.fingerprint == fitted.fingerprint != denoiser.fingerprint
    texts, groups = [*site[:6], *flat[:6]], ["site"] * 6 + ["mail"] * 6
    same(exported, fitted, texts, groups)
    same(exported, fitted, texts)
    unfitted = denoiser.denoise(texts, groups)
    assert any(one.spans != other.spans for one, other in zip(exported.denoise(texts, groups), unfitted, strict=True))


def test_without_torch(fitted: TorchDenoiser, fitted_bundle: Path, site: list[str], tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(site[:3]))
    code = (
        "import json, sys\n"
        "for name in ('torch', 'transformers', 'torch_geometric', 'onnx'): sys.modules[name] = None\n"
        "from glot_rag import Denoiser\n"
        f"texts = json.load(open({str(tmp_path / 'texts.json')!r}))\n"
        f"denoiser = Denoiser.from_pretrained({str(fitted_bundle)!r})\n"
        f"denoiser.save({str(tmp_path / 'copy')!r})\n"
        "print(json.dumps([found.text for found in denoiser.denoise(texts, ['site'] * 3)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [found.text for found in fitted.denoise(site[:3], ["site"] * 3)]
    assert Denoiser.from_pretrained(tmp_path / "copy").fingerprint == fitted.fingerprint


def test_the_graphs(bundle: tuple[Path, DenoiserParity]) -> None:
    expected = {
        "states.onnx": ([["batch", "seq"]] * 2, ["layer_2"]),
        "words.onnx": ([["batch", "seq"]] * 3, ["scores", "fitted_scores"]),
        "blocks.onnx": ([["windows", "seq"]] * 2 + [["documents", "blocks"]] * 3, ["block_logits", "token_logits"]),
    }
    for name, (sizes, outputs) in expected.items():
        model = onnx.load(bundle[0] / name)
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} == {""}
        assert [[d.dim_param for d in each.type.tensor_type.shape.dim[:2]] for each in model.graph.input] == sizes
        assert [each.name for each in model.graph.output] == outputs


def test_a_threshold_of_ones_own(denoiser: TorchDenoiser, bundle: tuple[Path, DenoiserParity], tmp_path: Path) -> None:
    exported = Denoiser.from_pretrained(bundle[0], threshold=0.05)
    texts = web_pages(3)
    strict = [found.spans for found in Denoiser.from_pretrained(bundle[0], threshold=0.05).denoise(texts)]
    assert strict == [
        found.spans
        for found in TorchDenoiser(
            denoiser.backbone, denoiser.head, denoiser.classifier, denoiser.block_head, threshold=0.05
        ).denoise(texts)
    ]
    assert strict != [found.spans for found in denoiser.denoise(texts)]
    assert exported.fingerprint != denoiser.fingerprint
    with pytest.raises(InputError, match=r"the bundle has the threshold None, this denoiser 0\.05"):
        exported.save(tmp_path / "copy")


@pytest.fixture(scope="module")
def denoising(
    bundle: tuple[Path, DenoiserParity],
    tiny: Callable[[str], Backbone],
    make_head: Callable[..., GlotHead | AdaPool],
    export: Callable[[str, TorchEncoder], Exported],
) -> Exported:
    """A tiny encoder that denoises documents, by blocks and words, and reads up to 100 tokens at a time."""
    head = make_head(state_size=32, layers=(1,), form="drop", readout="sigmoid", hidden_size=8)
    mean = BaselinePooling("mean", 32)
    denoiser = OnnxDenoiser(bundle[0])
    return export("denoising", TorchEncoder(tiny("bert"), head, query_pooling=mean, denoiser=denoiser, **PROMPTS))


def test_an_encoder_takes_its_denoiser_along(denoising: Exported, site: list[str], tmp_path: Path) -> None:
    encoder, path, _ = denoising
    exported = GlotEncoder.from_pretrained(path)
    texts = [*site[:6], "tea", "", "word " * 400]
    assert max(len(ids) for ids in encoder.backbone.tokenizer.whole(texts)) > 300  # several windows
    vectors = exported.encode_documents(texts)
    assert np.abs(vectors - encoder.encode_documents(texts)).max() < 1e-5
    assert np.abs(exported.encode_queries(texts) - encoder.encode_queries(texts)).max() < 1e-5
    plain = TorchEncoder(encoder.backbone, encoder.query_pooling, whole=True, **PROMPTS)
    assert np.abs(vectors - plain.encode_documents(texts)).max() > 1e-2  # dropping has an effect
    assert exported.fingerprint == encoder.fingerprint
    assert exported.capabilities == {"denoise", "explain"}
    assert not exported.embeds_alike
    assert [each.spans for each in exported.denoise(texts)] == [each.spans for each in encoder.denoise(texts)]
    exported.save(tmp_path / "copy")
    assert np.array_equal(GlotEncoder.from_pretrained(tmp_path / "copy").encode_documents(texts[:2]), vectors[:2])
    without = GlotEncoder.from_pretrained(path, denoise=False)
    bare = encoder.with_pooling("glot", denoise=False)
    assert without.fingerprint == bare.fingerprint != exported.fingerprint
    assert np.abs(without.encode_documents(texts) - bare.encode_documents(texts)).max() < 1e-5
    without.save(tmp_path / "bare")
    assert GlotEncoder.from_pretrained(tmp_path / "bare").fingerprint == bare.fingerprint
    with pytest.raises(InputError, match="was exported without a denoiser: export an encoder that has one"):
        GlotEncoder.from_pretrained(tmp_path / "bare", denoise=True)
    with pytest.raises(InputError, match="has its settings built in; got denoise"):
        GlotEncoder.from_pretrained(path, denoise=OnnxDenoiser(path / "denoiser"))
    shutil.copytree(path, tmp_path / "other")
    other = changed(path / "denoiser", tmp_path / "denoiser", fingerprint="another")
    shutil.copyfile(other / "onnx_denoiser.json", tmp_path / "other" / "denoiser" / "onnx_denoiser.json")
    with pytest.raises(BundleError, match="denoiser was not exported with the encoder beside it"):
        GlotEncoder.from_pretrained(tmp_path / "other")


def changed(path: Path, folder: Path, **fields: Any) -> Path:
    """A copy of a bundle with other fields in its record; None takes one out."""
    shutil.copytree(path, folder)
    record = {**json.loads((folder / "onnx_denoiser.json").read_text()), **fields}
    kept = {name: value for name, value in record.items() if name not in fields or value is not None}
    (folder / "onnx_denoiser.json").write_text(json.dumps(kept))
    return folder


def test_what_is_refused(
    denoiser: TorchDenoiser, bundle: tuple[Path, DenoiserParity], fitted_bundle: Path, site: list[str], tmp_path: Path
) -> None:
    path = bundle[0]
    with pytest.raises(UnsupportedError, match="cannot be fitted: fit a denoiser with torch, and export that one"):
        OnnxDenoiser(path).fit(site)
    with pytest.raises(InputError, match="has its settings built in; got device, dtype: leave them out"):
        Denoiser.from_pretrained(path, device="cpu", dtype="float32")
    with pytest.raises(InputError, match="threshold must be a probability"):
        Denoiser.from_pretrained(path, threshold=1.5)
    with pytest.raises(InputError, match="ONNX Runtime computes in float32"):
        OnnxDenoiser(path, dtype="bfloat16")
    with pytest.raises(InputError, match="threads must be at least 1; got 0"):
        OnnxDenoiser(path, threads=0)
    with pytest.raises(UnsupportedError, match="only a denoiser that runs torch can be exported"):
        export_denoiser(OnnxDenoiser(path), tmp_path / "again")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match="is not empty and not an exported denoiser"):
        export_denoiser(denoiser, tmp_path / "mine")
    words_only = TorchDenoiser(denoiser.backbone, denoiser.head, denoiser.classifier)
    with pytest.raises(InputError, match="was exported from other heads or another backbone: leave graphs_of= out"):
        export_denoiser(words_only, tmp_path / "words", graphs_of=path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine"]
    with pytest.raises(BundleError, match="lacks max_tokens: export the denoiser again"):
        OnnxDenoiser(changed(path, tmp_path / "1", max_tokens=None))
    with pytest.raises(BundleError, match="lacks blocks: export the denoiser again"):
        OnnxDenoiser(changed(path, tmp_path / "2", blocks={"layer": "two"}))
    record = json.loads((path / "onnx_denoiser.json").read_text())
    inputs, sums = record["inputs"], {name: each for name, each in record["sha256"].items() if name != "words.onnx"}
    with pytest.raises(BundleError, match=r"take the layout \['words'\], this glot-rag computes"):
        OnnxDenoiser(changed(path, tmp_path / "3", inputs={**inputs, "layout": ["words"]}))
    with pytest.raises(BundleError, match=r"lacks words\.onnx"):
        OnnxDenoiser(changed(path, tmp_path / "4", sha256=sums))


@pytest.mark.parametrize(
    "name",
    ["blocks.onnx", "tokenizer.json", "saved/recurrence.safetensors", "saved/words/corpus_statistics.safetensors"],
)
def test_damaged_files_are_refused(fitted_bundle: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(fitted_bundle, tmp_path / "bundle")
    data = (tmp_path / "bundle" / name).read_bytes()
    (tmp_path / "bundle" / name).write_bytes(data[:-1] + b"\x07")
    with pytest.raises(BundleError, match=r"has SHA-256 .* it is damaged"):
        OnnxDenoiser(tmp_path / "bundle")
    record = json.loads((tmp_path / "bundle" / "onnx_denoiser.json").read_text())
    record["sha256"][name] = hashlib.sha256(b"junk").hexdigest()
    (tmp_path / "bundle" / name).write_bytes(b"junk")
    (tmp_path / "bundle" / "onnx_denoiser.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"cannot be loaded|is damaged|does not hold"):
        OnnxDenoiser(tmp_path / "bundle")


def test_a_difference_is_told() -> None:
    DenoiserParity(3, 10, 0.9e-4, 0).check()
    with pytest.raises(ParityError, match=r"a noise probability by 2\.00e-04, at most 0\.0001; 1 of 3 texts"):
        DenoiserParity(3, 10, 2e-4, 1).check()
    with pytest.raises(ParityError, match="by nan"):
        DenoiserParity(3, 10, float("nan"), 0).check()
