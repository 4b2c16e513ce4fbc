"""This library beside other vector stores, by vectors, by keywords and by both, in one run.

    pip install chromadb lancedb qdrant-client txtai
    python benchmarks/other_stores.py --rows 100000 --json benchmarks/results/stores.json

The same vectors, texts and metadata as in `index.py`, and the same number of neighbours, lists and lists looked into
where a store has such a setting. Each store has a process of its own; one that is not installed is skipped and named.
Recall of vectors is against an exact search; of keywords against the ten best by BM25 as bm25s has it (Lucene's form,
k1 1.5, b 0.75), where stores with other constants cannot have all. `core_ms` is the processor's time, of all threads.
Qdrant's local mode, which is for trying it out, and LangChain's InMemoryVectorStore compare a query with every vector
in Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer
from index_data import (
    Figures,
    Given,
    K,
    alone,
    blocks,
    clocked,
    document,
    mixture,
    percentiles,
    query_text,
    recall,
    save,
    truth,
)
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from numpy.typing import NDArray

from glot_rag.index import Document, GlotIndex, index_types
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.options import Mode
from glot_rag.index.vectors.faiss_index import load_faiss

Vectors = NDArray[np.float32]
BATCH = 5_000
EVERY: tuple[Mode, ...] = ("vector", "keyword", "hybrid")
ASKED, SLOW = 200, 10  # queries; of a store that compares with every vector in Python
NEIGHBOURS, EF_CONSTRUCTION, EF_SEARCH = 32, 40, 128  # of a graph: FAISS's defaults, and this library's


class VectorStore(Protocol):
    """A store under measurement.

    Attributes:
        modes: What it can search by.
        asked: How many queries it is asked.
    """

    modes: Sequence[Mode]
    asked: int

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""

    def finish(self) -> None:
        """Build what is built after all was added."""

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts of the `k` best documents for a (D,) vector and its text, best first."""


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

    modes: Sequence[Mode] = ("vector",)
    asked = SLOW

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

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        return [found.page_content for found in self._store.similarity_search_by_vector(query.tolist(), k)]


class Chroma:
    """Chroma on disk: a graph with this library's settings. It ranks by keywords in its cloud only."""

    modes: Sequence[Mode] = ("vector",)
    asked = ASKED

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

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        wanted = ["documents", "metadatas", "distances"]
        found = self._collection.query(query_embeddings=[query], n_results=k, include=wanted)
        return list(found["documents"][0])


class LanceDb:
    """LanceDB on disk; vectors by an exact search, which is what it does without an index. It fuses by ranks."""

    modes: Sequence[Mode] = EVERY
    asked = ASKED
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
        """Build lists, where it has them, and the index of words."""
        if self.lists:
            self._table.create_index(metric="dot", index_type="IVF_FLAT", num_partitions=self.lists)
        self._table.create_fts_index("text")

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        if mode == "keyword":
            return [row["text"] for row in self._table.search(text, query_type="fts").limit(k).to_list()]
        both = mode == "hybrid"
        asked = self._table.search(query_type="hybrid").vector(query).text(text) if both else self._table.search(query)
        asked = asked.distance_type("dot").limit(k)
        if self.lists:
            asked = asked.nprobes(index_types.default_nprobe(self.lists))
        return [row["text"] for row in asked.to_list()]


class LanceDbLists(LanceDb):
    """LanceDB with as many lists as this library's "ivf", of which as many are looked into."""

    def __init__(self, path: Path, dimension: int, lists: int) -> None:
        super().__init__(path, dimension)
        self.lists = lists


