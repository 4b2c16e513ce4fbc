"""Encoders that can be saved, found again, slowed down and made to fail, also in other processes."""

import hashlib
import json
import os
import re
import time
from functools import cache
from pathlib import Path

import numpy as np

DIMENSION = 8
GROUP = 2  # documents that a worker embeds together: one that dies has made rows of its shard
WORD = re.compile(r"\S+")


class FakeEncoder:
    """A text's vector is drawn from a generator seeded by the text's hash.

    A text with the word "POISON" raises; one with "DEADLY" ends the process.
    """

    dimension = DIMENSION
    max_tokens = 72

    def __init__(self, name="fake", seconds=0.0):
        self.fingerprint = name
        self.seconds = seconds

    def token_spans(self, text):
        return [match.span() for match in WORD.finditer(text)]

    def encode_documents(self, texts, *, show_progress=False, batch_tokens=None):
        rows = np.zeros((len(texts), DIMENSION), np.float32)
        for row, text in zip(rows, texts, strict=True):
            fail_at(text)
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            row[:] = np.random.default_rng(seed).standard_normal(DIMENSION)
            row /= np.linalg.norm(row)
            time.sleep(self.seconds)
        return rows

    encode_queries = encode_documents

    def save(self, path):
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "encoder.json").write_text(json.dumps([self.fingerprint, self.seconds]))


class WithModel:
    """A real encoder that fails at the same texts."""

    def __init__(self, path, dtype):
        from glot_rag import GlotEncoder

        self._encoder = GlotEncoder.from_pretrained(path, dtype=dtype)

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def encode_documents(self, texts):
        for text in texts:
            fail_at(text)
        return self._encoder.encode_documents(texts)


def fail_at(text):
    if "POISON" in text:
        raise RuntimeError("this text cannot be embedded")
    if "DEADLY" in text:
        os._exit(137)


@cache
def load(path, dtype=None):
    """What `save` wrote, also that of a real encoder."""
    values = json.loads((Path(path) / "encoder.json").read_text())
    return FakeEncoder(*values) if isinstance(values, list) else WithModel(path, dtype)


def load_these():
    """From now on, this process loads these encoders, and embeds few documents at a time."""
    from glot_rag.shards import embedding, run

    embedding.load_encoder = run.load_encoder = load
    embedding.GROUP_DOCUMENTS = GROUP


def use_fake(make, **settings):
    """Make a worker in a process in which encoders are these."""
    load_these()
    return make(**settings)


def write_corpus(folder, documents=60, prefix=""):
    """Files of text, and one of JSON Lines; most documents make one chunk, some make several."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        words = [f"{prefix}w{number}x{place}" for place in range(20 + 10 * (number % 12))]
        (folder / f"{number:03d}.txt").write_text(" ".join(words))
    lines = [json.dumps({"id": f"named{n}", "text": f"{prefix}line {n} of many", "tag": n % 3}) for n in range(10)]
    (folder / "more.jsonl").write_text("\n".join(lines))
    return folder


def all_rows(out):
    """id -> (text, metadata, vector) of every chunk; an id that is there twice fails."""
    from glot_rag.shards.format import CHUNKS, manifests, read_columns

    found = {}
    for record in manifests(Path(out), CHUNKS):
        for columns in read_columns(Path(out), record):
            for number, id in enumerate(columns["id"]):
                assert id not in found, id
                found[id] = columns["text"][number], columns["metadata"][number], columns["vector"][number].tobytes()
    return found
