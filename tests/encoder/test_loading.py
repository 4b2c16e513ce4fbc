"""`GlotEncoder.from_pretrained`: what it loads, and what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glot_rag import Denoiser, GlotEncoder, TorchEncoder
from glot_rag.denoise.denoiser import EXPORTED_RECORD
from glot_rag.encoder.loading import denoiser_of
from glot_rag.errors import BundleError, InputError
from glot_rag.models.backbone import Backbone


def test_a_name_loads_through_torch_with_its_settings() -> None:
    settings = {"pooling": "mean", "dtype": "float32", "device": "cpu"}
    encoder = GlotEncoder.from_pretrained("minilm", query_prompt="query: ", **settings)
    assert isinstance(encoder, TorchEncoder)
    assert encoder.backend == "torch"
    expected = TorchEncoder.from_pretrained("minilm", **settings)
    np.testing.assert_array_equal(encoder.encode_queries(["wings"]), expected.encode_queries(["query: wings"]))
    assert not encoder.embeds_alike
    assert expected.embeds_alike
    assert not TorchEncoder(expected.backbone, expected.pooling, document_prompt="passage: ").embeds_alike


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="backend must be one of torch, onnx, openvino; got 'tensorflow'"):
        GlotEncoder.from_pretrained(backend="tensorflow")
    (tmp_path / "onnx.json").write_text("{}")
    with pytest.raises(InputError, match="settings built in; got pooling: leave them out, or export one"):
        GlotEncoder.from_pretrained(tmp_path, backend="onnx", pooling="mean", denoise=False)
    with pytest.raises(InputError, match="is an exported encoder, which ONNX Runtime runs: leave backend out"):
        GlotEncoder.from_pretrained(tmp_path, backend="torch")
    with pytest.raises(BundleError, match=r"onnx\.json"):
        GlotEncoder.from_pretrained(tmp_path)


def test_denoise_is_a_choice_or_a_denoiser() -> None:
    with pytest.raises(InputError, match="denoise must be True, False, None or a Denoiser; got 'yes'"):
        GlotEncoder.from_pretrained("minilm", dtype="float32", denoise="yes")  # type: ignore[arg-type]
    denoiser = Denoiser.from_pretrained("minilm", dtype="float32")
    encoder = TorchEncoder.from_pretrained("minilm", pooling="mean", dtype="float32", denoise=denoiser)
    assert encoder.denoiser is denoiser


def test_the_base_class_loads_no_torch() -> None:
    code = "import sys, glot_rag; glot_rag.GlotEncoder; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_backbone_with_a_block_head_alone_denoises(
    e5: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    page = "Home\nNews\nSport\nThe stone bridge across the river is to be rebuilt, the city council decided on Tuesday."
    page += (
        "\nIts arches, built in 1871, can no longer carry lorries, engineers had warned.\nPrivacy policy\nTerms of use"
    )
    monkeypatch.setattr(Backbone, "load", lambda *_, **__: e5)
    encoder = GlotEncoder.from_pretrained("e5")
    (kept,) = encoder.denoise([page])
    assert "The stone bridge" in kept.text
    assert "Privacy" not in kept.text
    mean = TorchEncoder(e5, encoder.pooling, document_prompt="passage: ", whole=True)
    np.testing.assert_allclose(encoder.encode_documents([page]), mean.encode_documents([kept.text]), atol=1e-6)
    # The hub's weights of the same model are not those that the head was trained over.
    monkeypatch.setattr(e5, "source", replace(e5.source, converted_from=None))
    plain = GlotEncoder.from_pretrained("e5")
    assert plain.denoiser is None
    assert "no trained head for e5, with the hub's weights, ships" in caplog.text


def test_a_saved_encoder_has_the_denoiser_of_its_backbone(tmp_path: Path) -> None:
    for backbone, expected in (("e5", "e5"), ("smollm2", "minilm"), ("my/model", "minilm")):
        record = {"format": "glot-rag/encoder", "format_version": 1, "backbone": backbone}
        (tmp_path / "encoder.json").write_text(json.dumps(record))
        assert denoiser_of(tmp_path) == expected
    (tmp_path / "denoiser").mkdir()
    (tmp_path / "denoiser" / EXPORTED_RECORD).write_text("{}")
    assert denoiser_of(tmp_path) == str(tmp_path / "denoiser")
    assert denoiser_of(tmp_path / "nothing") == "minilm"
