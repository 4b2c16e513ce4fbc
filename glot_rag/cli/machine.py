"""What this machine has for computing vectors, and how fast each installed runtime multiplies matrices on it."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

logger = logging.getLogger(__name__)

# What matrix products use, by the names of /proc/cpuinfo: x86 first, then ARM.
INSTRUCTIONS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "BF16": {"avx512_bf16", "amx_bf16", "bf16"},
    "AMX": {"amx_tile"},
    "dot product": {"asimddp"},
    "int8 products": {"i8mm"},
    "SVE": {"sve"},
}
_ON_ARM = ("BF16", "dot product", "int8 products", "SVE")
_ROWS, _IN, _OUT = 1024, 384, 1536  # a feed-forward layer of all-MiniLM-L6-v2 over four texts of 256 tokens
# An ONNX graph, opset 17: w = Expand(1.0, [384, 1536]), computed once, when it is loaded; y = MatMul(x, w). As bytes,
# since the package that writes such graphs need not be installed.
_PRODUCT = (
    b'\x08\x08\x12\x00:u\n\x11\n\x01v\n\x01s\x12\x01w"\x06Expand\n\x11\n\x01x\n\x01w\x12\x01y"\x06MatMul\x12\x01g*\r\x08\x02\x10\x07:'
    b'\x04\x80\x03\x80\x0cB\x01s*\r\x08\x01\x10\x01"\x04\x00\x00\x80?B\x01vZ\x15\n\x01x\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x08\x80\x08\n\x03\x08'
    b"\x80\x03b\x15\n\x01y\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x08\x80\x08\n\x03\x08\x80\x0cB\x04\n\x00\x10\x11"
)


class Speed(NamedTuple):
    """How fast a runtime multiplies matrices.

    Attributes:
        runtime: its name.
        dtype: what it computes in.
        gflops: 10^9 operations a second in one thread, or on the whole GPU.
    """

    runtime: str
    dtype: str
    gflops: float


def processor() -> str:
    """The name of the processor."""
    for line in _cpuinfo():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instructions() -> dict[str, bool] | None:
    """Which of the instructions that matrix products use this processor has; None where the system does not say."""
    flags = next((set(line.split()) for line in _cpuinfo() if line.startswith(("flags", "Features"))), None)
    if flags is None:
        return None
    arm = "asimd" in flags
    return {
        name: bool(flags & any_of)
        for name, any_of in INSTRUCTIONS.items()
        if (name in _ON_ARM if arm else name not in _ON_ARM or name == "BF16")
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return []


def usable_cores() -> float:
    """Cores that this process may use: a container is often allowed fewer than the machine has."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _quota(Path("/sys/fs/cgroup")))


def _quota(root: Path) -> float:
    """Cores that the control group allows (version 2, then version 1); infinite without a limit."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            numbers = " ".join((root / name).read_text(encoding="ascii") for name in names).split()
            if numbers[0] not in ("max", "-1"):
                return int(numbers[0]) / int(numbers[1])
        except (OSError, ValueError, IndexError):
            continue
    return float("inf")


def memory() -> float | None:
    """Bytes of memory of the machine; None where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def busy() -> float | None:
    """How many processes wanted a core in the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def measure() -> Iterator[Speed]:
    """How fast each installed runtime multiplies matrices: 1024 x 384 by 384 x 1536, the fastest of eight, one thread.

    A runtime that cannot be loaded is left out, with a line in the log.
    """
    for package, runs in (("torch", _torch), ("onnxruntime", _onnxruntime), ("openvino", _openvino)):
        if importlib.util.find_spec(package) is None:
            continue
        try:
            for dtype, run in runs():
                yield Speed(package, dtype, 2 * _ROWS * _IN * _OUT / _fastest(run) / 1e9)
        except Exception as error:
            logger.warning("%s is installed, but cannot be used: %s", package, error)


def _fastest(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one prepares


def _torch() -> Iterator[tuple[str, Callable[[], Any]]]:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            states, weight = torch.ones(_ROWS, _IN, dtype=dtype), torch.ones(_OUT, _IN, dtype=dtype)
            states, weight = states.to(device), weight.to(device)

            def run(states: torch.Tensor = states, weight: torch.Tensor = weight) -> None:
                with torch.inference_mode():
                    torch.nn.functional.linear(states, weight)
                if device.type == "cuda":
                    torch.cuda.synchronize()

            yield str(dtype).removeprefix("torch."), run
    finally:
        torch.set_num_threads(threads)


def _onnxruntime() -> Iterator[tuple[str, Callable[[], Any]]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PRODUCT, options, providers=["CPUExecutionProvider"])
    states = np.ones((_ROWS, _IN), np.float32)
    yield "float32", partial(session.run, None, {"x": states})


def _openvino() -> Iterator[tuple[str, Callable[[], Any]]]:
    import openvino
    from openvino import opset13

    core = openvino.Core()
    states = np.ones((_ROWS, _IN), np.float32)
    given = opset13.parameter(states.shape, np.float32)
    product = opset13.matmul(given, opset13.constant(np.ones((_IN, _OUT), np.float32)), False, False)
    hints = {"float32": "f32"}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints["bfloat16"] = "bf16"
    for dtype, hint in hints.items():
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(openvino.Model([product], [given]), "CPU", options).create_infer_request()
        yield dtype, partial(request.infer, [states])
