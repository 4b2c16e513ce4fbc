import shutil
import tempfile
from pathlib import Path

from hash_encoder import HashEncoder, brute_force
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from glot_rag.index import Document, GlotIndex

ids = st.sampled_from(["a", "b", "c", "ü", "'"])
documents = st.builds(
    Document,
    st.sampled_from(["x", "y", "z", "w"]),
    ids,
    st.fixed_dictionaries({"tag": st.sampled_from([1, "1", None])}),
)


class AgainstDict(RuleBasedStateMachine):
    """Any order of changes, checkpoints and reopenings gives what a dict would."""

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

    @rule()
    def checkpoint(self):
        self.index.checkpoint()

    @rule()
    def reopen(self):
        self.index.close()
        self.index = GlotIndex.open(self.folder / "index", self.encoder)

    @rule()
    def verify(self):
        assert self.index.verify().problems == ()

    @rule(query=st.sampled_from(["x", "q"]), tag=st.sampled_from([1, "1", None]), k=st.integers(1, 6))
    def search(self, query, tag, k):
        stored = list(self.oracle.values())
        best = brute_force(self.encoder, stored, query, k, lambda m: m["tag"] == tag and type(m["tag"]) is type(tag))
        for index in (self.index, self.reader):
            hits = index.search(query, k, {"tag": tag})
            # Documents of one text have one score: compare what is decided, the scores.
            assert [round(hit.score, 5) for hit in hits] == [round(score, 5) for _, score in best]
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
