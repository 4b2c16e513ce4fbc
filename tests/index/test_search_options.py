"""Pages, score thresholds, diversity, batches, and changes of metadata alone."""

import numpy as np
import pytest
from hash_encoder import HashEncoder, assert_same_hits, brute_force, corpus

from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index import Document, GlotIndex, index_types
from glot_rag.index.search import diversify

DOCUMENTS = corpus(60)


@pytest.fixture(params=["flat", "hnsw", "sq8"])
def filled(path, encoder, request):
    with GlotIndex.create(path, encoder, request.param) as made:
        made.add(DOCUMENTS)
        yield made


@pytest.mark.parametrize("filter", [None, {"even": True}])
def test_pages_are_parts_of_one_list(filled, encoder, filter):
    keep = (lambda m: m["even"]) if filter else (lambda m: True)
    whole = brute_force(encoder, DOCUMENTS, "query", 60, keep)
    for offset in (0, 1, 7, 25, 59, 60, 1000):
        assert_same_hits(filled.search("query", 7, filter, offset=offset), whole[offset : offset + 7])


def test_only_hits_above_a_score(filled, encoder):
    whole = brute_force(encoder, DOCUMENTS, "query", 60)
    for number in (0, 3, 40):
        least = (whole[number][1] + whole[number + 1][1]) / 2
        assert_same_hits(filled.search("query", 50, min_score=least), [pair for pair in whole[:50] if pair[1] >= least])
    assert filled.search("query", 50, min_score=1.1) == []
    assert len(filled.search("query", 5, min_score=-1)) == 5


def test_evidence_is_the_encoders_for_each_hit(filled, monkeypatch):
    with pytest.raises(InputError, match="evidence needs an encoder that can explain, this index has HashEncoder"):
        filled.search("query", evidence=True)
    monkeypatch.setattr(filled.encoder, "capabilities", {"explain"}, raising=False)
    monkeypatch.setattr(filled.encoder, "explain", lambda text, query: (text, query), raising=False)
    for hits in (filled.search("query", 3, evidence=True), filled.search("query", 3, mode="keyword", evidence=True)):
        assert [hit.evidence for hit in hits] == [(hit.text, "query") for hit in hits]
    assert [hit.evidence for hit in filled.search("query", 3)] == [None] * 3
    vectors = filled.encoder.encode_queries(["query"])
    assert filled.search_vectors(vectors, 1, texts=["query"], evidence=True)[0][0].evidence[1] == "query"
    with pytest.raises(InputError, match="rerank and evidence need texts"):
        filled.search_vectors(vectors, evidence=True)


@pytest.mark.parametrize("mmr", [0.0, 0.3, 0.7, 1.0])
def test_mmr_chooses_as_its_definition_says(filled, encoder, mmr):
    near = brute_force(encoder, DOCUMENTS, "query", 20)
    texts = {document.id: document.text for document in DOCUMENTS}
    vectors = encoder.vectors([texts[id] for id, _ in near])
    left, chosen = list(range(20)), []
    for _ in range(5):
        overlaps = [max((float(vectors[i] @ vectors[j]) for j in chosen), default=0) for i in left]
        gains = [mmr * near[i][1] - (1 - mmr) * overlap for i, overlap in zip(left, overlaps, strict=True)]
        chosen.append(left.pop(int(np.argmax(gains))) if mmr or chosen else left.pop(0))
    assert_same_hits(filled.search("query", 5, mmr=mmr, fetch_k=20), [near[i] for i in chosen])
    assert filled.search("query", 5, mmr=mmr) == filled.search("query", 5, mmr=mmr, fetch_k=20)  # 4·k


def test_mmr_with_a_filter_and_less_than_k(filled, encoder):
    assert {hit.id for hit in filled.search("query", 9, {"n": {"$lt": 4}}, mmr=0.5)} == {"d0", "d1", "d2", "d3"}
    assert filled.search("query", 9, {"n": -1}, mmr=0.5) == []


def test_a_batch_is_its_queries_one_by_one(filled):
    queries = [f"query {i}" for i in range(9)]
    batch = filled.search_batch(queries, 4, {"even": False}, offset=2, min_score=-0.5)
    for query, hits in zip(queries, batch, strict=True):
        alone = filled.search(query, 4, {"even": False}, offset=2, min_score=-0.5)
        assert_same_hits(hits, [(hit.id, hit.score) for hit in alone])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": -1}, "offset must be an int of 0 or more, got -1"),
        ({"offset": 1.0}, "offset must be an int"),
        ({"min_score": "high"}, "min_score must be a number, got 'high'"),
        ({"min_score": float("nan")}, "min_score must be a number, got nan"),
        ({"mmr": 1.5}, "mmr must be from 0 to 1, got 1.5"),
        ({"mmr": True}, "mmr must be a number, got True"),
        ({"fetch_k": 5}, "fetch_k goes with mmr"),
        ({"mmr": 0.5, "fetch_k": 0}, "fetch_k must be an int of 1 or more"),
        ({"mmr": 0.5, "offset": 3}, "offset does not go with mmr"),
    ],
)
def test_what_is_refused(index, options, message):
    with pytest.raises(InputError, match=message):
        index.search("q", 3, **options)  # also while it is empty
    with pytest.raises(InputError, match=message):
        index.search_vectors(np.eye(16)[:1], 3, **options)
    with pytest.raises(TypeError, match="ofset"):
        index.search("q", 3, ofset=2)


