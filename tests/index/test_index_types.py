"""Every type of index against brute force; training, deletions, filters, reindexing."""

import threading

import numpy as np
import pytest
from hash_encoder import HashEncoder, brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index import Document, GlotIndex, index_types
from glot_rag.index.vectors import faiss_index, replica

SIZE = 3000
TYPES = {
    **{"flat": "Flat", "hnsw": "HNSWFlat (32 neighbours, 64 bytes a vector)"},
    **{"ivf": "IVFFlat (64 lists, 65 bytes a vector)", "sq8": "ScalarQuantizer (16 bytes a vector)"},
    "ivfpq": "IVFPQ (64 lists, 3 bytes a vector)",
}
LEAST_RECALL = {"flat": 1.0, "ivf": 1.0, "hnsw": 1.0, "sq8": 0.9, "ivfpq": 0.7}
ENCODER = HashEncoder()
DOCUMENTS = [Document(f"text {i}", f"d{i}", {"n": i, "even": i % 2 == 0, "rare": i % 600 == 7}) for i in range(SIZE)]
VECTORS = ENCODER.vectors([document.text for document in DOCUMENTS])
QUERIES = ENCODER.vectors([f"query {i}" for i in range(20)])


@pytest.fixture(autouse=True)
def few_to_train(monkeypatch):
    """So that "ivfpq" is trained on as few documents as "ivf", and fast."""
    monkeypatch.setattr(index_types, "PQ_BITS", 4)


def made(path, index_type, size=SIZE):
    index = GlotIndex.create(path, ENCODER, index_type)
    index.add_vectors(DOCUMENTS[:size], VECTORS[:size])
    index.checkpoint()
    return index


def truth(k, keep=lambda metadata: True):
    """(Q, k) ids and scores by brute force."""
    chosen = np.flatnonzero([keep(document.metadata) for document in DOCUMENTS])
    scores = QUERIES @ VECTORS[chosen].T
    order = np.argsort(-scores, axis=1)[:, :k]
    return [[f"d{chosen[i]}" for i in row] for row in order], np.take_along_axis(scores, order, axis=1)


def recall(found, expected):
    return np.mean(
        [len({hit.id for hit in hits} & set(ids)) / len(ids) for hits, ids in zip(found, expected, strict=True)]
    )


@pytest.mark.parametrize("index_type", TYPES)
def test_each_type_finds_what_brute_force_finds_with_exact_scores(path, index_type):
    with made(path, index_type) as index:
        assert index.stats().serving == TYPES[index_type]
        expected, _ = truth(10)
        settings_ = {"nprobe": 64} if index_types.has_lists(index_type) else {}
        found = index.search_vectors(QUERIES, 10, **settings_)
        assert recall(found, expected) >= LEAST_RECALL[index_type]
        for query, hits in zip(QUERIES, found, strict=True):
            assert len(hits) == 10
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            stored = VECTORS[[int(hit.id[1:]) for hit in hits]]
            np.testing.assert_allclose([hit.score for hit in hits], stored @ query, atol=2e-6)
    with GlotIndex.open(path, ENCODER, read_only=True) as index:  # from the file
        assert index.stats().serving == TYPES[index_type]
        assert index.verify().problems == ()
        assert index.verify().vectors == SIZE
        assert index.search_vectors(QUERIES, 10, **settings_) == found


@pytest.mark.parametrize("index_type", TYPES)
def test_a_selective_filter_gives_exactly_what_passes(path, index_type):
    with made(path, index_type) as index:
        expected, scores = truth(9, lambda metadata: metadata["rare"])
        assert len(expected[0]) == 5
        found = index.search_vectors(QUERIES, 9, {"rare": True})
        assert [[hit.id for hit in hits] for hits in found] == expected
        np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], scores, atol=2e-6)


@pytest.mark.parametrize("index_type", TYPES)
def test_filters_through_faiss_too(path, index_type, monkeypatch):
    monkeypatch.setattr(replica, "EXACT_BELOW", 0)
    with made(path, index_type) as index:
        for filter, keep in (
            ({"even": True}, lambda m: m["even"]),
            ({"n": {"$lt": 300}}, lambda m: m["n"] < 300),
            ({"rare": True}, lambda m: m["rare"]),
        ):
            expected, _ = truth(5, keep)
            found = index.search_vectors(QUERIES, 5, filter)
            assert all(keep(hit.metadata) for hits in found for hit in hits)
            assert all(len(hits) == 5 for hits in found)
            assert recall(found, expected) >= (1.0 if index_type == "flat" else 0.65)


