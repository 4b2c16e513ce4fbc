"""The types of index: what FAISS builds for each, how many documents it takes to train one, and which one "auto" is."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt

from glot_rag.checks import choose

NAMES = ("flat", "hnsw", "ivf", "sq8", "ivfpq", "auto")
FLAT = "Flat"
AUTO_HNSW = 100_000  # documents up to which an exact search takes some ten milliseconds
AUTO_IVF = 1_000_000  # documents from which building a graph takes hours
ROWS_PER_CENTROID = 39  # with fewer, FAISS warns that clusters are poor
SAMPLE_PER_CENTROID = 256  # of more, FAISS leaves rows out
MIN_SAMPLE = 65_536
MIN_IVF = 1_000
MIN_SQ8 = 100
PQ_BITS = 8  # of the code of one part of a vector
HNSW_NEIGHBOURS = 32


@dataclass(frozen=True)
class Plan:
    """What to build for a number of documents.

    Attributes:
        factory: The string for FAISS's `index_factory`.
        reason: Why this one, in a sentence.
        sample: How many documents to train it on.
        missing: How many more documents it takes to train the type that was asked for; 0: `factory` is that type.
    """

    factory: str
    reason: str
    sample: int = 0
    missing: int = 0


def check_type(index_type: object) -> str:
    """Give the name of a type as it is stored: "IVF-PQ" is "ivfpq".

    Raises:
        InputError: It is not one of `NAMES`.
    """
    if isinstance(index_type, str):
        name = index_type.lower().replace("-", "").replace("_", "")
        if name in NAMES:
            return name
    return choose("index_type", index_type, NAMES)


def plan(index_type: str, dimension: int, rows: int) -> Plan:
    """What an index of a (checked) type is built as, for so many documents.

    A type that has to be trained is "flat", an exact search, until there are enough documents.
    """
    if index_type == "auto":
        return _plan_auto(dimension, rows)
    factory, centroids, needed = _built_as(index_type, dimension, rows)
    if rows < needed:
        reason = f"{index_type} takes {needed:,} documents to train, there are {rows:,}; until then the search is exact"
        return Plan(FLAT, reason, missing=needed - rows)
    return Plan(factory, f"{index_type} was asked for", sample=max(MIN_SAMPLE, SAMPLE_PER_CENTROID * centroids))


def _plan_auto(dimension: int, rows: int) -> Plan:
    if rows < AUTO_HNSW:
        return Plan(FLAT, f"auto: {rows:,} documents, under {AUTO_HNSW:,}: an exact search is fast enough")
    if rows < AUTO_IVF:
        reason = f"auto: {rows:,} documents, from {AUTO_HNSW:,} to {AUTO_IVF:,}: a graph, fast and precise"
        return Plan(_built_as("hnsw", dimension, rows)[0], reason)
    reason = f"auto: {rows:,} documents, {AUTO_IVF:,} or more: lists, which are built in minutes"
    factory, centroids, _ = _built_as("ivf", dimension, rows)
    return Plan(factory, reason, sample=max(MIN_SAMPLE, SAMPLE_PER_CENTROID * centroids))


def _built_as(index_type: str, dimension: int, rows: int) -> tuple[str, int, int]:
    """FAISS's factory string, the number of centroids to train, and the documents that takes."""
    # A power of two near 4·√N, so that it changes when the documents quadruple and not with each of them.
    lists = 2 ** max(4, round(log2(4 * sqrt(max(rows, 1)))))
    while lists > 16 and lists * ROWS_PER_CENTROID > rows:
        lists //= 2
    if index_type == "hnsw":
        return f"HNSW{HNSW_NEIGHBOURS}", 0, 0
    if index_type == "sq8":
        return "SQ8", 0, max(MIN_SQ8, dimension)
    if index_type == "ivf":
        return f"IVF{lists},Flat", lists, max(MIN_IVF, dimension, ROWS_PER_CENTROID * lists)
    if index_type == "ivfpq":
        centroids = max(lists, 2**PQ_BITS)
        parts = next(dimension // size for size in (4, 2, 3, 5, 7, 1) if dimension % size == 0)
        return f"IVF{lists},PQ{parts}x{PQ_BITS}", centroids, max(MIN_IVF, dimension, ROWS_PER_CENTROID * centroids)
    return FLAT, 0, 0


def default_nprobe(lists: int) -> int:
    """How many of an index's lists a search looks into by itself: 0.97 of the ten nearest are in these.

    That is for vectors of texts and 1,024 lists (benchmarks/recall.py); with more lists, the share that it takes falls.

    >>> default_nprobe(16), default_nprobe(1024), default_nprobe(16_384)
    (16, 128, 512)
    """
    return min(lists, max(128, lists // 32))


def has_lists(index_type: str) -> bool:
    """Whether `nprobe` can mean something to an index of that type."""
    return index_type in ("ivf", "ivfpq", "auto")


def has_graph(index_type: str) -> bool:
    """Whether `ef_search` can mean something to an index of that type."""
    return index_type in ("hnsw", "auto")
