"""What `index.py` measures with: vectors of a seeded mixture, payloads, the exact answers, clocks."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.index import Document
from glot_rag.index.vectors.faiss_index import load_faiss

Vectors = NDArray[np.float32]
Figures = dict[str, Any]
K = 10
CLUSTERS = 1_000
SPREAD = 0.8  # length of the noise around a centre, which has length 1
BLOCK = 20_000  # rows in memory at once
SHARES = {"50%": 5_000, "1%": 100, "0.01%": 1}  # of 10,000
WORDS, WORDS_A_TEXT, WORDS_A_QUERY = 100_000, 40, 5
# Word number n is drawn as often as 1/n, as in a language; queries leave out the most frequent ones, as people do.
_CHANCES = np.cumsum(1 / np.arange(1, WORDS + 1))
_FREQUENT = 50


class Given:
    """Stands for an encoder where all vectors are given."""

    fingerprint = "benchmark"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Not called."""
        raise NotImplementedError

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Not called."""
        raise NotImplementedError


def mixture(rows: int, dimension: int, seed: int, centres_seed: int = 0) -> Iterator[Vectors]:
    """Unit vectors around centres that all seeds share, (≤ BLOCK, D) at a time."""
    centres = np.random.default_rng(centres_seed).standard_normal((CLUSTERS, dimension), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    generator = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        part = generator.standard_normal((min(BLOCK, rows - start), dimension), dtype=np.float32)
        part *= np.float32(SPREAD / dimension**0.5)
        part += centres[generator.integers(0, CLUSTERS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        yield part


def save(file: Path, parts: Iterator[Vectors]) -> None:
    """Write vectors one after another, without a header."""
    with open(file, "wb") as stream:
        for part in parts:
            part.tofile(stream)


def blocks(file: Path, dimension: int, rows: int) -> Iterator[tuple[int, Vectors]]:
    """(first row, (≤ BLOCK, D) vectors) of the first `rows` in a file. Not mapped: mapped pages count as memory."""
    with open(file, "rb") as stream:
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            yield start, np.fromfile(stream, np.float32, size * dimension).reshape(size, dimension)


def share_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spreads row numbers over 0 … 9,999; the filters ask for it."""
    return rows * 7919 % 10_000


def words(seed: int, count: int, first: int = 0) -> str:
    """Words drawn as a language's are, from word number `first` on."""
    start = _CHANCES[first - 1] if first else 0.0
    drawn = np.random.default_rng(seed).uniform(start, _CHANCES[-1], count)
    return " ".join(f"w{number}" for number in np.searchsorted(_CHANCES, drawn).tolist())


def query_text(number: int) -> str:
    """Query number so and so."""
    return words(1 << 40 | number, WORDS_A_QUERY, _FREQUENT)


def document(number: int) -> Document:
    """Payload number so and so: a text of some two hundred characters, and metadata."""
    share = int(share_of(np.array(number)))
    return Document(f"passage {number}: {words(number, WORDS_A_TEXT)}", f"d{number}", {"share": share, "lang": "en"})


def truth(parts: Iterator[tuple[int, Vectors]], queries: Vectors, share: int = 10_000) -> NDArray[np.int64]:
    """(Q, K) row numbers of the nearest among those whose share is below `share`, exactly; -1 where there are fewer."""
    faiss = load_faiss()
    scores, best = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start, block in parts:
        rows = np.arange(start, start + len(block))
        kept = share_of(rows) < share
        if not kept.any():
            continue
        found, near = faiss.knn(queries, block[kept], min(K, int(kept.sum())), metric=faiss.METRIC_INNER_PRODUCT)
        scores, best = np.hstack([scores, found]), np.hstack([best, rows[kept][near]])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1)
    return np.pad(best, ((0, 0), (0, K - best.shape[1])), constant_values=-1)


def recall(found: list[set[int]], expected: NDArray[np.int64]) -> float:
    """Mean share of the nearest that were found."""
    wanted = [set(row.tolist()) - {-1} for row in expected]
    return float(np.mean([len(some & row) / len(row) for some, row in zip(found, wanted, strict=True) if row]))


# -- clocks


def percentiles(seconds: list[float]) -> Figures:
    """Of single calls, in milliseconds."""
    return {"p50_ms": 1000 * float(np.median(seconds)), "p99_ms": 1000 * float(np.quantile(seconds, 0.99))}


def clocked(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternated(calls: dict[str, Callable[[int], object]], numbers: range) -> dict[str, list[float]]:
    """Seconds of each call with each number, taking turns, so that other work on the machine disturbs all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in numbers:
        for name, call in calls.items():
            seconds[name].append(clocked(lambda call=call, number=number: call(number)))  # type: ignore[misc]
    return seconds


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Run in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mib() -> float | None:
    """Most memory that this process has had, where the system says."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
