"""A fitted encoder as one graph: corpus features are computed outside of it, without torch."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported import PROMPTS, Exported
from glot_onnx import check_bundle, export_encoder, export_head
from glot_onnx.serving import write_server_files

from glot_rag import GlotIndex, OnnxEncoder, TorchEncoder
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.errors import BundleError, GlotError, InputError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch

COUNTS, CLASSIFIER = "head/corpus_statistics.safetensors", "head/noise_classifier.safetensors"


@pytest.fixture(scope="module")
def unfitted(
    tiny: Callable[[str], Backbone],
    make_head: Callable[..., GlotHead | AdaPool],
    make_classifier: Callable[[int], NoiseClassifier],
) -> TorchEncoder:
    """A tiny encoder with a calibrated head that drops tokens after its first layer."""
    backbone = tiny("bert")
    head = make_head(state_size=32, layers=(1,), form="drop", readout="sigmoid", hidden_size=8)
    classifier = make_classifier(backbone.tokenizer.vocabulary_size)
    return TorchEncoder(backbone, head, query_pooling=BaselinePooling("mean", 32), classifier=classifier, **PROMPTS)


@pytest.fixture(scope="module")
def fitted(export: Callable[[str, TorchEncoder], Exported], unfitted: TorchEncoder, pages: list[str]) -> Exported:
    return export("fitted", unfitted.fit(pages))


@pytest.fixture(scope="module")
def shipped_fitted(export: Callable[[str, TorchEncoder], Exported], minilm: Backbone, pages: list[str]) -> Exported:
    """all-MiniLM-L6-v2 with the shipped head, fitted."""
    encoder = TorchEncoder(minilm, BaselinePooling("mean", 384), **PROMPTS).with_pooling("glot")
    return export("shipped-fitted", encoder.fit(pages))


@pytest.mark.parametrize("name", ["fitted", pytest.param("shipped_fitted", marks=pytest.mark.long)])
def test_the_bundle_gives_the_fitted_encoders_vectors(
    name: str, request: pytest.FixtureRequest, pages: list[str], mixed_texts: list[str]
) -> None:
    encoder, path, report = request.getfixturevalue(name)
    assert report.max_difference < 1e-5
    assert report.min_cosine > 0.99999
    exported = OnnxEncoder(path)
    texts = [*pages[3:9], *mixed_texts[:6], "tea", "", "word " * 400]
    documents = exported.encode_documents(texts)
    assert np.abs(documents - encoder.encode_documents(texts)).max() < 1e-5
    assert np.abs(exported.encode_queries(texts) - encoder.encode_queries(texts)).max() < 1e-5
    assert (exported.fingerprint, exported.dimension) == (encoder.fingerprint, encoder.dimension)
    # The corpus has a say: with other counts the vectors are others.
    assert np.abs(documents - encoder.fit(mixed_texts * 2).encode_documents(texts)).max() > 1e-3


def test_openvino_runs_it(fitted: Exported, pages: list[str]) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    exported = OnnxEncoder(fitted.path, runtime="openvino")
    theirs = fitted.encoder.encode_documents(pages), fitted.encoder.encode_queries(pages)
    for ours, expected in zip((exported.encode_documents(pages), exported.encode_queries(pages)), theirs, strict=True):
        assert (ours * expected).sum(axis=1).min() > 0.98


def test_the_graph_has_one_more_input(fitted: Exported, pages: list[str]) -> None:
    encoder, path, _ = fitted
    model = onnx.load(path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert model.graph.output[0].name == "sentence_embedding"
    shapes = {
        each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in model.graph.input
    }
    assert list(shapes) == ["input_ids", "attention_mask", "corpus_features"]
    assert shapes["corpus_features"] == ["batch", "seq", len(FEATURES)]
    assert {each.key: each.value for each in model.metadata_props}["fingerprint"] == encoder.fingerprint
    # It is the features that are weighed, and the noise that is found is that of the torch encoder.
    session = onnxruntime.InferenceSession(path / "model.onnx")
    (ids,) = encoder.backbone.tokenizer([encoder.document_prompt + pages[3]])
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), np.bool_))
    feed = OnnxEncoder(path).feed(batch)
    (noise,) = session.run(["noise_probability"], feed)
    expected = [token.noise for token in encoder.explain(pages[3]).tokens]
    np.testing.assert_allclose(noise[0], expected, atol=1e-5)
    (other,) = session.run(["noise_probability"], {**feed, "corpus_features": feed["corpus_features"] * 0})
    assert np.abs(other - noise).max() > 1e-2


def test_check_repeats_the_certificate(
    fitted: Exported,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("glot_onnx.check_bundle", functools.partial(check_bundle, texts=5))
    assert command("export", "--check", fitted.path) == 0
    assert f"{fitted.path}: {fitted.report.texts} texts, torch float32 against ONNX" in capsys.readouterr().out


def forged(fitted: Exported, folder: Path, name: str, data: bytes | None) -> Path:
    """A copy of the bundle with another file in it, None for none, and a checksum that fits."""
    shutil.copytree(fitted.path, folder)
    record = json.loads((folder / "onnx.json").read_text())
    if data is None:
        del record["sha256"][name]
    else:
        (folder / name).write_bytes(data)
        record["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / "onnx.json").write_text(json.dumps(record))
    return folder


def test_files_that_do_not_belong_to_it_are_refused(
    fitted: Exported, unfitted: TorchEncoder, pages: list[str], tmp_path: Path
) -> None:
    unfitted.fit(pages[:55]).save(tmp_path / "other")
    counts = (tmp_path / "other" / COUNTS).read_bytes()
    (tmp_path / "damaged").mkdir()
    shutil.copytree(fitted.path, tmp_path / "damaged", dirs_exist_ok=True)
    for name in (COUNTS, CLASSIFIER):
        before = (tmp_path / "damaged" / name).read_bytes()
        (tmp_path / "damaged" / name).write_bytes(before[:-1] + b"\x07")
        with pytest.raises(BundleError, match=r"safetensors has SHA-256 .* it is damaged"):
            OnnxEncoder(tmp_path / "damaged")
        (tmp_path / "damaged" / name).unlink()
        with pytest.raises(BundleError, match="cannot be read"):
            OnnxEncoder(tmp_path / "damaged")
        (tmp_path / "damaged" / name).write_bytes(before)
    with pytest.raises(BundleError, match=r"lacks head/corpus_statistics\.safetensors: export the encoder again"):
        OnnxEncoder(forged(fitted, tmp_path / "no-counts", COUNTS, None))
    with pytest.raises(BundleError, match="is not a noise classifier"):
        OnnxEncoder(forged(fitted, tmp_path / "no-classifier", CLASSIFIER, b"{}"))
    # Other counts of the right kind: told by the check, which knows what the head was saved with.
    OnnxEncoder(forged(fitted, tmp_path / "other-counts", COUNTS, counts))
    with pytest.raises(BundleError, match="were not saved with its head"):
        check_bundle(tmp_path / "other-counts", texts=5)


def test_other_features_are_refused(fitted: Exported, tmp_path: Path) -> None:
    """As those of a bundle that another version of this library exported."""
    shutil.copytree(fitted.path, tmp_path / "other")
    record = json.loads((tmp_path / "other" / "onnx.json").read_text())
    assert record["corpus_features"] == list(FEATURES)
    (tmp_path / "other" / "onnx.json").write_text(json.dumps({**record, "corpus_features": ["age", "burst"]}))
    with pytest.raises(BundleError, match=r"takes the corpus features \['age', 'burst'\], this glot-rag computes"):
        OnnxEncoder(tmp_path / "other")


def test_without_torch_it_indexes_and_searches(fitted: Exported, unfitted: TorchEncoder, tmp_path: Path) -> None:
    encoder, path, _ = fitted
    note = "The kettle boils water in two minutes. Accept all cookies"
    (tmp_path / "note.txt").write_text(note)
    index = str(tmp_path / "index")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'torch_geometric', 'onnx'): sys.modules[name] = None\n"
        "from glot_rag.cli.app import main\n"
        "def run(*arguments):\n"
        "    sys.argv = ['glot-rag', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        f"run('index', {str(tmp_path / 'note.txt')!r}, '--out', {index!r}, '--backbone', {str(path)!r})\n"
        f"run('search', {index!r}, 'hot water', '--json')\n"  # with the copy in the index
        f"run('search', {index!r}, 'hot water', '--json', '--encoder', {str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(note) == 2
    assert OnnxEncoder(tmp_path / "index" / "encoder").fingerprint == encoder.fingerprint
    with GlotIndex.open(index, encoder=encoder, read_only=True) as opened:  # torch serves it, too
        (hit,) = opened.search("hot water", k=1)
    expected = encoder.encode_queries(["hot water"])[0] @ encoder.encode_documents([note])[0]
    assert hit.score == pytest.approx(expected, abs=1e-5)
    with pytest.raises(GlotError, match=f"made by encoder '{encoder.fingerprint}', the one in hand is"):
        GlotIndex.open(index, encoder=unfitted)


def test_a_saved_encoder_is_exported_by_its_path(
    fitted: Exported,
    pages: list[str],
    command: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = fitted.encoder
    encoder.save(tmp_path / "mine")
    out = tmp_path / "bundle"
    # It is the same encoder as that of the bundle, whose graph saves tracing it again.
    quick = functools.partial(export_encoder, texts=5, accept_loss=True, graph_of=fitted.path)
    monkeypatch.setattr("glot_onnx.export_encoder", quick)
    assert command("export", "--backbone", tmp_path / "mine", "--out", out, "--precision", "int8") == 0
    exported = OnnxEncoder(out)
    assert exported.precision == "int8"
    assert exported.record["source"]["fingerprint"] == encoder.fingerprint
    assert exported.document_prompt == PROMPTS["document_prompt"]
    cosines = (exported.encode_documents(pages[:4]) * encoder.encode_documents(pages[:4])).sum(1)
    assert cosines.min() > 0.9


def test_what_has_no_place_for_corpus_features(
    fitted: Exported, make_head: Callable[..., GlotHead | AdaPool], tmp_path: Path
) -> None:
    encoder, path, _ = fitted
    assert isinstance(encoder.pooling, GlotHead)
    with pytest.raises(InputError, match="feed a graph ids and mask only"):
        write_server_files(encoder, tmp_path)
    assert not (path / "config.json").exists()
    with pytest.raises(InputError, match="a head alone sees no token ids"):
        export_head(encoder.pooling, tmp_path / "head.onnx")
    plain = make_head(state_size=32, layers=(1,), form="drop", hidden_size=8)
    with pytest.raises(InputError, match="queries have a fitted head of their own"):
        export_encoder(TorchEncoder(encoder.backbone, plain, query_pooling=encoder.pooling), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
