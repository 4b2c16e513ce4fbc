"""The types of index: what each one is for FAISS, how many documents it takes to train it, and which one `auto` is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

from glot_rag.errors import InputError
from glot_rag.index.lazy_faiss import load_faiss

NAMES = ("flat", "hnsw", "ivf", "sq8", "ivfpq", "auto")
FLAT = "Flat"
AUTO_HNSW = 100_000  # documents up to which an exact search takes some ten milliseconds
AUTO_IVF = 1_000_000  # documents from which building a graph takes hours
ROWS_PER_CENTROID = 39  # below, FAISS warns that clusters are poor
SAMPLE_PER_CENTROID = 256  # above, FAISS leaves rows out
MAX_FACTORY = 64
MAX_NUMBER = 1 << 20
MAX_BITS = 12
MIN_IVF = 1_000
MIN_SCALAR = 100

# What can be searched among chosen vectors only, which filters and deletions need.
_CLASSES = {
    "IndexFlat",
    "IndexFlatIP",
    "IndexScalarQuantizer",
    "IndexHNSWFlat",
    "IndexHNSWSQ",
    "IndexHNSWPQ",
    "IndexIVFFlat",
    "IndexIVFScalarQuantizer",
    "IndexIVFPQ",
    "IndexPreTransform",
}
_EXACT = {"IndexFlat", "IndexFlatIP", "IndexHNSWFlat", "IndexIVFFlat"}


@dataclass(frozen=True)
class Plan:
    """What to build for a number of documents.

    Attributes:
        factory: For FAISS's `index_factory`.
        reason: Why this one, in a sentence.
        missing: How many more documents it takes to train the type that was asked for; 0: it is the one in `factory`.
    """

    factory: str
    reason: str
    missing: int = 0


def check_type(index_type: object, dimension: int) -> str:
    """Give the name of a type as it is stored.

    Args:
        index_type: "flat", "hnsw", "ivf", "sq8", "ivfpq", "auto", or a string for FAISS's `index_factory`.
        dimension: D.

    Raises:
        InputError: Neither a name nor a string that FAISS understands for that D, or one of an index that cannot be
            searched with a filter.
    """
    if not isinstance(index_type, str):
        raise InputError(f"index_type must be a str, got {type(index_type).__name__}")
    name = index_type.lower().replace("-", "").replace("_", "")
    if name in NAMES:
        return name
    # FAISS would set aside memory for any number.
    if len(index_type) > MAX_FACTORY or any(int(number) > MAX_NUMBER for number in re.findall(r"\d+", index_type)):
        raise InputError(f"index_type {index_type[:80]!r} is too long or has a number above {MAX_NUMBER}")
    if any(int(bits) > MAX_BITS for bits in re.findall(r"x(\d+)", index_type)):
        raise InputError(f"index_type {index_type!r} asks for codes of more than {MAX_BITS} bits a part")
    try:
        built = make(index_type, dimension)
    except RuntimeError as error:
        known = ", ".join(map(repr, NAMES))
        raise InputError(
            f"index_type must be one of {known} or a string for FAISS's index_factory, got {index_type!r} for vectors "
            f"of {dimension} components ({_last_part(error)})"
        ) from None
    unknown = [name for name in map(_class_name, layers(built)) if name not in _CLASSES]
    if unknown:
        raise InputError(
            f"index_type {index_type!r} makes an {unknown[0]}, which cannot be searched with a filter or after a "
            "deletion here; parts that can: Flat, HNSW, IVF, SQ, IVF with PQ, and PCA, OPQ, RR or L2norm before them "
            "(results are ordered by the stored vectors anyway, so leave a refining part out)"
        )
    return index_type


def plan(index_type: str, dimension: int, rows: int) -> Plan:
    """What an index of a (checked) type is built as, for so many documents.

    A type that has to be trained is "flat", an exact search, until there are enough documents.
    """
    if index_type == "auto":
        return _plan_auto(dimension, rows)
    factory = _factory(index_type, dimension, rows)
    needed = rows_to_train(index_type, make(factory, dimension))
    if rows < needed:
        reason = f"{index_type} takes {needed:,} documents to train, there are {rows:,}; until then the search is exact"
        return Plan(FLAT, reason, needed - rows)
    return Plan(factory, f"{index_type} was asked for")


def _plan_auto(dimension: int, rows: int) -> Plan:
    if rows < AUTO_HNSW:
        return Plan(FLAT, f"auto: {rows:,} documents, under {AUTO_HNSW:,}: an exact search is fast enough")
    if rows < AUTO_IVF:
        factory = _factory("hnsw", dimension, rows)
        return Plan(factory, f"auto: {rows:,} documents, from {AUTO_HNSW:,} to {AUTO_IVF:,}: a graph, fast and precise")
    factory = _factory("ivf", dimension, rows)
    return Plan(factory, f"auto: {rows:,} documents, {AUTO_IVF:,} or more: lists, which are built in minutes")


def _factory(index_type: str, dimension: int, rows: int) -> str:
    # A power of two near 4·√N, so that it changes when the documents quadruple and not with each of them.
    lists = 2 ** max(4, round(log2(4 * sqrt(max(rows, 1)))))
    while lists > 16 and lists * ROWS_PER_CENTROID > rows:
        lists //= 2
    subquantizers = next(dimension // size for size in (4, 2, 3, 5, 7, 1) if dimension % size == 0)
    return {
        "flat": FLAT,
        "hnsw": "HNSW32",
        "ivf": f"IVF{lists},Flat",
        "sq8": "SQ8",
        "ivfpq": f"IVF{lists},PQ{subquantizers}",
    }.get(index_type, index_type)


def rows_to_train(index_type: str, index: Any) -> int:
    """How many documents it takes to train an index well; 0 if it needs no training."""
    if index.is_trained:
        return 0
    least: int = max(MIN_SCALAR, index.d, ROWS_PER_CENTROID * _centroids(index_type, index))
    return max(least, MIN_IVF) if index_type in ("ivf", "ivfpq") else least


def rows_to_sample(factory: str, index: Any) -> int:
    """How many documents are of use to its training."""
    return max(65_536, SAMPLE_PER_CENTROID * _centroids(factory, index))


def _centroids(factory: str, index: Any) -> int:
    innermost = layers(index)[-1]
    quantizer = getattr(_storage(innermost), "pq", None)
    # A rotation for product quantisation is trained with a quantiser of 256 centroids.
    rotation = 256 if factory.startswith("OPQ") else 0
    return max(int(getattr(innermost, "nlist", 0)), int(getattr(quantizer, "ksub", 0)), rotation)


def make(factory: str, dimension: int) -> Any:
    """An empty FAISS index over inner products."""
    faiss = load_faiss()
    return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)  # of its own class already


def layers(index: Any) -> list[Any]:
    """An index and, where it transforms vectors first, the one behind."""
    index = load_faiss().downcast_index(index)
    return [index, *layers(index.index)] if _class_name(index) == "IndexPreTransform" else [index]


def describe(index: Any) -> str:
    """The parts of an index: equal for two that were built alike."""
    parts = []
    for layer in layers(index):
        name = _class_name(layer).removeprefix("Index").replace("FlatIP", "Flat")
        details = []
        if hasattr(layer, "nlist"):
            details.append(f"{layer.nlist} lists")
        if hasattr(layer, "hnsw"):
            details.append(f"{layer.hnsw.nb_neighbors(1)} neighbours")
        if name not in ("Flat", "PreTransform"):
            details.append(f"{_storage(layer).sa_code_size()} bytes a vector")
        parts.append(f"{name} ({', '.join(details)})" if details else name)
    return " > ".join(parts)


def is_exact(index: Any) -> bool:
    """Whether it holds the vectors themselves, so that its scores are exact."""
    return all(_class_name(layer) in _EXACT for layer in layers(index))


def is_searchable(index: Any) -> bool:
    """Whether it can be searched among chosen vectors only."""
    return all(_class_name(layer) in _CLASSES for layer in layers(index))


def takes(index_type: str, part: str) -> bool:
    """Whether an index of a type can have a part, "ivf" or "hnsw", that a setting of a search is for."""
    return index_type == "auto" or re.search(part, index_type, re.IGNORECASE) is not None


def _storage(index: Any) -> Any:
    """What holds the vectors of a graph; for others the index itself."""
    return load_faiss().downcast_index(index.storage) if hasattr(index, "storage") else index


def _class_name(index: Any) -> str:
    return type(index).__name__


def _last_part(error: Exception) -> str:
    return re.sub(r"^Error in .* at [^ ]*: ", "", str(error).strip().splitlines()[-1])[:200]
