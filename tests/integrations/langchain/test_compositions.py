"""Inside LangChain's own parts: a cache around the embeddings, an ensemble of retrievers, a chain with evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("langchain_classic", reason="the cache and the ensemble are in langchain-classic")

from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from langchain_core.stores import InMemoryByteStore
from langchain_glot import GlotEmbeddings, GlotVectorStore

from glot_rag.errors import FingerprintMismatchError, InputError

NOISE = "qx7f kzzr 0a9f3e wplq vvtk 77b1 jjqr gkkp zzx9 e4c1 hqqt bnnq 9f2d xkcz ppwq 3d77 lzzt"
PASSAGES = {
    "passport": f"{NOISE} A new passport is issued at the town hall within four weeks. {NOISE}",
    "kettle": f"{NOISE} The kettle boils a litre of water in two minutes. {NOISE}",
    "roses": f"{NOISE} Roses are pruned in early spring. {NOISE}",
}


@pytest.fixture(scope="module")
def embeddings() -> GlotEmbeddings:
    return GlotEmbeddings(dtype="float32", device="cpu")


def documents() -> list[Document]:
    return [Document(id=name, page_content=text, metadata={"name": name}) for name, text in PASSAGES.items()]


@pytest.fixture
def store(embeddings: GlotEmbeddings) -> Iterator[GlotVectorStore]:
    with GlotVectorStore.from_documents(documents(), embeddings) as store:
        yield store


def cached(embeddings: GlotEmbeddings, store: InMemoryByteStore) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings.from_bytes_store(
        embeddings, store, namespace=embeddings.encoder.fingerprint, key_encoder="sha256"
    )


def test_in_a_cache(embeddings: GlotEmbeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = InMemoryByteStore()
    texts = list(PASSAGES.values())
    first = cached(embeddings, kept).embed_documents(texts)
    np.testing.assert_allclose(first, embeddings.embed_documents(texts), rtol=0, atol=1e-6)
    assert len(list(kept.yield_keys())) == 3

    def fail(self: GlotEmbeddings, texts: list[str]) -> list[list[float]]:
        raise AssertionError("embedded again")

    with monkeypatch.context() as patch:
        patch.setattr(GlotEmbeddings, "embed_documents", fail)
        with GlotVectorStore.from_documents(documents(), cached(embeddings, kept), path=tmp_path / "index") as store:
            assert store.similarity_search("when do I prune?", k=1)[0].id == "roses"
            assert "glot_evidence" in store.similarity_search("prune", k=1, evidence=True)[0].metadata
    # The cache is no other encoder: the index opens without it, and not with other vectors.
    with GlotVectorStore(embeddings, tmp_path / "index") as store:
        assert store.similarity_search("when do I prune?", k=1)[0].id == "roses"
    with pytest.raises(FingerprintMismatchError):
        GlotVectorStore(cached(GlotEmbeddings(dtype="float32", pooling="mean"), kept), tmp_path / "index")


def test_a_cache_that_gives_queries_the_vectors_of_documents_is_refused(embeddings: GlotEmbeddings) -> None:
    kept, key = InMemoryByteStore(), {"key_encoder": "sha256"}
    for queries in (True, kept):
        cache = CacheBackedEmbeddings.from_bytes_store(embeddings, kept, query_embedding_cache=queries, **key)
        with pytest.raises(InputError, match="give query_embedding_cache a store of its own"):
            GlotVectorStore(cache)
    own = InMemoryByteStore()
    cache = CacheBackedEmbeddings.from_bytes_store(embeddings, kept, query_embedding_cache=own, **key)
    with GlotVectorStore.from_documents(documents(), cache) as store:
        found = store.similarity_search_with_score(PASSAGES["roses"], k=1)
    np.testing.assert_allclose(cache.embed_query(PASSAGES["roses"]), embeddings.embed_query(PASSAGES["roses"]))
    assert found[0][0].id == "roses"
    alike = GlotEmbeddings(pooling="mean", denoise=False)
    shared = CacheBackedEmbeddings.from_bytes_store(alike, InMemoryByteStore(), query_embedding_cache=True, **key)
    GlotVectorStore(shared).close()


class Last(BaseRetriever):
    """Always the same document."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [documents()[-1]]


