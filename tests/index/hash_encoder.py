"""A deterministic encoder without a model, for tests and for the processes that they start."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from glot_rag.files import write_atomically
from glot_rag.index import Document

DIMENSION = 16


class HashEncoder:
    """A text's vector is drawn from a generator seeded by the text's hash: unrelated texts are nearly orthogonal."""

    def __init__(self, dimension=DIMENSION, fingerprint="hash-encoder-1"):
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.encoded = []

    def encode_documents(self, texts, *, show_progress=False):
        self.encoded += texts
        return self.vectors(texts)

    def encode_queries(self, texts, *, show_progress=False):
        return self.vectors(texts)

    def vectors(self, texts):
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            row[:] = np.random.default_rng(seed).standard_normal(self.dimension)
            row /= np.linalg.norm(row)
        return rows


class SavingEncoder(HashEncoder):
    """Saves itself as an encoder does: into a directory of its own, in two files."""

    def save(self, path):
        os.makedirs(path, exist_ok=True)
        write_atomically(Path(path) / "head.bin", b"weights" * 100)
        write_atomically(Path(path) / "encoder.json", json.dumps({"fingerprint": self.fingerprint}).encode())


def assert_saved(path):
    """That all of a `SavingEncoder` is in a directory."""
    assert (path / "head.bin").read_bytes() == b"weights" * 100
    assert json.loads((path / "encoder.json").read_bytes()) == {"fingerprint": "hash-encoder-1"}
    assert len(list(path.iterdir())) == 2


def brute_force(encoder, documents, query, k, keep=lambda metadata: True):
    """What a search must give: [(id, score)], by NumPy over a list of documents."""
    kept = [document for document in documents if keep(document.metadata)]
    if not kept:
        return []
    scores = encoder.vectors([document.text for document in kept]) @ encoder.vectors([query])[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return [(kept[i].id, float(scores[i])) for i in order]


def corpus(size, prefix="text"):
    languages = ["en", "de", None, "fr"]
    return [
        Document(f"{prefix} {i}", f"d{i}", {"lang": languages[i % 4], "n": i, "even": i % 2 == 0}) for i in range(size)
    ]


def assert_same_hits(hits, expected):
    """Ids in order, scores to float32 rounding."""
    assert [hit.id for hit in hits] == [id for id, _ in expected]
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-6)