@pytest.mark.parametrize("index_type", TYPES)
def test_all_of_many_are_found_when_all_are_asked_for(path, index_type):
    with made(path, index_type) as index:
        assert {hit.id for hit in index.search_vectors(QUERIES[:1], 10**9)[0]} == {d.id for d in DOCUMENTS}


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf", "sq8"])
def test_deleted_and_replaced_documents_are_gone_whatever_the_type(path, index_type):
    with made(path, index_type) as index, GlotIndex.open(path, ENCODER, read_only=True) as reader:
        gone = {f"d{i}" for i in range(0, SIZE, 5)}
        index.delete(gone)
        index.add([Document("another text", "d1", {"n": -1})])
        for opened in (index, reader):
            found = opened.search_vectors(VECTORS[:200], 10)
            assert all(len(hits) == 10 and not {hit.id for hit in hits} & gone for hits in found)
            assert all(hit.text != "text 1" for hits in found for hit in hits)
            assert opened.search("another text", 1)[0].id == "d1"
            assert opened.verify().problems == ()
        assert index._replicas.vectors._part.dead == len(gone) + 1
        index.checkpoint()  # few enough to stay in the file
    with GlotIndex.open(path, ENCODER) as index:
        assert index._replicas.vectors._part.dead == len(gone) + 1
        assert index.verify().problems == ()
        assert not {hit.id for hits in index.search_vectors(VECTORS[:200], 10) for hit in hits} & gone
        index.delete([f"d{i}" for i in range(1, SIZE, 5)])
        index.checkpoint()  # too many: it is built anew
        assert index._replicas.vectors._part.dead == 0
        assert index.verify().problems == ()
        assert len(index.search_vectors(QUERIES[:1], 10)[0]) == 10


def test_a_type_that_is_trained_is_exact_until_there_are_enough(path):
    with made(path, "ivf", 999) as index:
        stats = index.stats()
        assert (stats.index_type, stats.serving) == ("ivf", "Flat")
        assert stats.reason == "ivf takes 1,000 documents to train, there are 999; until then the search is exact"
        assert index.search_vectors(VECTORS[:1], 1, nprobe=3)[0][0].id == "d0"
        index.add_vectors(DOCUMENTS[999:], VECTORS[999:])
        assert index.search_vectors(VECTORS[2000:2001], 1)[0][0].id == "d2000"
        assert index.stats().serving == "Flat"  # nothing is trained in a search
    with GlotIndex.open(path, ENCODER) as index:  # but in close
        assert index.stats().serving.startswith("IVFFlat (64 lists")
        assert index.stats().reason == "ivf was asked for"
        assert index.verify().problems == ()
        index.delete(index.ids({"n": {"$lt": 2300}}))
        index.checkpoint()  # 700 are left: untrained again, and whole
        assert index.stats().serving == "Flat"
        assert len(index.search_vectors(QUERIES[:1], 1000)[0]) == 700


def test_more_lists_are_more_precise(path):
    with made(path, "ivf") as index:
        expected, _ = truth(10)
        few, more, all_ = (recall(index.search_vectors(QUERIES, 10, nprobe=lists), expected) for lists in (1, 8, 64))
        assert few < more < all_ == 1.0
        assert index.search_vectors(QUERIES, 10) == index.search_vectors(QUERIES, 10, nprobe=64)


def test_more_candidates_are_more_precise(path, monkeypatch):
    monkeypatch.setattr(index_types, "HNSW_NEIGHBOURS", 4)
    with made(path, "hnsw") as index:
        expected, _ = truth(10)
        few, many = (recall(index.search_vectors(QUERIES, 10, ef_search=ef), expected) for ef in (10, 2000))
        assert few < many
        assert many > 0.95


def test_auto_goes_by_size_and_says_why(path, monkeypatch):
    monkeypatch.setattr(index_types, "AUTO_HNSW", 500)
    monkeypatch.setattr(index_types, "AUTO_IVF", 2000)
    with made(path, "auto", 499) as index:
        assert index.stats().serving == "Flat"
        assert "499 documents, under 500" in index.stats().reason
        index.add_vectors(DOCUMENTS[499:1000], VECTORS[499:1000])
        index.checkpoint()
        assert index.stats().serving.startswith("HNSWFlat")
        assert "1,000 documents, from 500 to 2,000" in index.stats().reason
        index.add_vectors(DOCUMENTS[1000:2500], VECTORS[1000:2500])
        index.checkpoint()
        assert index.stats().serving.startswith("IVFFlat")
        assert index.search_vectors(VECTORS[:1], 1, nprobe=64)[0][0].id == "d0"
        index.delete([f"d{i}" for i in range(1950, 2500)])
        index.checkpoint()  # a little too few for lists now: it is not built anew for that
        assert index.stats().serving.startswith("IVFFlat")
        assert index.verify().problems == ()


def test_reindex_to_every_type_keeps_documents_and_encodes_nothing(path):
    encoder = HashEncoder()
    with GlotIndex.create(path, encoder) as index:
        index.add_vectors(DOCUMENTS, VECTORS)
        for index_type in [*TYPES, "auto", "flat"]:
            index.reindex(index_type)
            assert index.manifest.index_type == index.stats().index_type == index_type
            assert index.stats().serving == TYPES.get(index_type, "Flat")
            assert recall(index.search_vectors(QUERIES, 10, {"even": True}), truth(10, lambda m: m["even"])[0]) > 0.99
        index.reindex("hnsw")
        assert encoder.encoded == []
    with GlotIndex.open(path, encoder) as index:
        assert index.stats().index_type == "hnsw"
        assert index.verify().problems == ()
        assert list(index) == DOCUMENTS


