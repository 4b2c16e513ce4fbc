"""A user's file with LangChain; see core.py."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_glot import GlotEmbeddings, GlotVectorStore
from typing_extensions import assert_type


async def use() -> None:
    embeddings = GlotEmbeddings(model="minilm", pooling="mean", device="cpu")
    as_embeddings: Embeddings = embeddings
    assert_type(embeddings.embed_documents(["a"]), list[list[float]])
    assert_type(await embeddings.aembed_query("a"), list[float])

    with GlotVectorStore(embeddings, "my-index") as store:
        as_store: VectorStore = store
        assert_type(store.add_texts(["a"], [{"n": 1}], ids=["1"]), list[str])
        assert_type(store.similarity_search("a", k=2, filter={"n": {"$gte": 1}}), list[Document])
        assert_type(store.similarity_search_with_score("a"), list[tuple[Document, float]])
        assert_type(store.similarity_search("a", evidence=True), list[Document])
        retriever: BaseRetriever = store.as_retriever(search_kwargs={"k": 2, "evidence": True})
        print(as_embeddings, as_store, retriever)
    assert_type(GlotVectorStore.from_texts(["a"], embeddings, path="my-index"), GlotVectorStore)

    GlotEmbeddings(poling="mean")  # type: ignore[call-arg]
    GlotVectorStore("minilm")  # type: ignore[arg-type]
    store.similarity_search("a", k="2")  # type: ignore[arg-type]
