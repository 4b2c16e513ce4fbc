import shutil
import tempfile
from pathlib import Path

import pytest
from hash_encoder import HashEncoder, assert_all_searches
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from glot_rag.errors import InputError
from glot_rag.index import Document, GlotIndex

ids = st.sampled_from(["a", "b", "c", "ü", "'"])
documents = st.builds(
    Document,
    st.sampled_from(["x", "y x", "zz y zz", "w"]),
    ids,
    st.fixed_dictionaries({"tag": st.sampled_from([1, "1", None])}),
)


def has_tag(metadata, tag):
    return metadata["tag"] == tag and type(metadata["tag"]) is type(tag)


class AgainstDict(RuleBasedStateMachine):
    """Any order of changes, reindexings, backups and reopenings gives what a dict and NumPy would."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.encoder = HashEncoder()
        self.index = GlotIndex.create(self.folder / "index", self.encoder)
        self.reader = GlotIndex.open(self.folder / "index", self.encoder, read_only=True)
        self.oracle = {}

    @rule(batch=st.lists(documents, max_size=5), size=st.integers(1, 3))
    def add(self, batch, size):
        assert self.index.add(batch, batch_size=size) == [document.id for document in batch]
        self.oracle.update({document.id: document for document in batch})

    @rule(wanted=st.lists(ids, max_size=3))
    def delete(self, wanted):
        assert self.index.delete(wanted) == len({id for id in wanted if self.oracle.pop(id, None)})

    @rule(wanted=st.lists(ids, max_size=2), tag=st.sampled_from([1, "1", None]))
    def update_metadata(self, wanted, tag):
        found = [id for id in set(wanted) if id in self.oracle]
        assert self.index.update_metadata({id: {"tag": tag} for id in wanted}) == len(found)
        for id in found:
            self.oracle[id] = Document(self.oracle[id].text, id, {"tag": tag})

    @rule(tag=st.sampled_from([1, "1", None]))
    def delete_by_filter(self, tag):
        gone = [id for id, document in self.oracle.items() if has_tag(document.metadata, tag)]
        assert self.index.delete(filter={"tag": tag}) == len(gone)
        for id in gone:
            del self.oracle[id]

    @rule(tag=st.sampled_from([1, "1", None]), new=st.sampled_from([1, "1", None]))
    def set_metadata(self, tag, new):
        """The key that the filter looks at, so that what matches changes with it."""
        found = [document for document in self.oracle.values() if has_tag(document.metadata, tag)]
        assert self.index.set_metadata({"tag": new, "set": True}, filter={"tag": tag}) == len(found)
        for document in found:
            self.oracle[document.id] = Document(document.text, document.id, {"tag": new, "set": True})

    @rule()
    def checkpoint(self):
        self.index.checkpoint()

    @rule(index_type=st.sampled_from(["flat", "hnsw", "auto"]))
    def reindex(self, index_type):
        self.index.reindex(index_type)

    @rule()
    def compact(self):
        self.index.compact()

    @rule(mapped=st.booleans())
    def reopen_the_reader(self, mapped):
        self.reader.close()
        self.reader = GlotIndex.open(self.folder / "index", self.encoder, read_only=True, memory_map=mapped)

    @rule(
        refused=st.sampled_from([Document("x", ""), Document("x", "a", {"n": float("nan")}), Document("\ud800", "b")])
    )
    def refuse(self, refused):
        with pytest.raises(InputError):
            self.index.add([Document("good", "a"), refused])

    @rule()
    def reopen(self):
        self.index.close()
        self.index = GlotIndex.open(self.folder / "index", self.encoder)

    @rule()
    def move_to_a_backup(self):
        self.reader.backup(self.folder / "copy")
        self.reader.close()
        self.index.close()
        shutil.rmtree(self.folder / "index")
        (self.folder / "copy").rename(self.folder / "index")
        self.index = GlotIndex.open(self.folder / "index", self.encoder)
        self.reader = GlotIndex.open(self.folder / "index", self.encoder, read_only=True)

    @rule()
    def verify(self):
        assert self.index.verify().problems == ()

    @rule(query=st.sampled_from(["x", "q", "y zz x x"]), tag=st.sampled_from([1, "1", None]), k=st.integers(1, 6))
    def search(self, query, tag, k):
        for index in (self.index, self.reader):
            assert_all_searches(index, self.oracle.values(), query, k)
            assert_all_searches(
                index, self.oracle.values(), query, k, lambda metadata: has_tag(metadata, tag), {"tag": tag}
            )
            hits = index.search(query, k, {"tag": tag})
            assert all(self.oracle[hit.id] == Document(hit.text, hit.id, hit.metadata) for hit in hits)

    @invariant()
    def same_documents(self):
        assert {document.id: document for document in self.reader} == self.oracle
        assert len(self.index) == len(self.oracle)

    def teardown(self):
        self.reader.close()
        self.index.close()
        shutil.rmtree(self.folder)


TestAgainstDict = AgainstDict.TestCase
TestAgainstDict.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
