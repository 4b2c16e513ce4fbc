"""Nodes for a vector store: three with real embeddings, and some in a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import FilterOperator, MetadataFilter
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."
BICYCLE = "Pump the tyres of the bicycle once a week and oil its chain before every winter ride in the rain."
TEA = "Green tea should not be brewed with water that has just boiled."
TEXTS = {"kettle": KETTLE, "bicycle": BICYCLE, "tea": TEA}


def nodes_of(embedding: GlotEmbedding) -> list[BaseNode]:
    """Three nodes from two source documents."""
    facts: dict[str, dict[str, Any]] = {
        "kettle": {"topic": "kitchen", "page": 1, "tags": ["hot", "fast"]},
        "bicycle": {"topic": "garage", "page": 2},
        "tea": {"topic": "kitchen", "page": 3, "draft": None},
    }
    sources = {"kettle": "house", "bicycle": "outside", "tea": "house"}
    return [
        TextNode(
            id_=name,
            text=text,
            metadata=facts[name],
            embedding=embedding.get_text_embedding(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=sources[name])},
        )
        for name, text in TEXTS.items()
    ]


def plane(*angles: float) -> list[BaseNode]:
    """Nodes "0", "1", … whose vectors lie in a plane, at these angles to (1, 0) in degrees."""
    turned = np.radians(angles)
    return [
        TextNode(id_=str(number), text=f"at {angle}", embedding=[float(np.cos(turn)), float(np.sin(turn))])
        for number, (angle, turn) in enumerate(zip(angles, turned, strict=True))
    ]


def ids(store: GlotVectorStore, embedding: list[float], k: int = 9, **query: Any) -> list[str]:
    found = store.query(VectorStoreQuery(query_embedding=embedding, similarity_top_k=k, **query))
    assert found.ids is not None
    assert found.nodes is not None
    assert [node.node_id for node in found.nodes] == found.ids
    return found.ids


def where(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)