class Qdrant:
    """Qdrant's local mode in memory: exact. Keywords are BM25's weights as sparse vectors, as Qdrant has them."""

    modes: Sequence[Mode] = EVERY
    asked = SLOW

    def __init__(self, path: Path, dimension: int) -> None:
        client, self._models = importlib.import_module("qdrant_client"), importlib.import_module("qdrant_client.models")
        self._client = client.QdrantClient(":memory:")  # on disk, adding takes 14 ms a document
        dense = self._models.VectorParams(size=dimension, distance=self._models.Distance.DOT)
        sparse = self._models.SparseVectorParams(modifier=self._models.Modifier.IDF)
        self._client.create_collection("benchmark", {"dense": dense}, {"words": sparse})

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        points = [
            self._models.PointStruct(
                id=int(d.id[1:]),
                vector={"dense": vector.tolist(), "words": self._weights(d.text)},
                payload={"text": d.text, **d.metadata},
            )
            for d, vector in zip(documents, vectors, strict=True)
        ]
        self._client.upsert("benchmark", points)

    def finish(self) -> None:
        """Nothing to do."""

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        terms = analyzer("english").query(text)
        numbers = [term & 0x7FFFFFFF for term in terms]
        words = self._models.SparseVector(indices=numbers, values=[float(times) for times in terms.values()])
        if mode == "hybrid":
            parts = (("dense", query.tolist()), ("words", words))
            asked = {
                "prefetch": [self._models.Prefetch(query=part, using=name, limit=100) for name, part in parts],
                "query": self._models.FusionQuery(fusion=self._models.Fusion.RRF),
            }
        else:
            asked = (
                {"query": query.tolist(), "using": "dense"} if mode == "vector" else {"query": words, "using": "words"}
            )
        found = self._client.query_points("benchmark", limit=k, **asked)
        return [point.payload["text"] for point in found.points]

    def _weights(self, text: str) -> Any:
        """BM25's weight of each term without its rarity; all texts of the benchmark are about equally long."""
        terms = analyzer("english").query(text)
        values = [times / (times + 1.5) for times in terms.values()]
        return self._models.SparseVector(indices=[term & 0x7FFFFFFF for term in terms], values=values)


class Txtai:
    """txtai with its SQLite content and FAISS lists. Vectors, keywords and both are an index each, as it has them."""

    modes: Sequence[Mode] = EVERY
    asked = ASKED

    def __init__(self, path: Path, dimension: int, lists: int) -> None:
        made = importlib.import_module("txtai").Embeddings
        self._known: dict[str, Vectors] = {}
        dense: dict[str, Any] = {
            "method": "external",
            "transform": lambda texts: np.stack([self._known[text] for text in texts]),
            "faiss": {"components": f"IVF{lists},Flat", "nprobe": index_types.default_nprobe(lists)},
        }
        configurations = {"vector": dense, "keyword": {"keyword": True}, "hybrid": {**dense, "hybrid": True}}
        self._indexes = {
            mode: made({**configuration, "content": True}) for mode, configuration in configurations.items()
        }
        self._documents: list[tuple[str, dict[str, Any], None]] = []

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Keep a batch until `finish`."""
        self._known |= dict(zip((d.text for d in documents), vectors, strict=True))
        self._documents += [(d.id, {"text": d.text, **d.metadata}, None) for d in documents]

    def finish(self) -> None:
        """Index all."""
        for index in self._indexes.values():
            index.index(self._documents)
        self._documents.clear()
        self._known.clear()

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        self._known[text] = query
        return [found["text"] for found in self._indexes[mode].search(text, k)]


class Glot:
    """This library."""

    modes: Sequence[Mode] = EVERY
    asked = ASKED

    def __init__(self, path: Path, encoder: Any, index_type: str) -> None:
        self._index = GlotIndex.create(path, encoder, index_type)

    def add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Add a batch."""
        self._index.add_vectors(documents, vectors)

    def finish(self) -> None:
        """Write the files, as `close` does."""
        self._index.checkpoint()

    def search(self, query: Vectors, text: str, k: int, mode: Mode) -> list[str]:
        """Texts, best first."""
        return [hit.text for hit in self._index.search_vectors(query[None], k, texts=[text], mode=mode)[0]]


def stores(dimension: int, rows: int) -> Mapping[str, tuple[str | None, Callable[[Path], VectorStore]]]:
    """Name -> the package it needs beyond this library's own, and how it is made."""
    lists = int(index_types.plan("ivf", dimension, rows).factory[3:].split(",")[0])
    return {
        "glot-rag flat": (None, lambda path: Glot(path, Given(dimension), "flat")),
        "glot-rag hnsw": (None, lambda path: Glot(path, Given(dimension), "hnsw")),
        "glot-rag ivf": (None, lambda path: Glot(path, Given(dimension), "ivf")),
        "LanceDB ivf": ("lancedb", lambda path: LanceDbLists(path, dimension, lists)),
        "LanceDB exact": ("lancedb", lambda path: LanceDb(path, dimension)),
        "txtai ivf": ("txtai", lambda path: Txtai(path, dimension, lists)),
        "Chroma hnsw": ("chromadb", lambda path: Chroma(path, dimension)),
        "Qdrant local exact": ("qdrant_client", lambda path: Qdrant(path, dimension)),
        "InMemoryVectorStore": (None, lambda path: InMemory(path, dimension)),
    }


