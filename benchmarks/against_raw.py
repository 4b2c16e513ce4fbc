"""`GlotIndex` beside raw FAISS: each function measures one thing, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from index_data import (
    SHARES,
    Figures,
    Given,
    K,
    Vectors,
    alone,
    alternated,
    blocks,
    clocked,
    document,
    peak_mib,
    percentiles,
    query_text,
    recall,
    share_of,
)

from glot_rag.index import GlotIndex, index_types
from glot_rag.index.index_types import Plan
from glot_rag.index.options import Mode
from glot_rag.index.vectors.faiss_index import load_faiss, make

SINGLE = 300  # queries asked one by one
FILTERED = 50


def against_raw(folder: Path, index_type: str, rows: int, dimension: int, rounds: int) -> Iterator[tuple[str, Figures]]:
    """(what was measured, its figures) of one type, each as soon as it is known.

    Args:
        folder: Holds `vectors`, `queries` and the answers; takes the indexes.
        index_type: As for `GlotIndex.create`.
        rows: N.
        dimension: D.
        rounds: Of batches and openings.
    """
    plan = index_types.plan(index_type, dimension, rows)
    build = {
        "raw": alone(build_raw, folder, plan, rows, dimension),
        "glot": alone(build_glot, folder, index_type, rows, dimension),
    }
    size = sum(file.stat().st_size for file in (folder / "glot").iterdir())
    yield "build", {"factory": plan.factory, **build, "of_raw": build["glot"]["seconds"] / build["raw"]["seconds"]}
    yield "disk_mib", {"raw": (folder / "raw.faiss").stat().st_size / 2**20, "glot": size / 2**20}
    yield "open_s", alone(opening, folder, rounds)
    peaks = {which: alone(memory, folder, which) for which in ("raw", "glot", "mapped")}
    yield "peak_mib", peaks | ({"of_raw": peaks["glot"] / peaks["raw"]} if all(peaks.values()) else {})
    yield "search", alone(searching, folder, rounds)
    yield "filtered", alone(filtering, folder)
    yield "words", alone(by_words, folder)


def build_raw(folder: Path, plan: Plan, rows: int, dimension: int) -> Figures:
    """Training, adding and writing with FAISS alone."""
    faiss, before = load_faiss(), peak_mib()

    def build() -> None:
        index = make(plan.factory, dimension)
        if not index.is_trained:
            size = min(rows, plan.sample)
            chosen = np.sort(np.random.default_rng(0).choice(rows, size, replace=False))
            index.train(np.concatenate([part[_within(chosen, start, len(part))] for start, part in parts()]))
        for _, part in parts():
            index.add(part)
        faiss.write_index(index, str(folder / "raw.faiss"))

    def parts() -> Iterator[tuple[int, Vectors]]:
        return blocks(folder / "vectors", dimension, rows)

    return {"seconds": clocked(build), "peak_mib": _more(before)}


def build_glot(folder: Path, index_type: str, rows: int, dimension: int) -> Figures:
    """From no directory to a closed index."""
    load_faiss()
    before = peak_mib()

    def build() -> None:
        with GlotIndex.create(folder / "glot", Given(dimension), index_type) as index:
            for start, part in blocks(folder / "vectors", dimension, rows):
                index.add_vectors([document(start + i) for i in range(len(part))], part)

    return {"seconds": clocked(build), "peak_mib": _more(before)}


def opening(folder: Path, rounds: int) -> Figures:
    """Seconds until the first hit."""
    queries = np.load(folder / "queries.npy")

    def first_hit(check: bool | None = None, memory_map: bool = False) -> None:
        with GlotIndex.open(folder / "glot", read_only=True, check=check, memory_map=memory_map) as index:
            index.search_vectors(queries[:1], K)

    faiss = load_faiss()
    seconds = alternated(
        {
            "raw": lambda _: faiss.read_index(str(folder / "raw.faiss")).search(queries[:1], K),
            "glot": lambda _: first_hit(),
            "mapped": lambda _: first_hit(memory_map=True),
            "checked": lambda _: first_hit(check=True),
        },
        range(rounds),
    )
    return {name: float(np.median(values)) for name, values in seconds.items()}


def memory(folder: Path, which: str) -> float | None:
    """MiB that opening and searching take at most."""
    faiss, queries = load_faiss(), np.load(folder / "queries.npy")[:50]
    faiss.IndexFlatIP(queries.shape[1]).search(queries, K)  # threads and buffers that both have
    before = peak_mib()
    if which == "raw":
        raw = faiss.read_index(str(folder / "raw.faiss"))
        for query in queries:
            raw.search(query[None], K)
    else:
        mapped = which == "mapped"
        with GlotIndex.open(folder / "glot", read_only=True, memory_map=mapped) as index:
            for query in queries:
                index.search_vectors(query[None], K)
    return _more(before)


def searching(folder: Path, rounds: int) -> Figures:
    """Single queries and batches, with payloads on the one side."""
    queries, expected = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    raw = load_faiss().read_index(str(folder / "raw.faiss"))
    parameters = raw_parameters(raw)
    with GlotIndex.open(folder / "glot", read_only=True, check=False) as index:
        index.search_vectors(queries[:1], K)
        single = alternated(
            {
                "raw": lambda i: raw.search(queries[i : i + 1], K, params=parameters),
                "glot": lambda i: index.search_vectors(queries[i : i + 1], K),
            },
            range(min(len(queries), SINGLE)),
        )
        batch = alternated(
            {
                "raw": lambda _: raw.search(queries, K, params=parameters),
                "glot": lambda _: index.search_vectors(queries, K),
            },
            range(rounds),
        )
        found = [{int(hit.id[1:]) for hit in hits} for hits in index.search_vectors(queries, K)]
    found_raw = [set(row.tolist()) for row in raw.search(queries, K, params=parameters)[1]]
    each = {name: percentiles(values) for name, values in single.items()}
    more = np.array(single["glot"]) - np.array(single["raw"])
    return {
        "single": each,
        "single_overhead_p50_ms": 1000 * float(np.median(more)),
        "batch_queries_a_second": {name: len(queries) / float(np.median(values)) for name, values in batch.items()},
        "batch_of_raw": float(np.median(np.array(batch["raw"]) / np.array(batch["glot"]))),
        "recall_at_10": {"raw": recall(found_raw, expected), "glot": recall(found, expected)},
    }


def by_words(folder: Path) -> Figures:
    """Latency of searches by keywords and by both, each with payloads, beside those by vectors."""
    vectors = np.load(folder / "queries.npy")[:SINGLE]
    texts = [query_text(number) for number in range(len(vectors))]
    with GlotIndex.open(folder / "glot", read_only=True, check=False) as index:
        modes: tuple[Mode, ...] = ("vector", "keyword", "hybrid")
        for mode in modes:
            index.search_vectors(vectors[:1], K, texts=texts[:1], mode=mode)
        seconds = alternated(
            {
                mode: lambda i, mode=mode: index.search_vectors(  # type: ignore[misc]
                    vectors[i : i + 1], K, texts=texts[i : i + 1], mode=mode
                )
                for mode in modes
            },
            range(len(vectors)),
        )
    size = (folder / "glot" / "index.keywords").stat().st_size
    return {"keyword_file_mib": size / 2**20, **{mode: percentiles(values) for mode, values in seconds.items()}}


def filtering(folder: Path) -> Figures:
    """Latency and recall with filters; raw FAISS gets its row numbers for nothing."""
    faiss, queries = load_faiss(), np.load(folder / "queries.npy")[:FILTERED]
    raw = faiss.read_index(str(folder / "raw.faiss"))
    figures: Figures = {}
    with GlotIndex.open(folder / "glot", read_only=True, check=False) as index:
        for name, share in SHARES.items():
            rows = share_of(np.arange(raw.ntotal)) < share
            bits = np.packbits(rows, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters, filter = raw_parameters(raw, selector), {"share": {"$lt": share}}
            seconds = alternated(
                {
                    "raw": lambda i, p=parameters: raw.search(queries[i : i + 1], K, params=p),  # type: ignore[misc]
                    "glot": lambda i, f=filter: index.search_vectors(queries[i : i + 1], K, f),  # type: ignore[misc]
                },
                range(len(queries)),
            )
            found = [{int(hit.id[1:]) for hit in hits} for hits in index.search_vectors(queries, K, filter)]
            found_raw = [set(row.tolist()) - {-1} for row in raw.search(queries, K, params=parameters)[1]]
            expected = np.load(folder / f"truth-{share}.npy")
            figures[name] = {
                "documents": int(rows.sum()),
                **{name: percentiles(values) for name, values in seconds.items()},
                "first_ms": 1000 * seconds["glot"][0],  # what matches is looked up once, then it is known
                "recall_at_10": {"raw": recall(found_raw, expected), "glot": recall(found, expected)},
            }
    return figures


def raw_parameters(index: Any, selector: Any = None) -> Any:
    """The settings that a search of `GlotIndex` has by default."""
    faiss = load_faiss()
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=index_types.default_nprobe(index.nlist))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=128)
    return faiss.SearchParameters(sel=selector)


def _within(chosen: Any, start: int, size: int) -> Any:
    """Those of the chosen rows that are in a part, as places in it."""
    return chosen[(chosen >= start) & (chosen < start + size)] - start


def _more(before: float | None) -> float | None:
    after = peak_mib()
    return None if before is None or after is None else after - before
