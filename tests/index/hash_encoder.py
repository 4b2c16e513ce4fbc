"""A deterministic encoder without a model, and what searches must give, for tests and the processes that they start."""

import hashlib
import json
import math
import os
import re
from pathlib import Path

import numpy as np

from glot_rag.files import write_atomically
from glot_rag.index import Document, Fusion

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


def keyword_scores(documents, query):
    """[score], 0 for a document without a word of the query: BM25 by its formula.

    For texts whose words are neither stop words nor changed by stemming.
    """
    words = [re.findall(r"\w+", document.text.lower()) for document in documents]
    average = sum(map(len, words)) / max(len(words), 1)
    scores = [0.0] * len(words)
    for term in re.findall(r"\w+", query.lower()):
        having = sum(term in each for each in words)
        if having:
            weight = math.log(1 + (len(words) - having + 0.5) / (having + 0.5))
            for number, each in enumerate(words):
                count = each.count(term)
                scores[number] += weight * count / (count + 1.5 * (0.25 + 0.75 * len(each) / average))
    return scores


def assert_all_searches(index, documents, query, k, keep=lambda metadata: True, filter=None):
    """That searches by vectors, by keywords and by both give what brute force does, each document with its score.

    Documents may have equal scores, so what is compared is the scores in order, and each hit's own.
    """
    documents = list(documents)
    kept = [document for document in documents if keep(document.metadata)]
    near = dict(brute_force(HashEncoder(index.dimension), kept, query, len(kept)))
    scores = keyword_scores(documents, query)
    words = {d.id: score for d, score in zip(documents, scores, strict=True) if d.id in near}
    expected = {"vector": near, "keyword": {id: score for id, score in words.items() if score > 0}}
    fusion = Fusion()
    if len(near) <= fusion.depth:  # then every document gets both scores
        least, best = min(near.values(), default=0), max(near.values(), default=0)
        most = max((words[id] for id in near), default=0)
        expected["hybrid"] = {
            id: fusion.weight * (near[id] - least) / (best - least or 1) + (1 - fusion.weight) * words[id] / (most or 1)
            for id in near
        }
    texts = {document.id: document.text for document in documents}
    for mode, by_id in expected.items():
        hits = index.search(query, k, filter, mode=mode)
        wanted = sorted(by_id.values(), reverse=True)[:k]
        np.testing.assert_allclose([hit.score for hit in hits], wanted, atol=2e-6, err_msg=mode)
        np.testing.assert_allclose([by_id[hit.id] for hit in hits], wanted, atol=2e-6, err_msg=mode)
        assert len({hit.id for hit in hits}) == len(hits)
        assert all(texts[hit.id] == hit.text for hit in hits)
