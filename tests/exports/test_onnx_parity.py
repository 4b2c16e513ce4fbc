"""The certificate: what is measured at export, and that it can fail."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import Exported
from glot_onnx import ParityError, ParityReport, check_bundle
from glot_onnx.parity import sample_texts

from glot_rag.backbone import Backbone
from glot_rag.cli import main


def test_the_graphs_give_the_encoders_vectors(shipped: Exported, dropping: Exported, small: Exported) -> None:
    for report in (shipped.report, dropping.report, small.report):
        assert report.texts > 30
        assert report.max_difference < 1e-5
        assert report.min_cosine > 0.99999
        assert report.top10_overlap > 0.99


def test_check_repeats_the_certificate(
    small: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["glot-rag", "export", "--check", str(small.path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert f"{small.path}: {small.report.texts} texts, torch float32 against" in capsys.readouterr().out


def test_another_graph_is_refused(small: Exported, tmp_path: Path) -> None:
    """The check must be able to fail: put a graph with other weights, and a checksum that fits, into the bundle."""
    forged = tmp_path / "forged"
    shutil.copytree(small.path, forged)
    model = onnx.load(forged / "model.onnx")
    for weight in model.graph.initializer:
        if len(weight.dims) == 2:
            weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(model, forged / "model.onnx")
    record = json.loads((forged / "onnx.json").read_text())
    record["sha256"]["model.onnx"] = hashlib.sha256((forged / "model.onnx").read_bytes()).hexdigest()
    (forged / "onnx.json").write_text(json.dumps(record))
    with pytest.raises(ParityError, match="the exported graph differs"):
        check_bundle(forged)


@pytest.mark.parametrize("change", [{"max_difference": 2e-4}, {"min_cosine": 0.9999}, {"batch_difference": 1e-3}])
def test_each_figure_out_of_tolerance_is_refused(change: dict[str, float]) -> None:
    good = {"texts": 1, "max_difference": 0.0, "min_cosine": 1.0, "top10_overlap": 1.0, "batch_difference": 0.0}
    ParityReport(**good).check()
    with pytest.raises(ParityError):
        ParityReport(**(good | change)).check()
    with pytest.raises(ParityError):
        ParityReport(**(good | {"max_difference": float("nan")})).check()


def test_the_sample_has_every_length(minilm: Backbone) -> None:
    lengths = np.array([len(ids) for ids in minilm.tokenizer(sample_texts())])
    assert lengths.min() == 2
    assert lengths.max() == minilm.max_tokens
    assert np.diff(np.unique(lengths)).max() < 100
    assert sample_texts() == sample_texts()
