"""What runs an exported graph: ONNX Runtime, or OpenVINO, which embeds many texts faster."""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glot_rag.checks import choose
from glot_rag.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from typing_extensions import Self

RUNTIMES = ("onnxruntime", "openvino")
DTYPES = ("float32", "bfloat16")  # what OpenVINO computes in, whatever the weights are stored in
_HINTS = {"float32": "f32", "bfloat16": "bf16"}

Feed = Mapping[str, NDArray[Any]]
Values = NDArray[np.float32]


class GraphRuntime(Protocol):
    """A loaded graph. Calls are safe between threads.

    Attributes:
        inputs: their names.
        outputs: their names.
        dtype: what matrix products are computed in, but for a choice of tokens.
    """

    inputs: list[str]
    outputs: list[str]
    dtype: str

    def run(self, outputs: Sequence[str], feeds: Iterable[Feed], count: int) -> Iterator[tuple[Values, ...]]:
        """Some outputs for each feed, in order.

        Args:
            outputs: their names.
            feeds: input name -> array; taken as they are needed.
            count: how many there are.
        """


def check_runtime(runtime: str, threads: int | None, dtype: str | None, *, computes_in: str) -> None:
    """Refuse settings that no runtime takes.

    Args:
        runtime: "onnxruntime" or "openvino".
        threads: to compute with; None leaves it to the runtime.
        dtype: "float32" or "bfloat16", for OpenVINO; None leaves it to the runtime.
        computes_in: what ONNX Runtime computes in, whatever is asked for.

    Raises:
        InputError: threads below 1, an unknown runtime or dtype, a dtype for ONNX Runtime.
    """
    choose("runtime", runtime, RUNTIMES)
    if dtype is not None:
        choose("dtype", dtype, DTYPES)
        if runtime != "openvino":
            raise InputError(f"ONNX Runtime computes in {computes_in}: leave dtype out, or use OpenVINO")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1; got {threads}")


def import_runtime(runtime: str) -> Any:
    """The runtime's module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(runtime)
    except ImportError as error:
        raise MissingExtraError(error.name or runtime, "openvino" if runtime == "openvino" else "onnx") from error


def load_graph(
    runtime: str, model: bytes, threads: int | None, dtype: str | None = None, choice: Collection[str] = ()
) -> GraphRuntime:
    """Load a graph.

    Args:
        runtime: one of `RUNTIMES`.
        model: an ONNX file's content.
        threads: to compute with; None leaves it to the runtime.
        dtype: of OpenVINO's arithmetic, one of `DTYPES`; None is the faster one, or float32 for a graph that lacks
            `choice`. ONNX Runtime's is in the graph.
        choice: names of the outputs in which a head chooses tokens. They are computed in float32, whatever the dtype,
            and what depends on all of them is computed from there.

    Raises:
        MissingExtraError: the runtime is not installed.
        Exception: the runtime's own, where it cannot load the graph.
    """
    if runtime == "openvino":
        return _OpenVino(model, threads, dtype, choice)
    return _OnnxRuntime(model, threads)


class _Session:
    """What a library has loaded, which it cannot copy. Calls do not change it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _OnnxRuntime(_Session):
    dtype = "float32"  # halves are for storage (`glot_onnx.precision`)

    def __init__(self, model: bytes, threads: int | None) -> None:
        onnxruntime = import_runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads is not None:
            options.intra_op_num_threads = threads
        self._only = onnxruntime.RunOptions()  # what an output does not need is not run
        self._only.only_execute_path_to_fetches = True
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [each.name for each in self._session.get_inputs()]
        self.outputs = [each.name for each in self._session.get_outputs()]

    def run(self, outputs: Sequence[str], feeds: Iterable[Feed], count: int) -> Iterator[tuple[Values, ...]]:
        for feed in feeds:
            yield tuple(self._session.run(list(outputs), dict(feed), self._only))


