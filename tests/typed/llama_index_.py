"""A user's file with LlamaIndex; see core.py. (The underscore: a module llama_index would hide the package.)"""

from __future__ import annotations

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore
from typing_extensions import assert_type


def use() -> None:
    embedding: BaseEmbedding = GlotEmbedding(pooling="glot", device="cpu")
    assert_type(embedding.get_query_embedding("a"), list[float])
    with GlotVectorStore(embed_model=embedding) as store:
        as_store: BasePydanticVectorStore = store
        context = StorageContext.from_defaults(vector_store=as_store)
        index = VectorStoreIndex.from_documents([Document(text="a")], context, embed_model=embedding)
        assert_type(index.as_retriever(similarity_top_k=2).retrieve("a"), list[NodeWithScore])
    GlotVectorStore("my-index", embed_model=embedding, read_only=True).close()

    GlotEmbedding(poling="glot")  # type: ignore[call-arg]
    GlotVectorStore(embed_model=1)  # type: ignore[arg-type]
