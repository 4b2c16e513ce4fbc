"""Smaller weights: what is computed, what it costs, and that a loss is refused unless it is asked for."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported import Exported
from glot_onnx import ParityError, export_encoder
from glot_onnx.parity import TOLERANCES
from glot_onnx.precision import convert
from onnx import TensorProto, helper, numpy_helper

from glot_rag import OnnxEncoder, TorchEncoder
from glot_rag.errors import InputError
from glot_rag.head.readout import READOUT_SIZE


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_int8_products_are_what_they_say() -> None:
    """Rows in 8 bits with a scale each, columns in 7 bits with a scale each, by hand."""
    weight = rng().standard_normal((64, 96)).astype(np.float32) * np.linspace(0.1, 3, 96, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "seq", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "seq", 96])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(convert(model, "int8").SerializeToString())
    x = rng().standard_normal((3, 5, 64)).astype(np.float32) * np.linspace(0.01, 100, 15).reshape(3, 5, 1)
    x = x.astype(np.float32)
    x[1, 2] = 0
    (y,) = session.run(None, {"x": x})
    rows = np.maximum(np.abs(x).max(axis=-1, keepdims=True), 1e-12) / 127
    columns = np.abs(weight).max(axis=0) / 63
    expected = np.rint(x / rows) @ np.rint(weight / columns) * rows * columns
    # A value half way between two levels may go either way.
    assert np.abs(y - expected).max() <= (rows * 63 * columns).max() * 1.01
    assert np.mean(np.abs(y - expected) > 1e-4 * np.abs(expected).max()) < 0.01
    assert np.abs(y - x @ weight).max() < 0.03 * np.abs(x @ weight).max()
    for row in range(3):  # a text's values do not depend on what it is batched with
        np.testing.assert_array_equal(session.run(None, {"x": x[row : row + 1]})[0][0], y[row])


def test_the_head_stays_in_float32(shipped: Exported) -> None:
    model = convert(onnx.load(shipped.path / "model.onnx"), "int8")
    kept = {each.name: list(each.dims) for each in model.graph.initializer if each.data_type == TensorProto.FLOAT}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in kept]
    config = shipped.encoder.pooling.config  # type: ignore[union-attr]
    shapes = [kept[node.input[1]] for node in products]
    assert [config.input_size, config.hidden_size] in shapes
    assert [config.input_size + config.num_layers * config.hidden_size, READOUT_SIZE] in shapes
    # Six a layer, whether one pass reads them or both.
    assert len({node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"}) == 6 * 6


def converted(shipped: Exported, precision: str, folder: Path) -> OnnxEncoder:
    """The shipped bundle in another precision, without tracing the encoder again."""
    shutil.copytree(shipped.path, folder)
    onnx.save(convert(onnx.load(folder / "model.onnx"), precision), folder / "model.onnx")
    record = json.loads((folder / "onnx.json").read_text())
    record["sha256"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "onnx.json").write_text(json.dumps(record | {"precision": precision}))
    return OnnxEncoder(folder)


@pytest.mark.parametrize(
    ("precision", "least", "share"), [("float16", 0.998, 0.51), ("bfloat16", 0.98, 0.51), ("int8", 0.95, 0.29)]
)
def test_the_shipped_encoder(
    shipped: Exported, noisy: list[str], tmp_path: Path, precision: str, least: float, share: float
) -> None:
    """Smaller weights can flip an edge, and so drop a token that was kept; most texts stay as they are."""
    exported = converted(shipped, precision, tmp_path / precision)
    assert exported.precision == precision
    vectors = exported.encode_documents(noisy)
    cosines = (vectors * shipped.encoder.encode_documents(noisy)).sum(axis=1)
    assert least <= cosines.min() < 1 - 1e-7
    assert np.median(cosines) > 0.98
    alone = np.concatenate([exported.encode_documents([text]) for text in noisy])
    assert np.abs(alone - vectors).max() <= TOLERANCES[precision].batch_difference
    sizes = [(path / "model.onnx").stat().st_size for path in (exported.path, shipped.path)]
    assert sizes[0] < share * sizes[1]


def test_a_loss_is_refused_unless_it_is_asked_for(
    small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "bfloat16", replace(TOLERANCES["bfloat16"], min_cosine=1.0))
    path = tmp_path / "bundle"
    with pytest.raises(ParityError, match=r"\(bfloat16, 27 texts\): least cosine .*accept the loss by name"):
        export_encoder(small.encoder, path, precision="bfloat16", texts=5, graph_of=small.path)
    assert list(tmp_path.iterdir()) == []
    report = export_encoder(small.encoder, path, precision="bfloat16", texts=5, graph_of=small.path, accept_loss=True)
    assert report.min_cosine < 1.0
    exported = OnnxEncoder(path)
    assert exported.precision == "bfloat16"
    assert exported.fingerprint != small.encoder.fingerprint
    assert exported.record["source"]["fingerprint"] == small.encoder.fingerprint
    with pytest.raises(InputError, match="precision must be one of float32, float16, bfloat16, int8; got 'int4'"):
        export_encoder(small.encoder, path, precision="int4")


def test_a_graph_is_converted_instead_of_traced_again(
    small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def traced(*_: object) -> None:
        raise AssertionError("the encoder was traced again")

    monkeypatch.setattr("glot_onnx.bundle.export_graph", traced)
    export_encoder(small.encoder, tmp_path / "half", precision="float16", texts=5, graph_of=small.path)
    expected = convert(onnx.load(small.path / "model.onnx"), "float16")
    assert onnx.load(tmp_path / "half" / "model.onnx").graph == expected.graph
    assert OnnxEncoder(tmp_path / "half").precision == "float16"
    with pytest.raises(InputError, match=r"in float16; expected .* in float32: export that first"):
        export_encoder(small.encoder, tmp_path / "int8", precision="int8", graph_of=tmp_path / "half")
    other = TorchEncoder(small.encoder.backbone, small.encoder.pooling)
    with pytest.raises(InputError, match=f"expected {other.fingerprint} in float32"):
        export_encoder(other, tmp_path / "int8", precision="int8", graph_of=small.path)
    assert [path.name for path in tmp_path.iterdir()] == ["half"]
