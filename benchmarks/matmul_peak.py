"""How fast this machine multiplies matrices, in the precisions that encoders compute in.

The peak is the best of many products of two square matrices, through the library that the encoders use: torch for
float32 and bfloat16, ONNX Runtime's MatMulInteger (uint8 by int8) for int8. A multiplication and an addition count as
two operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

SIZES = (512, 1024, 2048)


def matmul_peak(precision: str, threads: int, seconds: float = 2.0) -> float:
    """Operations a second: the best size's best product.

    Args:
        precision: "float32", "bfloat16" or "int8".
        threads: to compute with.
        seconds: to spend on each size; at least three products are made.
    """
    best = 0.0
    for size in SIZES:
        product = _int8(size, threads) if precision == "int8" else _torch(size, precision, threads)
        product()
        end, turns = time.perf_counter() + seconds, 0
        while turns < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            product()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
            turns += 1
    return best


def _torch(size: int, precision: str, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.randn(size, size, dtype=getattr(torch, precision)) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _int8(size: int, threads: int) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.integers(-63, 64, (size, size), np.int8), "weight")
    middle = numpy_helper.from_array(np.array(128, np.uint8), "middle")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "weight", "middle"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])],
        [weight, middle],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = rng.integers(0, 256, (size, size), np.uint8)
    return lambda: session.run(None, {"x": x})


def encoder_operations(lengths: list[int], layers: int, width: int, inner: int) -> float:
    """Of a BERT-like encoder over texts of so many tokens, padding not counted: its matrix products alone.

    A token costs 4 products of width x width (queries, keys, values, output) and 2 of width x inner a layer, and with
    every token of its text two dot products of the width (the attention).
    """
    each = 2 * (4 * width * width + 2 * width * inner)
    return float(sum(layers * (length * each + 4 * length * length * width) for length in lengths))
