"""Which device and dtype a model runs in."""

from __future__ import annotations

import time
from functools import cache

import torch

from glot_rag.errors import InputError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(device: str | None) -> torch.device:
    """The device that is asked for; None is CUDA where there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or this machine has none.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """The dtype that is asked for; None is the fastest that keeps the vectors: bfloat16 where it is faster.

    Raises:
        InputError: not one of float32, float16, bfloat16.
    """
    if dtype is not None:
        if dtype not in _DTYPES:
            raise InputError(f"dtype must be one of {', '.join(_DTYPES)} or None; got {dtype!r}")
        return _DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _faster_in_bfloat16() else torch.float32


@cache
def _faster_in_bfloat16() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16: measured once a process, in about 50 ms.

    Having the instructions is not enough: where a virtual machine hides the matrix tiles (AMX), float32 can be twice as
    fast. Where the two are close the answer is no, because float32 is exact.
    """
    # torch tells what the CPU has only by underscored names; where they are missing we stay in float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, probe, bool)() for probe in probes):
        return False
    return 1.3 * _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Seconds of one matrix product of the size of a small encoder's feed-forward layer: the fastest of five."""
    with torch.inference_mode():
        states, weight = torch.ones(1024, 384, dtype=dtype), torch.ones(1536, 384, dtype=dtype)
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.linear(states, weight)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one allocates
