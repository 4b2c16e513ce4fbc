"""A deterministic encoder without a model, for tests and for the processes that they start."""

import hashlib

import numpy as np

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