class _OpenVino(_Session):
    """Several batches at a time, a thread each."""

    def __init__(self, model: bytes, threads: int | None, dtype: str | None, choice: Collection[str]) -> None:
        self._openvino = openvino = import_runtime("openvino")
        self._core = openvino.Core()
        self._model = self._core.read_model(model)
        self.inputs = [each.get_any_name() for each in self._model.inputs]
        self.outputs = [each.get_any_name() for each in self._model.outputs]
        complete = set(choice) <= set(self.outputs)
        self.dtype = dtype or ("bfloat16" if complete and _faster_in_bfloat16() else "float32")
        self._choice = choice if complete and self.dtype == "bfloat16" else ()
        self._options: dict[str, Any] = {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
        self._compiled: dict[tuple[tuple[str, ...], str], list[_Stage]] = {}
        self._lock = threading.Lock()

    def run(self, outputs: Sequence[str], feeds: Iterable[Feed], count: int) -> Iterator[tuple[Values, ...]]:
        with self._lock:
            key = tuple(outputs), "LATENCY" if count == 1 else "THROUGHPUT"
            if key not in self._compiled:
                self._compiled[key] = self._stages(*key)
            stages = self._compiled[key]
        # One more than can run, and as many again waiting: batches take different times.
        lanes = min(count, 2 * stages[0].model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        free: SimpleQueue[list[Any]] = SimpleQueue()
        for _ in range(lanes):
            free.put([stage.model.create_infer_request() for stage in stages])

        def infer(feed: Feed) -> tuple[Values, ...]:
            requests, values = free.get(), dict(feed)
            for stage, request in zip(stages, requests, strict=True):
                request.infer({name: values[name] for name in stage.inputs})
                found = zip(stage.outputs, request.output_tensors, strict=True)
                values |= {name: tensor.data.copy() for name, tensor in found}
            free.put(requests)
            return tuple(values[name] for name in outputs)

        running: deque[Future[tuple[Values, ...]]] = deque()
        with ThreadPoolExecutor(max(1, lanes)) as pool:
            for feed in feeds:
                if len(running) == lanes:
                    yield running.popleft().result()
                running.append(pool.submit(infer, feed))
            while running:
                yield running.popleft().result()

    def _stages(self, outputs: tuple[str, ...], hint: str) -> list[_Stage]:
        """What computes some outputs, and nothing that they do not need: a query does not run the documents' branch."""
        upper, chosen = self._model.clone() if self._choice else self._model, {}
        for name in self._choice:
            source = upper.output(name).get_node().input(0).get_source_output()
            given = self._openvino.opset13.parameter(source.get_partial_shape(), source.get_element_type())
            given.output(0).set_names({name})
            source.replace(given.output(0))
            chosen[given.get_friendly_name()] = given
        above = [name for name in outputs if chosen and chosen.keys() <= _below(upper.output(name))]
        if not above:
            return [self._stage(self._model, outputs, hint, self.dtype)]
        below = [*self._choice, *(name for name in outputs if name not in above)]
        lower = self._stage(self._model, below, hint, "float32")
        return [lower, self._stage(upper, above, hint, self.dtype, list(chosen.values()))]

    def _stage(
        self, model: Any, outputs: Sequence[str], hint: str, dtype: str, more_inputs: Sequence[Any] = ()
    ) -> _Stage:
        needed = _below(*map(model.output, outputs))
        inputs = [each for each in (*model.get_parameters(), *more_inputs) if each.get_friendly_name() in needed]
        part = self._openvino.Model([model.output(name) for name in outputs], inputs)
        options = {**self._options, "PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": _HINTS[dtype]}
        names = [each.output(0).get_any_name() for each in inputs]
        return _Stage(self._core.compile_model(part, "CPU", options), names, list(outputs))


class _Stage(NamedTuple):
    """A compiled part of a graph."""

    model: Any
    inputs: list[str]
    outputs: list[str]


def _below(*outputs: Any) -> set[str]:
    """The names of all nodes that some outputs of an OpenVINO model are computed from."""
    found: dict[str, Any] = {}
    waiting = [output.get_node() for output in outputs]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            waiting += [each.get_source_output().get_node() for each in node.inputs()]
    return set(found)


@cache
def _faster_in_bfloat16() -> bool:
    """Whether OpenVINO multiplies matrices faster in bfloat16 on this CPU, measured once a process as for torch.

    That the processor has the instructions does not say so (`glot_rag.models.devices`), and the libraries differ.
    """
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return False
    return 1.3 * _product_seconds("bfloat16") < _product_seconds("float32")


def _product_seconds(dtype: str) -> float:
    """Of a product as a small encoder's feed-forward layer has them, in one thread: the fastest of five."""
    import openvino
    from openvino import opset13

    states = np.ones((256, 384), np.float32)
    given = opset13.parameter(states.shape, np.float32)
    product = opset13.matmul(given, opset13.constant(np.ones((384, 1536), np.float32)), False, False)
    options = {"INFERENCE_PRECISION_HINT": _HINTS[dtype], "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(openvino.Model([product], [given]), "CPU", options)
    request = compiled.create_infer_request()
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        request.infer([states])
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one prepares
