"""A bundle run by OpenVINO gives the same vectors, as far as its arithmetic goes: float32 or bfloat16."""

from __future__ import annotations

import copy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from exported import Exported

from glot_rag import GlotEncoder, OnnxEncoder
from glot_rag.embedder import Vectors
from glot_rag.errors import BundleError, InputError, MissingExtraError
from glot_rag.onnx import runtimes

pytest.importorskip("openvino", reason="OpenVINO is not installed")

TEXTS = ["tea", "a note on wings", "", "The kettle boils water in two minutes. " * 12, "\ud800 lone"]


def cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-2)
    return (ours * theirs).sum(axis=1)


@pytest.mark.parametrize(("dtype", "least", "least_noisy"), [("float32", 0.9999, 0.999), ("bfloat16", 0.999, 0.999)])
def test_the_vectors_are_the_encoders(
    dtype: str, least: float, least_noisy: float, shipped: Exported, prose: list[tuple[str, str]], noisy: list[str]
) -> None:
    encoder, path, _ = shipped
    exported = OnnxEncoder(path, runtime="openvino", threads=2, dtype=dtype)
    texts = [text for _, text in prose[:24]]
    # Every batch is a text: many of them run at once, and each has to come back to its place.
    documents = exported.encode_documents(texts, batch_tokens=1)
    assert cosines(documents, encoder.encode_documents(texts)).min() > least
    assert cosines(exported.encode_queries(texts), encoder.encode_queries(texts)).min() > 0.999
    # Of a noisy text, a token near the threshold may be dropped by one and kept by the other.
    assert cosines(exported.encode_documents(noisy), encoder.encode_documents(noisy)).min() > least_noisy
    assert exported.encode_documents([]).shape == (0, 384)
    assert (exported.fingerprint, exported.dimension) == (encoder.fingerprint, 384)
    assert f"runtime='openvino', dtype='{dtype}'" in repr(exported)


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (0.9, "float32"), (2.0, "float32")])
def test_bfloat16_is_chosen_where_it_is_faster(
    seconds: float, chosen: str, shipped: Exported, small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable = "BF16" in openvino_capabilities()
    monkeypatch.setattr(runtimes, "_product_seconds", {"bfloat16": seconds, "float32": 1.0}.__getitem__)
    runtimes._faster_in_bfloat16.cache_clear()
    mean = Path(shutil.copytree(small.path, tmp_path / "mean"))
    record = (mean / "onnx.json").read_text(encoding="utf-8")
    (mean / "onnx.json").write_text(record.replace('"pooling": "glot"', '"pooling": "mean"'), encoding="utf-8")
    try:
        assert OnnxEncoder(mean, runtime="openvino").dtype == (chosen if capable else "float32")
        assert OnnxEncoder(shipped.path, runtime="openvino").dtype == (chosen if capable else "float32")
        assert OnnxEncoder(small.path, runtime="openvino").dtype == "float32"  # no choice in its graph
    finally:
        runtimes._faster_in_bfloat16.cache_clear()


def test_the_tokens_that_are_dropped_are_chosen_in_float32(
    shipped: Exported, noisy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_faster_in_bfloat16", lambda: True)
    exact, chosen, half = (
        OnnxEncoder(shipped.path, runtime="openvino", dtype=dtype) for dtype in ("float32", None, "bfloat16")
    )
    expected, documents = exact.encode_documents(noisy), half.encode_documents(noisy)
    found = cosines(documents, expected)
    assert found.min() > 0.9999
    assert np.array_equal(chosen.encode_documents(noisy), documents)
    if "BF16" in openvino_capabilities():
        assert found.min() < 1 - 1e-6
        half._graph._choice = ()
        half._graph._compiled.clear()
        assert cosines(half.encode_documents(noisy), expected).min() < found.min()
    evidence, expected_evidence = chosen.explain(noisy[0]), exact.explain(noisy[0])
    assert [each.weight > 0 for each in evidence.tokens] == [each.weight > 0 for each in expected_evidence.tokens]


def openvino_capabilities() -> list[str]:
    import openvino

    return list(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_product_that_decides_is_one_that_is_run(dtype: str) -> None:
    assert 0 < runtimes._product_seconds(dtype) < 10


@pytest.mark.parametrize("name", ["small", "decoder"])
def test_any_text_and_any_backbone(name: str, request: pytest.FixtureRequest) -> None:
    encoder, path, _ = request.getfixturevalue(name)
    exported = GlotEncoder.from_pretrained(path, backend="openvino")
    assert isinstance(exported, OnnxEncoder)
    assert np.isfinite(exported.encode_documents(TEXTS)).all()
    assert cosines(exported.encode_queries(TEXTS), encoder.encode_queries(TEXTS)).min() > 0.99


def test_threads_share_one_encoder(small: Exported) -> None:
    exported = OnnxEncoder(small.path, runtime="openvino", threads=2)
    expected = exported.encode_documents(TEXTS, batch_tokens=1)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: exported.encode_documents(TEXTS, batch_tokens=1), range(12)):
            assert np.array_equal(found, expected)


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_a_deep_copy_runs_the_same_graph(small: Exported, runtime: str) -> None:
    exported = OnnxEncoder(small.path, runtime=runtime)
    assert np.array_equal(copy.deepcopy(exported).encode_documents(TEXTS), exported.encode_documents(TEXTS))


def test_what_cannot_be_run_is_refused(small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="runtime must be one of onnxruntime, openvino; got 'tensorrt'"):
        OnnxEncoder(small.path, runtime="tensorrt")
    with pytest.raises(InputError, match="dtype must be one of float32, bfloat16; got 'float16'"):
        GlotEncoder.from_pretrained(small.path, backend="openvino", dtype="float16")
    with pytest.raises(InputError, match="computes in what the bundle was exported in: leave dtype out"):
        OnnxEncoder(small.path, dtype="float32")
    with pytest.raises(BundleError, match="cannot be read"):
        OnnxEncoder(tmp_path, runtime="openvino")
    monkeypatch.setattr(OnnxEncoder, "precision", "int8")
    with pytest.raises(InputError, match="has int8 weights, which ONNX Runtime computes in: export it in float32"):
        OnnxEncoder(small.path, runtime="openvino")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'glot-rag\[openvino\]'"):
        OnnxEncoder(small.path, runtime="openvino")