def test_reindex_refuses_what_it_cannot_do_and_changes_nothing(path):
    with made(path, "flat", 300) as index:
        before = sorted((file.name, file.stat().st_size) for file in path.iterdir())
        for index_type, message in (
            ("ivf", r"'ivf' takes 1,000 documents to train, there are 300; add more first"),
            ("IVF-PQ", r"'ivfpq' takes 1,000 documents to train, there are 300"),
            ("IVF64,Flat", r"index_type must be one of flat, hnsw, ivf, sq8, ivfpq, auto; got 'IVF64,Flat'"),
            (7, "got 7"),
        ):
            with pytest.raises(InputError, match=message):
                index.reindex(index_type)
        assert before == sorted((file.name, file.stat().st_size) for file in path.iterdir())
        assert index.stats().index_type == "flat"
        for options, message in (
            ({"nprobe": 3}, "nprobe is for the index types 'ivf' and 'ivfpq', this index is 'flat'"),
            ({"ef_search": 3}, "ef_search is for the index types 'hnsw'"),
            ({"nprobe": 0}, "nprobe must be an int of 1 or more"),
        ):
            with pytest.raises(InputError, match=message):
                index.search("q", 3, **options)
    with GlotIndex.open(path, read_only=True) as reader, pytest.raises(IndexReadOnlyError):
        reader.reindex("hnsw")


def test_a_disk_that_fails_while_reindexing_leaves_the_old_type(path, monkeypatch):
    with made(path, "flat", 300) as index:
        monkeypatch.setattr(replica, "write_temporary", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            index.reindex("hnsw")
        monkeypatch.undo()
        assert index.stats().index_type == index.manifest.index_type == "flat"
        assert len(index.search_vectors(QUERIES, 5)[0]) == 5
        assert index.verify().problems == ()
    with GlotIndex.open(path, ENCODER) as index:
        assert (index.stats().index_type, index.stats().serving) == ("flat", "Flat")


def test_readers_and_searches_go_on_while_it_is_reindexed(path):
    expected, _ = truth(3)
    wrong, stop = [], threading.Event()

    def search(opened):
        while not stop.is_set():
            if [[hit.id for hit in hits] for hits in opened.search_vectors(QUERIES, 3)] != expected:
                wrong.append(opened.stats().serving)

    with made(path, "flat") as index, GlotIndex.open(path, ENCODER, read_only=True) as reader:
        threads = [threading.Thread(target=search, args=(opened,)) for opened in (index, reader)]
        for thread in threads:
            thread.start()
        index.reindex("hnsw")
        index.reindex("flat")
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        index.add([Document("late", "late")])
        assert reader.search("late", 1)[0].id == "late"
        assert reader.verify().problems == ()


def test_an_index_that_cannot_be_trained_opens_and_is_exact(path, monkeypatch):
    with made(path, "ivf") as index:
        expected = index.search_vectors(QUERIES, 5, nprobe=64)
    (path / "index.faiss").unlink()

    def fails(cls, snapshot, plan, dimension):
        if plan.factory != "Flat":
            raise InputError("FAISS cannot train it")
        return build(snapshot, plan, dimension)

    build = faiss_index.FaissIndex.build
    monkeypatch.setattr(faiss_index.FaissIndex, "build", classmethod(fails))
    with pytest.warns(UserWarning, match="the search is exact instead"):
        index = GlotIndex.open(path, read_only=True)
    with index:
        assert index.stats().serving == "Flat"
        assert [[h.id for h in hits] for hits in index.search_vectors(QUERIES, 5)] == [
            [h.id for h in hits] for hits in expected
        ]


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.lists(st.integers(0, 25), min_size=1, max_size=12)),
            st.tuples(st.just("delete"), st.lists(st.integers(0, 25), max_size=8)),
            st.tuples(st.just("reindex"), st.sampled_from(["flat", "hnsw", "auto"])),
            st.tuples(st.sampled_from(["checkpoint", "reopen"]), st.none()),
        ),
        max_size=10,
    )
)
def test_any_order_of_changes_and_reindexings_gives_what_a_dict_would(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("i") / "index"
    index, oracle = GlotIndex.create(path, ENCODER), {}
    with GlotIndex.open(path, ENCODER, read_only=True) as reader:
        for number, (step, argument) in enumerate(steps):
            if step == "add":
                documents = [Document(f"{i} of {number}", f"d{i}", {"n": i}) for i in argument]
                index.add(documents)
                oracle |= {document.id: document for document in documents}
            elif step == "delete":
                index.delete([f"d{i}" for i in argument])
                oracle = {id: document for id, document in oracle.items() if int(id[1:]) not in argument}
            elif step == "reopen":
                index.close()
                index = GlotIndex.open(path, ENCODER)
            else:
                getattr(index, step)(*([argument] if argument else []))
            for opened in (index, reader):
                expected = brute_force(ENCODER, list(oracle.values()), "query", 4)
                assert [hit.id for hit in opened.search("query", 4)] == [id for id, _ in expected]
        assert index.verify().problems == reader.verify().problems == ()
        index.close()