def measure(folder: Path, rows: int, dimension: int, name: str) -> Figures:
    """Build, latency with payloads and recall of one store, by each mode that it has."""
    queries = np.load(folder / "queries.npy")
    store = stores(dimension, rows)[name][1](folder / name.replace(" ", "-"))

    def build() -> None:
        for start, part in blocks(folder / "vectors", dimension, rows):
            documents = [document(start + number) for number in range(len(part))]
            for some in batches(documents, part):
                store.add(*some)
        store.finish()

    figures: Figures = {"build_s": clocked(build), "queries": store.asked}
    for mode in store.modes:
        store.search(queries[0], query_text(0), K, mode)
        found, seconds, computed = [], [], time.process_time()
        for i in range(store.asked):
            started = time.perf_counter()
            found.append(store.search(queries[i], query_text(i), K, mode))
            seconds.append(time.perf_counter() - started)
        core_ms = 1000 * (time.process_time() - computed) / store.asked
        figures[mode] = {**percentiles(seconds), "core_ms": core_ms}
        numbers = [{int(text.split(":")[0].removeprefix("passage ")) for text in texts} for texts in found]
        if mode == "vector":
            figures[mode]["recall_at_10"] = recall(numbers, np.load(folder / "truth-vector.npy")[: store.asked])
        elif mode == "keyword":
            figures[mode]["recall_at_10"] = share_of_best(numbers, np.load(folder / "bm25.npy")[: store.asked])
    return figures


def prepare(folder: Path, rows: int, dimension: int) -> None:
    """Write the vectors, the queries, and the exact answers."""
    import bm25s

    save(folder / "vectors", mixture(rows, dimension, seed=1))
    queries = np.concatenate(list(mixture(ASKED, dimension, seed=2)))
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth-vector.npy", truth(blocks(folder / "vectors", dimension, rows), queries))
    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    texts = [document(number).text for number in range(rows)]
    engine.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    asked = bm25s.tokenize(
        [query_text(number) for number in range(ASKED)], stopwords="en", show_progress=False, return_ids=False
    )
    np.save(folder / "bm25.npy", np.stack([engine.get_scores(words) for words in asked]))


def share_of_best(found: Sequence[set[int]], scores: NDArray[np.float32]) -> float:
    """Mean share of the ten best documents that were found, by their scores: of equal ones any will do.

    Args:
        found: of each query.
        scores: (Q, N) of all documents.
    """
    shares = []
    for numbers, row in zip(found, scores, strict=True):
        wanted = min(K, int(np.count_nonzero(row)))
        least = np.sort(row)[-max(wanted, 1)]
        shares.append(np.count_nonzero(row[sorted(numbers)] >= least - 1e-4) / max(wanted, 1))
    return float(np.mean(shares))


def batches(documents: Sequence[Document], vectors: Vectors) -> Iterator[tuple[Sequence[Document], Vectors]]:
    """In parts that every store takes."""
    for start in range(0, len(documents), BATCH):
        yield documents[start : start + BATCH], np.ascontiguousarray(vectors[start : start + BATCH])


def main(
    rows: Annotated[int, typer.Option(min=1_000)] = 100_000,
    dimension: Annotated[int, typer.Option(min=2)] = 384,
    only: Annotated[str, typer.Option(help="Comma-separated names; empty: all.")] = "",
    scratch: Annotated[Path | None, typer.Option(help="Directory for the data; temporary if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print, store by store."""
    settings = {"rows": rows, "dimension": dimension, "threads": load_faiss().omp_get_max_threads()}
    report: Figures = {"settings": {**settings, "machine": platform.machine()}, "stores": {}}
    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        prepare(folder, rows, dimension)
        for store, (package, _) in stores(dimension, rows).items():
            if only and store not in only.split(","):
                continue
            if package is not None and importlib.util.find_spec(package) is None:
                report["stores"][store] = {"skipped": f"{package} is not installed"}
            else:
                report["stores"][store] = alone(measure, folder, rows, dimension, store)
            print(store, json.dumps(report["stores"][store]), flush=True)
            if json_file:
                json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
