"""What goes into a `GlotVectorStore`, comes out by id and is deleted; what `index` of LangChain does with it."""

from __future__ import annotations

import asyncio
import copy
import datetime
import inspect
import uuid
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_glot import GlotVectorStore
from recording import Recording, corpus

from glot_rag.errors import (
    InputError,
)


class TestWriting:
    def test_ids_given_own_and_generated(self, store: GlotVectorStore) -> None:
        documents = [Document(id="own", page_content="a"), Document(page_content="b")]
        first, generated = store.add_documents(documents)
        assert first == "own"
        assert [document.page_content for document in store.get_by_ids([generated])] == ["b"]
        # What the caller says counts, for every document.
        given, other = store.add_documents([documents[0], documents[0]], ids=["given", None])
        assert given == "given"
        assert other not in ("own", "given")
        assert {document.id for document in store.get_by_ids(["own", given, other])} == {"own", given, other}
        assert store.add_documents(documents[:1], ids=None) == ["own"]
        texts = store.add_texts(["x", "y"], ids=["x", None])
        assert texts[0] == "x"
        assert [document.page_content for document in store.get_by_ids(texts)] == ["x", "y"]

    def test_a_changed_document_replaces_the_old_one_and_only_it_is_embedded(
        self, filled: GlotVectorStore, embeddings: Recording
    ) -> None:
        embeddings.documents.clear()
        changed = corpus()
        changed[3].page_content = "another text"
        changed[5].metadata["lang"] = "it"
        filled.add_documents(changed)
        assert embeddings.documents == ["another text"]
        assert len(filled.index) == 40
        assert filled.similarity_search("another text", k=1) == [changed[3]]
        assert filled.similarity_search("text 5", k=1, filter={"lang": "it"}) == [changed[5]]

    def test_given_documents_are_not_changed(self, store: GlotVectorStore) -> None:
        documents = [Document(page_content="a", metadata={"tags": ["x", {"y": 1}]}), Document(id="b", page_content="b")]
        before = copy.deepcopy(documents)
        store.add_documents(documents, ids=["1", "2"])
        found = store.get_by_ids(["1"])[0]
        assert found.metadata == {"tags": ["x", {"y": 1}]}
        found.metadata["tags"][1]["y"] = 2
        assert documents == before
        assert store.get_by_ids(["1"])[0].metadata == {"tags": ["x", {"y": 1}]}

    def test_what_cannot_be_stored_is_refused_as_a_whole(self, store: GlotVectorStore) -> None:
        good = Document(page_content="good")
        for metadata in ({"when": {1, 2}}, {"x": [b""]}, {"x": float("nan")}, {1: "one"}):
            with pytest.raises(InputError, match="metadata"):
                store.add_texts(["good", "bad"], [{}, metadata])
        with pytest.raises(InputError, match="got 1 ids for 2 texts"):
            store.add_documents([good, good], ids=["1"])
        with pytest.raises(InputError, match="got 1 metadatas for 2 texts"):
            store.add_texts(["a", "b"], [{}])
        with pytest.raises(InputError, match="put it in a list"):
            store.add_texts("one text")
        with pytest.raises(InputError, match="must not be empty"):
            store.add_texts(["a"], ids=[""])
        with pytest.raises(InputError, match="unknown arguments: namespace"):
            store.add_documents([good], namespace="x")
        assert len(store.index) == 0

    STORED_FORMS: ClassVar[dict[str, tuple[Any, Any]]] = {
        "at": (datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc), "2026-01-31T12:00:00+00:00"),
        "day": (datetime.date(2026, 1, 31), "2026-01-31"),
        "numpy day": (np.datetime64("2026-01-31"), "2026-01-31"),
        "id": (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        "path": (PurePosixPath("a/b"), "a/b"),
        "n": (np.int8(3), 3),
        "x": (np.float32(0.5), 0.5),
        "yes": (np.bool_(True), True),
        "pair": ((1, ("a",)), [1, ["a"]]),
    }

    def test_dates_paths_and_numpy_scalars_have_a_stored_form_that_filters_take(self, store: GlotVectorStore) -> None:
        given = {key: value for key, (value, _) in self.STORED_FORMS.items()}
        stored = {key: value for key, (_, value) in self.STORED_FORMS.items()}
        store.add_documents([Document(id="a", page_content="text", metadata={**given, "inside": given})])
        store.add_documents([Document(id="b", page_content="other", metadata={"day": "2025-01-31"})])
        (found,) = store.get_by_ids(["a"])
        assert found.metadata == {**stored, "inside": stored}
        for key in given.keys() - {"pair"}:
            assert type(found.metadata[key]) is type(stored[key])
            assert [hit.id for hit in store.similarity_search("text", filter={key: given[key]})] == ["a"]
        assert [hit.id for hit in store.similarity_search("text", filter={"day": {"$lt": given["day"]}})] == ["b"]

    @pytest.mark.parametrize("value", [{1}, b"", object(), 1j, np.array([1]), float("inf"), 1 << 63, {"y": [{2}]}])
    def test_a_value_without_a_stored_form_is_refused_by_its_key(self, store: GlotVectorStore, value: Any) -> None:
        with pytest.raises(InputError, match=r"the metadata of document 'a'\['x'\].* (must|got) "):
            store.add_texts(["text"], [{"x": value}], ids=["a"])

    def test_numpy_counts(self, filled: GlotVectorStore, embeddings: Recording) -> None:
        vector = embeddings.embed_query("text 7")
        for k in (np.int64(3), np.uint8(3)):
            assert filled.similarity_search("text 7", k=k) == filled.similarity_search("text 7", k=3)
            assert filled.similarity_search_by_vector(vector, k=k) == filled.similarity_search_by_vector(vector, k=3)
            assert len(filled.similarity_search_with_relevance_scores("text 7", k=k)) == 3
            found = filled.max_marginal_relevance_search("text 7", k=k, fetch_k=np.int32(9))
            assert found == filled.max_marginal_relevance_search("text 7", k=3, fetch_k=9)
            retriever = filled.as_retriever(search_type="mmr", search_kwargs={"k": k, "fetch_k": np.int16(9)})
            assert retriever.invoke("text 7") == found
        assert filled.add_texts(["x", "y"], ids=["x", "y"], batch_size=np.int64(1)) == ["x", "y"]

    def test_delete(self, filled: GlotVectorStore) -> None:
        assert filled.delete(["d1", "not there", "d1", "", "x\0", "y" * 5000]) is True
        assert len(filled.index) == 39
        assert filled.delete([]) is True
        assert len(filled.index) == 39
        with pytest.raises(InputError, match=r"write \['d2'\]"):
            filled.delete("d2")
        with pytest.raises(InputError, match="unknown arguments: where"):
            filled.delete(where={"lang": "en"})  # it must not pass for "all"
        with pytest.raises(InputError, match="an empty filter matches every document"):
            filled.delete(filter={})
        with pytest.raises(InputError, match="either ids or filter"):
            filled.delete(["d1"], filter={"lang": "en"})
        assert len(filled.index) == 39
        assert asyncio.run(filled.adelete(filter={"lang": "en"})) is True
        assert {each.metadata["lang"] for each in filled.index} == {"de", "fr"}
        assert filled.delete() is True
        assert len(filled.index) == 0
        assert filled.similarity_search("text 7") == []

    def test_get_by_ids_never_raises(self, filled: GlotVectorStore) -> None:
        found = filled.get_by_ids(["d3", "not there", "", "x\0", "y" * 5000, "\ud800", "d1"])
        assert [document.id for document in found] == ["d3", "d1"]
        assert found[0] == corpus()[3]


