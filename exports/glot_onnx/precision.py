"""A float32 graph -> the same graph with smaller weights: half precision for storage, or int8 matrix products.

Written with ONNX's own operators alone, so that any runtime reads it.

**float16, bfloat16.** ONNX Runtime has no kernels for matrix products in either on x86 CPUs, so the weights are stored
in half precision and computed with in float32: half the file, the same speed, and rows that do not depend on the batch.

**int8.** Weights get a scale per column, once. Activations get a scale per row (token) as they come: the usual dynamic
quantisation takes one scale for the whole batch, which makes a text's vector depend on what it is batched with, and
lets one token's outlier coarsen all others. Only the backbone's matrix products with constant weights change, and its
embedding table; attention, normalisation and the head, whose token graph a small difference can flip, stay in float32.
Weights take 7 bits: CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
_HALVES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
_LEAST = 4_096  # values; smaller weights (biases, norms) are not worth a node
_WEIGHT_LEVELS, _ROW_LEVELS = 63, 127
_MIDDLE = 128
_TINY = 1e-12  # the scale of a row of zeros


def convert(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of a float32 graph in another precision.

    Args:
        model: as `glot_onnx.graphs` exports it.
        precision: of `PRECISIONS`.

    Returns:
        The graph, with the same inputs and outputs.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if precision != "float32":
        editor = _Editor(copy.graph)
        if precision == "int8":
            editor.turn()
            editor.each("MatMul", 1, editor.product)
            editor.each("Gather", 0, editor.rows)
        else:
            editor.halve(_HALVES[precision])
    return copy


def _of_head(node: onnx.NodeProto) -> bool:
    """Whether a pooling of `EncoderGraph` made the node: the exporter notes the modules that it went through."""
    scopes = next((each.value for each in node.metadata_props if each.key == "pkg.torch.onnx.name_scopes"), "")
    return any(f"'{pooling}'" in scopes for pooling in ("documents", "queries"))


class _Editor:
    """Replaces nodes of a graph in place; new nodes stand where the old one stood."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.weights = {
            each.name: each
            for each in graph.initializer
            if each.data_type == TensorProto.FLOAT and np.prod(each.dims) >= _LEAST
        }
        self.nodes: list[onnx.NodeProto] = []
        self.quantised: dict[str, tuple[str, str, str]] = {}  # activation -> its int8 form, row scales, leading sizes
        self.constants: set[str] = set()

    def turn(self) -> None:
        """Transpose weights once: a weight that two passes read keeps its Transpose node in the exported graph."""
        turned: dict[str, str] = {}
        for node in self.graph.node:
            weight = self.weights.get(node.input[0]) if node.op_type == "Transpose" else None
            if weight is not None and len(weight.dims) == 2:
                turned[node.output[0]] = self.constant(f"{weight.name}_turned", numpy_helper.to_array(weight).T)
        for node in self.graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = turned.get(name, name)
            if node.output and node.output[0] not in turned:
                self.nodes.append(node)
        made = set(turned.values())
        self.weights |= {each.name: each for each in self.graph.initializer if each.name in made}
        self.finish()

    def each(self, kind: str, place: int, replace: Callable[[onnx.NodeProto, NDArray[np.float32]], None]) -> None:
        """Call `replace` for the backbone's nodes of a kind whose input at a place is a matrix; keep the others."""
        old, self.nodes = list(self.graph.node), []
        for node in old:
            weight = self.weights.get(node.input[place]) if node.op_type == kind else None
            if weight is None or len(weight.dims) != 2 or _of_head(node):
                self.nodes.append(node)
            else:
                replace(node, numpy_helper.to_array(weight))
        self.finish()

    def product(self, node: onnx.NodeProto, weight: NDArray[np.float32]) -> None:
        """X @ W -> (rows of X in 8 bits @ columns of W in 7 bits) · row scales · column scales."""
        x, name, out = node.input[0], node.input[1], node.output[0]
        scales = np.maximum(np.abs(weight).max(axis=0), _TINY) / _WEIGHT_LEVELS
        levels = self.constant(f"{name}_int8", np.rint(weight / scales).astype(np.int8))
        columns = self.constant(f"{name}_scales", scales.astype(np.float32))
        rows, row_scales, leading = self.quantise(x, weight.shape[0])
        whole = self.add(
            "MatMulInteger", [rows, levels, self.constant("int8_middle", np.uint8(_MIDDLE))], f"{out}_whole"
        )
        real = self.add("Cast", [whole], f"{out}_real", to=TensorProto.FLOAT)
        scaled = self.add("Mul", [self.add("Mul", [real, row_scales], f"{out}_rows"), columns], f"{out}_flat")
        width = self.constant(f"int8_width_{weight.shape[1]}", np.array([weight.shape[1]], np.int64))
        self.add("Reshape", [scaled, self.add("Concat", [leading, width], f"{out}_shape", axis=0)], out)

    def rows(self, node: onnx.NodeProto, weight: NDArray[np.float32]) -> None:
        """Look rows up in a table of 8 bits with a scale for each row."""
        name, ids, out = node.input[0], node.input[1], node.output[0]
        scales = np.maximum(np.abs(weight).max(axis=1, keepdims=True), _TINY) / _ROW_LEVELS
        levels = self.constant(f"{name}_int8", np.rint(weight / scales).astype(np.int8))
        whole = self.add("Gather", [levels, ids], f"{out}_whole", axis=0)
        real = self.add("Cast", [whole], f"{out}_real", to=TensorProto.FLOAT)
        scale = self.add("Gather", [self.constant(f"{name}_scales", scales.astype(np.float32)), ids], f"{out}_scale")
        self.add("Mul", [real, scale], out)

    def quantise(self, x: str, size: int) -> tuple[str, str, str]:
        """(..., K) -> (N, K) uint8 around 128, its row scales (N, 1), and the leading sizes; once for all readers."""
        if x not in self.quantised:
            last = self.constant("int8_last", np.array([1], np.int64))
            flat = self.add(
                "Reshape", [x, self.constant(f"int8_flat_{size}", np.array([-1, size], np.int64))], f"{x}_flat"
            )
            low = self.add("Neg", [self.add("ReduceMin", [flat, last], f"{x}_low", keepdims=1)], f"{x}_depth")
            largest = self.add(
                "Max", [self.add("ReduceMax", [flat, last], f"{x}_high", keepdims=1), low], f"{x}_largest"
            )
            above_zero = self.add("Max", [largest, self.constant("int8_tiny", np.float32(_TINY))], f"{x}_above_zero")
            scales = self.add(
                "Mul", [above_zero, self.constant("int8_step", np.float32(1 / _ROW_LEVELS))], f"{x}_scales"
            )
            line = self.add(
                "Reshape", [scales, self.constant("int8_line", np.array([-1], np.int64))], f"{x}_scale_line"
            )
            count = self.add("Shape", [line], f"{x}_count")
            middle = self.add("Expand", [self.constant("int8_middle", np.uint8(_MIDDLE)), count], f"{x}_middle")
            levels = self.add("QuantizeLinear", [flat, line, middle], f"{x}_levels", axis=0)
            self.quantised[x] = levels, scales, self.add("Shape", [x], f"{x}_leading", start=0, end=-1)
        return self.quantised[x]

    def halve(self, kind: int) -> None:
        """Store the weights in half precision; a Cast, which the runtime folds as it loads, gives them their names."""
        casts = []
        for name, weight in self.weights.items():
            half = numpy_helper.to_array(weight).astype(helper.tensor_dtype_to_np_dtype(kind))
            casts.append(helper.make_node("Cast", [self.constant(f"{name}_half", half)], [name], to=TensorProto.FLOAT))
            self.graph.initializer.remove(weight)
        self.nodes = [*casts, *self.graph.node]
        self.finish()

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """An initialiser, made once a name."""
        if name not in self.constants:
            self.constants.add(name)
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node, after those before it."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def finish(self) -> None:
        """Put the nodes into the graph, and leave out the weights that nothing reads any more."""
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | {each.name for each in self.graph.output}
        for weight in [each for each in self.graph.initializer if each.name not in read]:
            self.graph.initializer.remove(weight)
