"""`GlotVectorStore.from_faiss`, with real FAISS indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_glot import GlotVectorStore
from recording import SIZE, Recording, corpus

from glot_rag.errors import (
    InputError,
)


class FakeDocstore:
    """As InMemoryDocstore of langchain-community."""

    def __init__(self, documents: dict[str, Document]) -> None:
        self._documents = documents

    def search(self, search: str) -> str | Document:
        return self._documents.get(search, f"ID {search} not found.")


class FakeFaissStore:
    """As FAISS of langchain-community, with a real FAISS index."""

    def __init__(self, vectors: np.ndarray, documents: list[Document], index: Any = None) -> None:
        self.index = faiss.IndexFlatL2(vectors.shape[1]) if index is None else index
        self.index.add(vectors.astype(np.float32))
        self.docstore = FakeDocstore({str(document.id): document for document in documents})
        self.index_to_docstore_id = {number: str(document.id) for number, document in enumerate(documents)}


class TestFromFaiss:
    def faiss_store(self, embeddings: Embeddings, size: int = 40, **options: Any) -> FakeFaissStore:
        documents = corpus(size)
        return FakeFaissStore(
            np.array(embeddings.embed_documents([d.page_content for d in documents])), documents, **options
        )

    def test_same_documents_ids_and_vectors(
        self, embeddings: Recording, oracle: InMemoryVectorStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("langchain_glot.faiss_store.BATCH", 7)  # several batches, the last one not full
        source = self.faiss_store(embeddings)
        embeddings.documents.clear()
        with GlotVectorStore.from_faiss(source, embeddings) as store:
            assert embeddings.documents == []
            assert store.get_by_ids([f"d{i}" for i in range(40)]) == corpus()
            raw = source.index.reconstruct_n(0, 40)
            expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
            np.testing.assert_allclose(store.index.vectors([f"d{i}" for i in range(40)]), expected, atol=1e-6)
            for query in ("text 7", "something else"):
                assert store.similarity_search(query, k=9) == oracle.similarity_search(query, k=9)
            store.delete(["d7"])
            store.add_texts(["new"], ids=["d0"])
            assert len(store.index) == 39

    def test_onto_a_path(self, embeddings: Recording, tmp_path: Path) -> None:
        for _ in range(2):  # the second time nothing changes
            GlotVectorStore.from_faiss(self.faiss_store(embeddings), embeddings, tmp_path / "index").close()
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 40
            assert store.index.stats().sequence == 1
            assert store.similarity_search("text 7", k=1) == [corpus()[7]]

    def test_an_empty_store(self, embeddings: Recording) -> None:
        with GlotVectorStore.from_faiss(FakeFaissStore(np.zeros((0, SIZE)), []), embeddings) as store:
            assert len(store.index) == 0

    def test_an_index_that_does_not_give_its_vectors_back_is_refused(self, embeddings: Recording) -> None:
        source = self.faiss_store(embeddings)
        wrapped = faiss.IndexIDMap(faiss.IndexFlatL2(SIZE))
        wrapped.add_with_ids(source.index.reconstruct_n(0, 40), np.arange(40))
        source.index = wrapped
        with pytest.raises(InputError, match="IndexIDMap, does not give its vectors back"):
            GlotVectorStore.from_faiss(source, embeddings)

    def test_an_ivf_index_needs_its_direct_map(self, embeddings: Recording) -> None:
        def ivf() -> Any:
            made = faiss.IndexIVFFlat(faiss.IndexFlatL2(SIZE), SIZE, 1)
            made.train(np.array(embeddings.embed_documents(["a", "b"]), np.float32))
            return made

        source = self.faiss_store(embeddings, index=ivf())
        with pytest.raises(InputError, match="make_direct_map"):
            GlotVectorStore.from_faiss(source, embeddings)
        source.index.make_direct_map()
        with GlotVectorStore.from_faiss(source, embeddings) as store:
            assert store.similarity_search("text 7", k=1) == [corpus()[7]]

    def test_parts_that_do_not_fit_are_refused(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        source = self.faiss_store(embeddings)
        source.index.add(np.ones((1, SIZE), np.float32))  # what a failed addition leaves behind
        with pytest.raises(InputError, match="41 vectors and index_to_docstore_id 40 ids"):
            GlotVectorStore.from_faiss(source, embeddings, path)
        source = self.faiss_store(embeddings)
        source.index_to_docstore_id[3] = "lost"
        with pytest.raises(InputError, match="no document 'lost'"):
            GlotVectorStore.from_faiss(source, embeddings, path)
        with pytest.raises(InputError, match=r"shape \(40, 12\), got \(40, 5\)"):
            GlotVectorStore.from_faiss(self.faiss_store(Recording(size=5)), embeddings, path)
        with GlotVectorStore(embeddings, path) as store:  # and it is not locked
            assert len(store.index) == 0