# How documents are told apart; what langchain-core had before it could be chosen is what it warns of now.
KEYS: dict[str, Any] = {"key_encoder": "sha256"} if "key_encoder" in inspect.signature(index).parameters else {}


class TestIndexing:
    """`langchain_core.indexing.index` adds and deletes only what changed."""

    DOCUMENTS = tuple(
        Document(page_content=f"{source} part {part}", metadata={"source": source})
        for source in ("one", "two")
        for part in (1, 2)
    )
    CHANGED = (*DOCUMENTS[:3], Document(page_content="two part 2, new", metadata={"source": "two"}))

    @pytest.mark.parametrize("cleanup", ["incremental", "full"])
    def test_index(self, store: GlotVectorStore, embeddings: Recording, cleanup: Any) -> None:
        records = InMemoryRecordManager("test")
        records.create_schema()

        def run(documents: tuple[Document, ...]) -> Any:
            embeddings.documents.clear()
            return index(documents, records, store, cleanup=cleanup, source_id_key="source", **KEYS)

        assert run(self.DOCUMENTS) == {"num_added": 4, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
        assert run(self.DOCUMENTS) == {"num_added": 0, "num_updated": 0, "num_skipped": 4, "num_deleted": 0}
        assert embeddings.documents == []
        assert run(self.CHANGED) == {"num_added": 1, "num_updated": 0, "num_skipped": 3, "num_deleted": 1}
        assert embeddings.documents == ["two part 2, new"]
        assert {document.text for document in store.index} == {document.page_content for document in self.CHANGED}

    async def test_aindex(self, store: GlotVectorStore) -> None:
        records = InMemoryRecordManager("test")
        await records.acreate_schema()
        options: Any = {"cleanup": "full", "source_id_key": "source", **KEYS}
        await aindex(self.DOCUMENTS, records, store, **options)
        result = await aindex(self.CHANGED, records, store, **options)
        assert result == {"num_added": 1, "num_updated": 0, "num_skipped": 3, "num_deleted": 1}
        assert {document.text for document in store.index} == {document.page_content for document in self.CHANGED}
