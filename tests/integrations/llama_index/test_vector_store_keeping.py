"""`GlotVectorStore` on disk, its fingerprint, its end, and the package it is in."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore
from pydantic import ValidationError
from some_nodes import KETTLE, TEXTS, ids, nodes_of, plane

from glot_rag import Document as IndexDocument
from glot_rag import GlotIndex
from glot_rag.errors import (
    FingerprintMismatchError,
    IndexExistsError,
    IndexNotFoundError,
    IndexReadOnlyError,
    InputError,
)


def test_it_persists_and_refuses_other_embeddings(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with GlotVectorStore(tmp_path / "index", embed_model=embedding) as first:
        first.add(nodes_of(embedding))
        StorageContext.from_defaults(vector_store=first).persist(str(tmp_path / "context"))
        assert first.client is not None
        assert first.client.stats().file_sequence == first.client.stats().sequence
        record = first.to_dict()
    again = GlotVectorStore.from_dict(record)
    assert record["class_name"] == "GlotVectorStore"
    assert ids(again, embedding.get_query_embedding("how fast does it heat water"), k=1) == ["kettle"]
    assert again.get_nodes(["kettle"])[0].metadata == {"topic": "kitchen", "page": 1, "tags": ["hot", "fast"]}
    again.close()
    for other in (
        {},
        {"fingerprint": "another"},
        {"embed_model": MockEmbedding(embed_dim=384)},
        {"embed_model": GlotEmbedding(dtype="float32", query_prompt="query: ")},
    ):
        with pytest.raises(FingerprintMismatchError) as refused:
            GlotVectorStore(tmp_path / "index", **other)
        # The refused one has let go of the directory, though its error, and so its frame, is still held.
        GlotVectorStore(tmp_path / "index", embed_model=embedding).close()
        assert refused.value


@pytest.mark.parametrize("known", ["glot", "by its name"])
def test_many_may_read_while_one_writes(embedding: GlotEmbedding, tmp_path: Path, known: str) -> None:
    path = tmp_path / "index"
    settings = {"embed_model": embedding} if known == "glot" else {"fingerprint": "another"}
    vector = embedding.get_query_embedding("how fast does it heat water")
    with pytest.raises(InputError, match="read_only needs the path"):
        GlotVectorStore(**settings, read_only=True)
    with pytest.raises(IndexNotFoundError):
        GlotVectorStore(path, **settings, read_only=True)
    assert not path.exists()
    kettle, *others = nodes_of(embedding)
    with GlotVectorStore(path, **settings) as writer:
        writer.add(others)
        with (
            GlotVectorStore(path, **settings, read_only=True) as reader,
            GlotVectorStore.from_dict(reader.to_dict()) as other,
        ):
            writer.add([kettle])
            for store in (reader, other):
                assert ids(store, vector, k=1) == ["kettle"]
                for change in (lambda store: store.add([kettle]), lambda store: store.clear()):
                    with pytest.raises(IndexReadOnlyError):
                        change(store)
        assert len(writer.get_nodes()) == 1 + len(others)


def test_other_embeddings_are_known_by_name(tmp_path: Path) -> None:
    with GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v1")) as store:
        assert store.client is None
        store.add(plane(0, 90))
    with pytest.raises(FingerprintMismatchError, match="v2"):
        GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v2"))
    with GlotVectorStore(tmp_path, embed_model=MockEmbedding(embed_dim=2, model_name="v1")) as store:
        assert ids(store, [0.0, 1.0]) == ["1", "0"]
        assert store.client is not None
        with pytest.raises(InputError, match="query the vector store instead"):
            store.client.search("text")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(IndexExistsError, match="not an index and not empty"):
        GlotVectorStore(tmp_path / "other")


def test_an_index_made_without_llama_index_can_be_queried(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with GlotIndex.create(tmp_path / "index", embedding.encoder) as index:
        index.add([IndexDocument(text, name, {"page": 1}) for name, text in TEXTS.items()])
    with GlotVectorStore(tmp_path / "index", embed_model=embedding) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
        (found,) = index.as_retriever(similarity_top_k=1).retrieve("how fast does it heat water")
        assert found.node == TextNode(id_="kettle", text=KETTLE, metadata={"page": 1})


def test_a_temporary_store_leaves_nothing_behind() -> None:
    store = GlotVectorStore()
    assert store.client is None
    assert store.get_nodes() == []
    assert ids(store, [1.0, 0.0]) == []
    store.clear()
    store.delete("none")
    with pytest.raises(InputError, match="give it one"):
        store.persist("anywhere")
    store.add(plane(0))
    assert store.client is not None
    folder = store.client.path
    copy = store.model_copy()
    del store
    gc.collect()
    assert ids(copy, [1.0, 0.0]) == ["0"]  # a copy shares the index and keeps it open
    copy.close()
    copy.close()
    assert not folder.exists()
    with pytest.raises(IndexReadOnlyError, match="closed"):
        copy.add(plane(0))
    other = GlotVectorStore()
    other.add(plane(0))
    assert other.client is not None
    folder = other.client.path
    del other
    gc.collect()
    assert not folder.exists()


def test_mistakes_are_told_at_once(embedding: GlotEmbedding, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="pth"):
        GlotVectorStore(pth="x")
    with pytest.raises(InputError, match="must be a LlamaIndex embedding, got str"):
        GlotVectorStore(embed_model="minilm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave the argument out"):
        GlotVectorStore(embed_model=embedding, fingerprint="mine")
    for copied in (pickle.dumps, copy.deepcopy):
        with GlotVectorStore() as store, pytest.raises(InputError, match="cannot be copied or pickled; open its path"):
            copied(store)


# -- the package


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def test_it_is_a_part_of_the_namespace_beside_the_core() -> None:
    code = (
        "import llama_index.core, llama_index.embeddings.glot, llama_index.vector_stores.glot, sys\n"
        "print([getattr(sys.modules[name], '__file__', None) for name in\n"
        "       ('llama_index', 'llama_index.embeddings', 'llama_index.vector_stores')], 'torch' in sys.modules)"
    )
    assert run(code) == "[None, None, None] False"


def test_without_llama_index_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['llama_index.core'] = None\n"
        "try:\n    import llama_index.vector_stores.glot\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    assert run(code) == (
        "MissingExtraError This needs the package 'llama-index-core'. "
        "Install it with: pip install 'glot-rag[llama-index]'"
    )
