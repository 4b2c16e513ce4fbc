"""A user's file with Haystack; see core.py."""

from __future__ import annotations

from typing import Any

from haystack import Document, Pipeline
from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder, GlotTextEmbedder
from typing_extensions import assert_type


def use() -> None:
    documents = GlotDocumentEmbedder(pooling="glot", meta_fields_to_embed=["title"])
    query = GlotTextEmbedder("minilm", device="cpu")
    assert_type(documents.run([Document(content="a")]), dict[str, Any])
    assert_type(query.run("a"), dict[str, Any])
    GlotDocumentEmbedder("my-bundle", backend="onnx", embedding_separator=": ")
    pipeline = Pipeline()
    pipeline.add_component("query", query)

    GlotTextEmbedder(poling="mean")  # type: ignore[call-arg]
    documents.run("a")  # type: ignore[arg-type]
