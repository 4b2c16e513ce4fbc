"""LlamaIndex's nodes as documents of a `GlotIndex`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, RelatedNodeInfo, TextNode
from llama_index.core.schema import Document as SourceDocument
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from glot_rag.documents.validation import plain_metadata
from glot_rag.index import Document

# What the store tells a node and its source document by; the index's filters see metadata only.
NODE_ID = "_node_id"
SOURCE_ID = "_source_id"
_SOURCE_KEYS = ("ref_doc_id", "doc_id", "document_id")  # the source's id under the names that LlamaIndex filters by


def to_document(node: BaseNode) -> Document:
    """A node as it is stored: its text, and all else in its metadata.

    Raises:
        InputError: A value of its metadata has no stored form (see `documents.validation.check_document`).
    """
    plain = _with_plain_metadata(node)
    metadata = node_to_metadata_dict(plain, remove_text=True)
    # LlamaIndex writes the text "None" where a node has no source: deleting the document of that name would take all
    # such nodes along. A whole document is its own source, so that an ingestion pipeline finds it when it is gone.
    source = node.ref_doc_id or (node.node_id if isinstance(node, SourceDocument) else None)
    # A user's own value under one of those names is what a filter has to find.
    metadata |= {key: plain.metadata.get(key, source) for key in _SOURCE_KEYS}
    metadata |= {SOURCE_ID: source, NODE_ID: node.node_id}
    return Document(node.get_content(metadata_mode=MetadataMode.NONE), node.node_id, metadata)


def _with_plain_metadata(node: BaseNode) -> BaseNode:
    """A copy whose dates, UUIDs, paths, tuples and NumPy scalars have their stored form, which LlamaIndex can write."""
    what = f"the metadata of node {node.node_id!r}"

    def plain(related: RelatedNodeInfo) -> RelatedNodeInfo:
        return related.model_copy(update={"metadata": plain_metadata(related.metadata, what)})

    relationships = {
        kind: [plain(each) for each in related] if isinstance(related, list) else plain(related)
        for kind, related in node.relationships.items()
    }
    update = {"metadata": plain_metadata(node.metadata, what), "relationships": relationships}
    return node.model_copy(update=update)


def to_node(id: str, text: str, metadata: Mapping[str, Any]) -> BaseNode:
    """The node that was stored; a document that came into the index another way becomes a `TextNode`."""
    if "_node_content" in metadata:
        return metadata_dict_to_node(dict(metadata), text)
    return TextNode(id_=id, text=text, metadata=dict(metadata))
