from pathlib import Path

import numpy as np
import pytest

from glot_rag import GlotEncoder, TorchEncoder
from glot_rag.errors import BundleError, InputError


def test_a_name_loads_through_torch_with_its_settings() -> None:
    encoder = GlotEncoder.from_pretrained(
        "minilm", pooling="mean", dtype="float32", device="cpu", query_prompt="query: "
    )
    assert isinstance(encoder, TorchEncoder)
    expected = TorchEncoder.from_pretrained("minilm", pooling="mean", dtype="float32", device="cpu")
    np.testing.assert_array_equal(encoder.encode_queries(["wings"]), expected.encode_queries(["query: wings"]))
    assert not encoder.embeds_alike
    assert expected.embeds_alike
    assert not TorchEncoder(expected.backbone, expected.pooling, document_prompt="passage: ").embeds_alike


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="backend must be one of torch, onnx, openvino; got 'tensorflow'"):
        GlotEncoder.from_pretrained(backend="tensorflow")
    with pytest.raises(InputError, match="settings built in; got pooling, prune: leave them out, or export one"):
        GlotEncoder.from_pretrained(tmp_path, backend="onnx", pooling="mean", prune=False)
    with pytest.raises(BundleError, match=r"onnx\.json"):
        GlotEncoder.from_pretrained(tmp_path, backend="onnx")
    (tmp_path / "onnx.json").write_text("{}")
    with pytest.raises(InputError, match="is an exported encoder, which ONNX Runtime runs: leave backend out"):
        GlotEncoder.from_pretrained(tmp_path, backend="torch")
    with pytest.raises(BundleError, match=r"onnx\.json"):
        GlotEncoder.from_pretrained(tmp_path)
