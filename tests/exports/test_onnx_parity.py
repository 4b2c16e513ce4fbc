"""The certificate: what is measured at export, and that it can fail."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import Exported
from glot_onnx import ParityError, ParityReport, check_bundle
from glot_onnx.edges import compare_batches
from glot_onnx.parity import TOLERANCES, sample_texts

from glot_rag import OnnxEncoder
from glot_rag.models.backbone import Backbone


@pytest.mark.parametrize("name", ["shipped", "small", "decoder"])
def test_the_graph_gives_the_encoders_vectors(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name).report
    assert report.texts == 27
    assert report.max_difference < 1e-5
    assert report.min_cosine > 0.99999
    assert report.top10_overlap > 0.98
    assert abs(report.ndcg_lost) < 0.001
    assert report.edges > 100
    assert report.edges_flipped <= 2
    assert name != "shipped" or report.ndcg > 0.5  # the others are random


def test_check_repeats_the_certificate(
    small: Exported,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("glot_onnx.check_bundle", functools.partial(check_bundle, texts=5))
    assert command("export", "--check", small.path) == 0
    printed = capsys.readouterr().out
    assert f"{small.path}: {small.report.texts} texts, torch float32 against ONNX Runtime float32" in printed
    assert f"of {small.report.edges:,}" in printed


def test_check_measures_over_texts_of_ones_own(
    small: Exported, prose: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [text for _, text in prose if len(text.split()) >= 12][:3]
    compared: list[list[str]] = []
    encode = OnnxEncoder.encode_documents

    def watched(self: OnnxEncoder, texts: list[str]) -> object:
        compared.append(texts)
        return encode(self, texts)

    monkeypatch.setattr(OnnxEncoder, "encode_documents", watched)
    check_bundle(small.path, texts=5, documents=own)
    assert compared[0][-3:] == own
    assert len(compared[0]) == small.report.texts + 3


def test_another_graph_is_refused(small: Exported, tmp_path: Path) -> None:
    """The check must be able to fail: put a graph with other weights, and a checksum that fits, into the bundle."""
    forged = tmp_path / "forged"
    shutil.copytree(small.path, forged)
    model = onnx.load(forged / "model.onnx")
    for weight in model.graph.initializer:
        if len(weight.dims) == 2 and weight.data_type == onnx.TensorProto.FLOAT:
            weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(model, forged / "model.onnx")
    record = json.loads((forged / "onnx.json").read_text())
    record["sha256"]["model.onnx"] = hashlib.sha256((forged / "model.onnx").read_bytes()).hexdigest()
    (forged / "onnx.json").write_text(json.dumps(record))
    with pytest.raises(ParityError, match=r"the exported graph differs .*largest difference"):
        check_bundle(forged, texts=5)
    sequences = small.encoder.backbone.tokenizer(sample_texts())
    assert compare_batches(small.encoder, OnnxEncoder(forged), sequences).flipped > 10


GOOD = ParityReport(
    precision="float32",
    texts=1,
    max_difference=0.0,
    min_cosine=1.0,
    top10_overlap=1.0,
    ndcg=0.7,
    ndcg_lost=0.0,
    batch_difference=0.0,
    edges=10,
    edges_flipped=0,
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_difference": 2e-4}, "largest difference 2.00e-04, at most 0.0001"),
        ({"max_difference": float("nan")}, "largest difference nan"),
        ({"min_cosine": 0.9999}, "least cosine 0.9999000, at least 0.99999"),
        ({"batch_difference": 1e-3}, "alone against in a batch 1.00e-03"),
        ({"ndcg_lost": 0.006}, r"0.60 points of nDCG@10 lost, at most 0.5"),
        ({"precision": "int8", "min_cosine": 0.9899}, "least cosine 0.9899000, at least 0.99.* accept the loss"),
    ],
)
def test_each_figure_out_of_tolerance_is_refused(change: dict[str, object], told: str) -> None:
    GOOD.check()
    with pytest.raises(ParityError, match=told):
        replace(GOOD, **change).check()


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_a_smaller_precision_may_lose_a_little_over_enough_texts(precision: str) -> None:
    replace(GOOD, precision=precision, min_cosine=0.991, max_difference=0.02).check()
    assert TOLERANCES[precision].texts == 1000


def test_the_sample_has_every_length(minilm: Backbone) -> None:
    lengths = np.array([len(ids) for ids in minilm.tokenizer(sample_texts())])
    assert lengths.min() == 2
    assert lengths.max() == minilm.max_tokens
    assert np.diff(np.unique(lengths)).max() < 100
    assert sample_texts() == sample_texts()
