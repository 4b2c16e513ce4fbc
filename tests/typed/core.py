"""A user's file against the core. Never run: mypy reads it, and an ignored error that is none is an error, too."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from glot_rag import Document, GlotEncoder, GlotIndex, Hit
from glot_rag.embedder import Embedder, Vectors


def use() -> None:
    encoder = GlotEncoder.from_pretrained("minilm", pooling="glot", device="cpu", dtype="float32")
    assert_type(encoder.encode_documents(["a", "b"], show_progress=True), Vectors)
    assert_type(encoder.encode_queries(("a", "b")), Vectors)
    assert_type(encoder.fingerprint, str)
    any_encoder: Embedder = encoder
    with GlotIndex.create("my-index", encoder=any_encoder) as index:
        assert_type(index.add([Document("text", "id", {"lang": "en"})]), list[str])
        hits = index.search("query", k=3, filter={"lang": "en"})
        assert_type(hits, list[Hit])
        metadata: dict[str, Any] = dict(hits[0].metadata)
        print(metadata, hits[0].score + 1.0, hits[0].text.upper())

    GlotEncoder.from_pretrained("minilm", poling="glot")  # type: ignore[call-arg]
    encoder.encode_queries(1)  # type: ignore[arg-type]
    GlotIndex.create("my-index", encoder="minilm")  # type: ignore[arg-type]
