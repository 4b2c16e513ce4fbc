from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.evaluation import MemoryCollection, Report, Result
from glot_rag.evaluation.noise.generators import evaluation_words

DIMENSION = 512


def hashed(texts: Sequence[str], ignored: frozenset[str] = frozenset()) -> Vectors:
    """Word counts in hashed buckets, normalised: a backbone whose vectors can be worked out by hand."""
    vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            if word not in ignored:
                vectors[row, zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


class HashEncoder:
    """An `Embedder` that counts words and remembers what it was asked for.

    Args:
        ignored: words that it does not see.
        name: its fingerprint.
    """

    dimension = DIMENSION

    def __init__(self, ignored: frozenset[str] = frozenset(), name: str = "hash") -> None:
        self.ignored = ignored
        self.fingerprint = name
        self.asked: list[list[str]] = []

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        self.asked.append(list(texts))
        return hashed(texts, self.ignored)

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        return hashed(texts, self.ignored)


@pytest.fixture
def encoders() -> dict[str, HashEncoder]:
    """`mean` sees every word; `perfect` ignores exactly the evaluation's common words."""
    return {"mean": HashEncoder(), "perfect": HashEncoder(frozenset(evaluation_words()), "perfect")}


@pytest.fixture
def hasher() -> Callable[[Sequence[str]], Vectors]:
    return hashed


@pytest.fixture
def collection() -> MemoryCollection:
    """40 documents of 40 invented words of their own and some shared ones; each query has 6 of a document's words."""
    documents = {}
    queries = {}
    for i in range(40):
        own = [f"w{i}x{j}" for j in range(30)]
        shared = [f"s{(i + j) % 7}" for j in range(10)]
        documents[f"d{i:02}"] = " ".join(word for j in range(10) for word in (*own[3 * j : 3 * j + 3], shared[j]))
        queries[f"q{i:02}"] = " ".join([*own[:2], *shared[:4]])
    return MemoryCollection("toy", documents, queries, {f"q{i:02}": {f"d{i:02}": 1} for i in range(40)})


@pytest.fixture
def write_beir() -> Callable[[MemoryCollection, Path], Path]:
    """Writes a dataset as a folder in BEIR layout."""

    def write(collection: MemoryCollection, folder: Path) -> Path:
        (folder / "qrels").mkdir(parents=True)
        for name, texts in (("corpus", collection.documents), ("queries", collection.queries)):
            lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()]
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        grades = [
            f"{query}\t{key}\t{grade}\n" for query, each in collection.qrels.items() for key, grade in each.items()
        ]
        (folder / "qrels" / "test.tsv").write_text("".join(grades), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def report() -> Report:
    def result(pooling: str, noise: str, ratio: float, value: float, oracle: float, recovery: float | None) -> Result:
        return Result(pooling, noise, ratio, {"ndcg@10": value}, {"ndcg@10": oracle}, recovery)

    results = [
        result("mean", "none", 0.0, 0.396, 0.396, None),
        result("glot", "none", 0.0, 0.391, 0.396, None),
        result("mean", "words", 0.8, 0.20, 0.36, 0.0),
        result("glot", "words", 0.8, 0.32, 0.36, 0.75),
    ]
    return Report("toy", 0, results, max_words=170, k=100, documents=1398, queries=225)


@pytest.fixture(scope="session")
def data() -> Path:
    """The shared data folder; tests that need it are skipped where it is not there."""
    folder = Path(os.environ.get("GLOT_RAG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (folder / "retrieval" / "cranfield" / "corpus.jsonl").is_file():
        pytest.skip(f"no test collections in {folder} (set GLOT_RAG_DATA)")
    return folder
