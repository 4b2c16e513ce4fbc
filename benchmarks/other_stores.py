"""The vector stores that `index.py` compares with, each behind the same three calls. One that is absent is skipped."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from numpy.typing import NDArray

from glot_rag.index import Document, GlotIndex

Vectors = NDArray[np.float32]
BATCH = 5_000
NEIGHBOURS, EF_CONSTRUCTION, EF_SEARCH = 32, 40, 128  # of a graph: FAISS's defaults, and this library's


class VectorStore(Protocol):
    """A store under measurement."""

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""

    def finish(self) -> None:
        """Build what is built after all was added."""

    def search(self, query: Vectors, k: int) -> list[str]:
        """Texts of the `k` documents nearest to a (D,) vector, best first."""


class _Fixed(Embeddings):
    """Gives vectors that are known, so that nothing is encoded."""

    def __init__(self) -> None:
        self.vectors: dict[str, Vectors] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text].tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class InMemory:
    """LangChain's own store: exact, in memory only."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._embeddings = _Fixed()
        self._store = InMemoryVectorStore(self._embeddings)

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        self._embeddings.vectors = dict(zip((document.text for document in documents), vectors, strict=True))
        made = [LangChainDocument(id=d.id, page_content=d.text, metadata=dict(d.metadata)) for d in documents]
        self._store.add_documents(made)

    def finish(self) -> None:
        """Nothing to do."""

    def search(self, query: Vectors, k: int) -> list[str]:
        """Texts, best first."""
        return [found.page_content for found in self._store.similarity_search_by_vector(query.tolist(), k)]


class Chroma:
    """Chroma on disk: a graph with this library's settings."""

    def __init__(self, path: Path, dimension: int) -> None:
        chromadb = importlib.import_module("chromadb")
        settings = {"space": "ip", "max_neighbors": NEIGHBOURS, "ef_construction": EF_CONSTRUCTION}
        self._client = chromadb.PersistentClient(
            str(path), chromadb.Settings(anonymized_telemetry=False, allow_reset=False)
        )
        self._collection = self._client.create_collection(
            "benchmark", configuration={"hnsw": {**settings, "ef_search": EF_SEARCH}}, embedding_function=None
        )

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        self._collection.add(
            ids=[d.id for d in documents],
            embeddings=vectors,
            documents=[d.text for d in documents],
            metadatas=[dict(d.metadata) for d in documents],
        )

    def finish(self) -> None:
        """Nothing to do."""

    def search(self, query: Vectors, k: int) -> list[str]:
        """Texts, best first."""
        wanted = ["documents", "metadatas", "distances"]
        found = self._collection.query(query_embeddings=[query], n_results=k, include=wanted)
        return list(found["documents"][0])


class LanceDb:
    """LanceDB on disk, an exact search: what it does without an index."""

    lists: int | None = None

    def __init__(self, path: Path, dimension: int) -> None:
        self._database = importlib.import_module("lancedb").connect(str(path))
        self._arrow = importlib.import_module("pyarrow")
        self._table: Any = None
        self._dimension = dimension

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        arrow = self._arrow
        columns = {
            "id": arrow.array([d.id for d in documents]),
            "text": arrow.array([d.text for d in documents]),
            "share": arrow.array([int(d.metadata["share"]) for d in documents]),
            "vector": arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), self._dimension),
        }
        batch = arrow.table(columns)
        if self._table is None:
            self._table = self._database.create_table("benchmark", batch)
        else:
            self._table.add(batch)

    def finish(self) -> None:
        """Build lists, where it has them."""
        if self.lists:
            self._table.create_index(metric="dot", index_type="IVF_FLAT", num_partitions=self.lists)

    def search(self, query: Vectors, k: int) -> list[str]:
        """Texts, best first."""
        asked = self._table.search(query).distance_type("dot").limit(k)
        if self.lists:
            asked = asked.nprobes(max(8, self.lists // 32))
        return [row["text"] for row in asked.select(["id", "text", "share", "_distance"]).to_list()]


class LanceDbLists(LanceDb):
    """LanceDB with as many lists as this library's "ivf", of which as many are looked into."""

    def __init__(self, path: Path, dimension: int, lists: int) -> None:
        super().__init__(path, dimension)
        self.lists = lists


class Glot:
    """This library."""

    def __init__(self, path: Path, encoder: Any, index_type: str) -> None:
        self._index = GlotIndex.create(path, encoder, index_type)

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        self._index.add_vectors(documents, vectors)

    def finish(self) -> None:
        """Write the FAISS file, as `close` does."""
        self._index.checkpoint()

    def search(self, query: Vectors, k: int) -> list[str]:
        """Texts, best first."""
        return [hit.text for hit in self._index.search_vectors(query[None], k)[0]]


def batches(documents: Sequence[Document], vectors: Vectors) -> Iterator[tuple[Sequence[Document], Vectors]]:
    """In parts that every store takes."""
    for start in range(0, len(documents), BATCH):
        yield documents[start : start + BATCH], np.ascontiguousarray(vectors[start : start + BATCH])
