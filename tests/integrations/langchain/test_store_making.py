"""Making a `GlotVectorStore`, sharing it and letting go of it."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_glot import GlotVectorStore
from langchain_glot.adapter import EmbeddingsEncoder
from recording import SIZE, Recording, corpus

from glot_rag.errors import (
    FingerprintMismatchError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReadOnlyError,
    InputError,
)


class TestMaking:
    def test_from_texts_and_documents(self, embeddings: Recording, tmp_path: Path) -> None:
        with GlotVectorStore.from_texts(["a", "b"], embeddings, [{"n": 1}, {"n": 2}], ids=["1", "2"]) as store:
            assert store.get_by_ids(["2"]) == [Document(id="2", page_content="b", metadata={"n": 2})]
            assert store.embeddings is embeddings
        with GlotVectorStore.from_documents(corpus(5), embeddings, path=tmp_path / "index") as store:
            assert store.get_by_ids(["d4"]) == corpus(5)[4:]
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 5
            assert store.index.verify().ok
        with pytest.raises(InputError, match="unknown arguments: paht"):
            GlotVectorStore.from_texts(["a"], embeddings, paht=tmp_path)

    async def test_afrom_texts_and_documents(self, embeddings: Recording, tmp_path: Path) -> None:
        with await GlotVectorStore.afrom_texts(["a"], embeddings, ids=["1"]) as store:
            assert (await store.aget_by_ids(["1"]))[0].page_content == "a"
        with await GlotVectorStore.afrom_documents(corpus(3), embeddings, path=tmp_path / "index") as store:
            assert store.index.path == tmp_path / "index"
            assert await store.asimilarity_search("text 2", k=1) == corpus(3)[2:]

    def test_nothing_is_left_of_a_store_that_could_not_be_made(self, embeddings: Recording, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="metadata") as caught:  # which keeps the frames, and so the store, alive
            GlotVectorStore.from_texts(["a"], embeddings, [{"x": {1}}], path=tmp_path / "index")
        with GlotVectorStore(embeddings, tmp_path / "index") as store:
            assert len(store.index) == 0
            with pytest.raises(IndexLockedError):
                GlotVectorStore(embeddings, tmp_path / "index")
        assert caught.value.__traceback__ is not None

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_a_store_cannot_be_copied(self, embeddings: Recording, copied: Callable[[object], object]) -> None:
        with GlotVectorStore(embeddings) as store, pytest.raises(InputError, match=r"copied or pickled; open its path"):
            copied(store)

    def test_a_temporary_store_goes_with_close_and_as_garbage(self, embeddings: Recording) -> None:
        store = GlotVectorStore.from_texts(["a"], embeddings)
        path = store.index.path
        assert path.is_dir()
        store.close()
        store.close()
        assert not path.exists()
        with pytest.raises(IndexReadOnlyError, match="closed"):
            store.similarity_search("a")
        store = GlotVectorStore.from_texts(["a"], embeddings)
        path = store.index.path
        assert path.is_dir()
        del store
        gc.collect()
        assert not path.exists()

    def test_a_persistent_store_is_let_go_of_as_garbage(self, embeddings: Recording, tmp_path: Path) -> None:
        store = GlotVectorStore.from_texts(["a"], embeddings, path=tmp_path / "index")
        del store
        gc.collect()
        with GlotVectorStore(embeddings, tmp_path / "index") as again:
            assert again.similarity_search("a")[0].page_content == "a"

    def test_a_temporary_store_goes_at_the_end_of_the_process(self, tmp_path: Path) -> None:
        code = (
            "from langchain_core.embeddings import DeterministicFakeEmbedding\n"
            "from langchain_glot import GlotVectorStore\n"
            "store = GlotVectorStore.from_texts(['a'], DeterministicFakeEmbedding(size=4))\n"
            "print(store.index.path.parent)\n"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.strip() == str(tmp_path)
        assert done.stderr == ""
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_child_does_not_remove_its_parents_store(self, embeddings: Recording) -> None:
        with GlotVectorStore.from_texts(["a"], embeddings) as store:
            child = os.fork()
            if not child:
                store.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert store.index.path.is_dir()
            store.add_texts(["b"])
            assert store.similarity_search("b", k=1)[0].page_content == "b"

    def test_many_may_read_while_one_writes(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        with pytest.raises(InputError, match="read_only needs the path"):
            GlotVectorStore(embeddings, read_only=True)
        with pytest.raises(IndexNotFoundError):
            GlotVectorStore(embeddings, path, read_only=True)
        assert not path.exists()
        with GlotVectorStore(embeddings, path) as writer:
            writer.add_texts(["one"], ids=["1"])
            with (
                GlotVectorStore(embeddings, path, read_only=True) as reader,
                GlotVectorStore(embeddings, path, read_only=True) as other,
            ):
                writer.add_texts(["two"], ids=["2"])
                for store in (reader, other):
                    assert [document.id for document in store.similarity_search("two", k=1)] == ["2"]
                    with pytest.raises(IndexReadOnlyError):
                        store.add_texts(["three"])
                    with pytest.raises(IndexReadOnlyError):
                        store.delete(["1"])
            assert len(writer.index) == 2

    def test_an_index_of_other_embeddings_is_refused(self, embeddings: Recording, tmp_path: Path) -> None:
        path = tmp_path / "index"
        GlotVectorStore(embeddings, path, fingerprint="model 1").close()
        with pytest.raises(FingerprintMismatchError, match="model 2"):
            GlotVectorStore(embeddings, path, fingerprint="model 2")
        with pytest.raises(FingerprintMismatchError, match="langchain:Recording:"):
            GlotVectorStore(embeddings, path)
        with pytest.raises(InputError, match="12 components, the encoder makes 5"):
            GlotVectorStore(Recording(size=5), path, fingerprint="model 1")
        GlotVectorStore(embeddings, path, fingerprint="model 1").close()

    def test_default_fingerprints_tell_models_apart(self) -> None:
        class Named(DeterministicFakeEmbedding):
            model: str = "a"

        fingerprints = {EmbeddingsEncoder(each).fingerprint for each in (Named(size=2), Named(size=2, model="b"))}
        assert len(fingerprints) == 2
        assert all(print.endswith(("Named:a", "Named:b")) for print in fingerprints)

    def test_what_is_no_embeddings_is_refused(self) -> None:
        with pytest.raises(InputError, match="must be a LangChain Embeddings object, got str"):
            GlotVectorStore("minilm")  # type: ignore[arg-type]

    def test_embeddings_that_give_something_else_are_refused(self) -> None:
        class Broken(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return {1: [[1.0]], 2: [[1.0, 0.0]], 3: [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]}[len(texts)]

            def embed_query(self, text: str) -> list[float]:
                return [1.0, 0.0]

        with GlotVectorStore(Broken()) as store:
            with pytest.raises(InputError, match=r"shape \(1, 2\), got \(1, 1\)"):
                store.add_texts(["a"])
            with pytest.raises(InputError, match=r"shape \(2, 2\), got \(1, 2\)"):
                store.add_texts(["a", "b"])
            with pytest.raises(InputError, match="'b' is all zeros"):
                store.add_texts(["a", "b", "c"])
            assert len(store.index) == 0

    def test_the_adapter_of_no_texts(self, embeddings: Recording) -> None:
        encoder = EmbeddingsEncoder(embeddings)
        assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, SIZE)
        assert encoder.encode_documents([]).dtype == np.float32