async def test_in_an_ensemble(store: GlotVectorStore) -> None:
    nearest = store.as_retriever(search_kwargs={"k": 1})
    question = "how fast is the water hot?"
    for weights, first in (([0.9, 0.1], "kettle"), ([0.1, 0.9], "roses")):
        ensemble = EnsembleRetriever(retrievers=[nearest, Last()], weights=weights)
        found = ensemble.invoke(question)
        assert [document.id for document in found] == [first, "roses" if first == "kettle" else "kettle"]
        assert [document.id for document in await ensemble.ainvoke(question)] == [document.id for document in found]


@pytest.mark.parametrize("search_type", ["similarity", "mmr", "similarity_score_threshold"])
async def test_evidence_through_a_retriever_and_a_chain(
    store: GlotVectorStore, embeddings: GlotEmbeddings, search_type: str
) -> None:
    settings = {"k": 1, "evidence": True}
    if search_type == "similarity_score_threshold":
        settings["score_threshold"] = 0.1
    retriever = store.as_retriever(search_type=search_type, search_kwargs=settings)
    question = "where do I get a new passport?"
    (found,) = await retriever.ainvoke(question)
    evidence = found.metadata["glot_evidence"]
    best = evidence.pop("best")
    (span,) = embeddings.encoder.explain(PASSAGES["passport"], question).best_spans(1)
    assert best[0] == pytest.approx(list(span))
    assert 0 <= best[0][0] < best[0][1] <= len(found.page_content)
    (denoised,) = embeddings.encoder.denoise([PASSAGES["passport"]])
    assert evidence == {"text": denoised.text, "spans": [list(span) for span in denoised.spans], "kept": denoised.kept}
    assert json.loads(json.dumps(found.metadata)) == found.metadata
    assert " ".join(found.page_content[start:end] for start, end in evidence["spans"]) == evidence["text"]
    assert 0 < evidence["kept"] < 1
    assert "passport" in evidence["text"]
    # Asked for once, not stored.
    assert store.get_by_ids(["passport"])[0].metadata == {"name": "passport"}
    assert store.similarity_search(question, k=1)[0].metadata == {"name": "passport"}

    def kept_words(found: list[Document]) -> str:
        return " ".join(document.metadata["glot_evidence"]["text"] for document in found)

    chain = (
        {"context": retriever | kept_words, "question": RunnablePassthrough()}
        | ChatPromptTemplate.from_template("{context}: {question}")
        | ParrotFakeChatModel()
        | StrOutputParser()
    )
    assert chain.invoke(question) == f"{denoised.text}: {question}"
    assert await chain.ainvoke(question) == f"{denoised.text}: {question}"


def test_evidence_by_vector(store: GlotVectorStore, embeddings: GlotEmbeddings) -> None:
    vector = embeddings.embed_query("prune roses")
    expected = store.similarity_search("prune roses", k=1, evidence=True)
    expected[0].metadata["glot_evidence"].pop("best")  # what the lines match is known of a text alone
    assert store.similarity_search_by_vector(vector, k=1, evidence=True) == expected
    assert store.max_marginal_relevance_search_by_vector(vector, k=1, evidence=True) == expected


def test_evidence_needs_a_head_that_tells_noise() -> None:
    for embeddings in (GlotEmbeddings(pooling="mean"), DeterministicFakeEmbedding(size=8)):
        with GlotVectorStore.from_texts(["a"], embeddings) as store:
            with pytest.raises(InputError, match="evidence needs GlotEmbeddings with a trained pooling"):
                store.similarity_search("a", evidence=True)
            with pytest.raises(InputError, match="evidence needs"):
                store.max_marginal_relevance_search("a", evidence=True)
            assert len(store.similarity_search("a")) == 1