def test_numpy_numbers_are_numbers(filled):
    for kind in (np.int64, np.int32, np.uint8):
        assert filled.search("query", kind(3)) == filled.search("query", 3)
        assert filled.search("query", 3, offset=kind(2)) == filled.search("query", 3, offset=2)
        assert filled.search("query", 3, offset=kind(0)) == filled.search("query", 3)
        assert filled.search("query", kind(3), mmr=np.float32(0.5), fetch_k=kind(9)) == filled.search(
            "query", 3, mmr=0.5, fetch_k=9
        )
        assert filled.search_vectors(np.eye(16)[:1], kind(3)) == filled.search_vectors(np.eye(16)[:1], 3)
        assert filled.add(DOCUMENTS[:3], batch_size=kind(2)) == ["d0", "d1", "d2"]
    assert filled.search("query", 60, min_score=np.float64(0.1)) == filled.search("query", 60, min_score=0.1)
    with pytest.raises(InputError, match="k must be an int of 1 or more, got"):
        filled.search("query", np.float64(3))
    with pytest.raises(InputError, match="k must be an int of 1 or more, got"):
        filled.search("query", np.bool_(True))


def test_numpy_numbers_for_a_graph_and_lists(path, monkeypatch):
    monkeypatch.setattr(index_types, "MIN_IVF", 20)
    monkeypatch.setattr(index_types, "ROWS_PER_CENTROID", 1)
    for index_type, option in (("hnsw", "ef_search"), ("ivf", "nprobe")):
        with GlotIndex.create(path / index_type, HashEncoder(), index_type) as index:
            index.add(DOCUMENTS)
            index.checkpoint()
            assert index.stats().serving.startswith(("HNSW", "IVF"))
            assert index.search("query", 5, **{option: np.int64(9)}) == index.search("query", 5, **{option: 9})


def test_diversify_of_nothing():
    assert diversify([], np.empty((0, 4), np.float32), 3, 0.5) == []


class TestMetadata:
    def test_it_changes_nothing_else(self, filled, path):
        filled.encoder.encoded.clear()
        before = filled.vectors(["d3"]).tobytes()
        assert filled.update_metadata({"d3": {"new": 1}, "d4": DOCUMENTS[4].metadata, "none": {}}) == 2
        assert filled.get(["d3"]) == [Document("text 3", "d3", {"new": 1})]
        assert filled.ids({"new": 1}) == ["d3"]
        assert [hit.id for hit in filled.search("query", 9, {"new": 1})] == ["d3"]
        assert filled.encoder.encoded == []
        assert filled.vectors(["d3"]).tobytes() == before
        assert filled.verify().problems == ()
        with GlotIndex.open(path, read_only=True) as reader:
            assert reader.ids({"new": 1}) == ["d3"]
            with pytest.raises(IndexReadOnlyError):
                reader.update_metadata({"d3": {}})

    @pytest.mark.parametrize(
        ("metadata", "message"),
        [
            ([("d1", {})], "takes a dict of id -> metadata, got list"),
            ({"d1": {"a": 1}, "": {}}, "must not be empty"),
            ({"d1": {"a": 1}, "d2": {"a": {1, 2}}}, r"metadata of document 'd2'\['a'\] must be a str.*got set"),
            ({"d1": {"a": 1}, "d2": "x"}, "metadata of document 'd2' must be a dict"),
        ],
    )
    def test_a_bad_one_leaves_all_as_they_were(self, filled, metadata, message):
        with pytest.raises(InputError, match=message):
            filled.update_metadata(metadata)
        assert filled.get(["d1", "d2"]) == DOCUMENTS[1:3]


def test_an_option_that_needs_another_type(path):
    with GlotIndex.create(path, HashEncoder(), "hnsw") as index:
        index.add(DOCUMENTS)
        assert len(index.search("query", 3, ef_search=500)) == 3
        with pytest.raises(InputError, match="nprobe is for the index types 'ivf' and 'ivfpq', this index is 'hnsw'"):
            index.search("query", 3, nprobe=5)
