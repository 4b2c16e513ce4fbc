"""Compares torch with ONNX Runtime batch by batch: the vectors, and the edges of the token graphs.

An edge is a comparison (cosine > tau), so a difference in the last digit can flip one, and a flipped edge changes the
vector by more than a digit. The exported graph does not give its edges; for the check they are made one of its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from glot_rag.encoder.encoding import pool_batch, unit
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.head import GlotHead
from glot_rag.models.tokenizer import TokenBatch
from glot_rag.onnx.encoder import DOCUMENTS, MODEL, OnnxEncoder

SIZES = (1, 2, 7, 16)  # texts a batch


class SideBySide(NamedTuple):
    """What torch and ONNX Runtime gave for the same batches.

    Attributes:
        difference: the largest absolute difference of a component of a document's vector.
        edges: token pairs that torch joins.
        flipped: token pairs that one joins and the other does not.
    """

    difference: float
    edges: int
    flipped: int


def compare_batches(encoder: TorchEncoder, exported: OnnxEncoder, sequences: Sequence[Sequence[int]]) -> SideBySide:
    """Run both over batches of several sizes, padded on the left and on the right.

    Args:
        encoder: the torch encoder that was exported.
        exported: the exported encoder.
        sequences: token ids; none empty.
    """
    pooling = encoder.pooling
    graph = onnx.load(exported.path / MODEL)
    threshold = pooling.config.threshold if isinstance(pooling, GlotHead) else None
    edges_output = None if threshold is None else _give_edges(graph, threshold)
    outputs = [DOCUMENTS] if edges_output is None else [DOCUMENTS, edges_output]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    difference, edges, flipped = 0.0, 0, 0
    for batch in padded(sequences, encoder.backbone.tokenizer.pad_id):
        vectors, *joined = session.run(outputs, exported.feed(batch))
        given, mask, pooled, *_ = pool_batch(encoder.backbone, {"": pooling}, batch)[""]
        with torch.inference_mode():
            expected = unit(pooled.vector).numpy()
            # fmax would pass over a NaN, and so would a comparison
            difference = float(np.maximum(difference, np.abs(vectors - expected).max()))
            if isinstance(pooling, GlotHead):
                real = batch.mask[:, :, None] & batch.mask[:, None, :] & ~np.eye(batch.ids.shape[1], dtype=np.bool_)
                ours = pooling.graph(given, mask).numpy() & real
                edges += int(ours.sum())
                flipped += int(((joined[0] & real) != ours).sum())
    return SideBySide(difference, edges, flipped)


def padded(sequences: Sequence[Sequence[int]], pad_id: int) -> Iterator[TokenBatch]:
    """Batches of `SIZES` texts in turn, of unlike lengths: each once padded on the right and once on the left."""
    start, turn = 0, 0
    while start < len(sequences):
        some = sequences[start : start + SIZES[turn % len(SIZES)]]
        start, turn = start + len(some), turn + 1
        length = max(map(len, some))
        for left in (False, True):
            ids = np.full((len(some), length), pad_id, np.int64)
            mask = np.zeros((len(some), length), np.bool_)
            for row, each in enumerate(some):
                place = slice(length - len(each), None) if left else slice(len(each))
                ids[row, place], mask[row, place] = each, True
            yield TokenBatch(np.arange(len(some)), ids, mask)


def _give_edges(model: onnx.ModelProto, threshold: float) -> str:
    """Make the comparison with tau, which decides the edges, an output of the graph. Returns its name."""
    constants = {each.name: each for each in model.graph.initializer if not each.dims}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
            constants[node.output[0]] = node.attribute[0].t
    found = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Greater"
        and (limit := constants.get(node.input[1])) is not None
        and numpy_helper.to_array(limit) == np.float32(threshold)
    ]
    assert len(found) == 1, f"expected one comparison with tau = {threshold} in the graph, found {found}"
    model.graph.output.append(helper.make_tensor_value_info(found[0], TensorProto.BOOL, ["batch", "seq", "seq"]))
    name: str = found[0]
    return name
