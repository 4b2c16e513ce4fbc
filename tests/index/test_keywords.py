"""Keyword and hybrid searches: terms, scores against bm25s, and the ways to ask."""

import threading

import bm25s
import numpy as np
import pytest
from hash_encoder import HashEncoder, assert_all_searches, brute_force

from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index import Document, Fusion, GlotIndex, index_types
from glot_rag.index.keywords import bm25, postings
from glot_rag.index.keywords.analysis import LANGUAGES, analyzer, decode_counts, encode_counts
from glot_rag.index.keywords.bm25 import KeywordIndex

WORDS = [f"word{number}" for number in range(40)]


def texts(size, seed=0):
    """Texts of words that are rare or frequent, as in a language."""
    generator = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 30), p=share / share.sum())) for _ in range(size)]


def same_terms(language, *words):
    return len({frozenset(analyzer(language).query(word)) for word in words}) == 1


class TestTerms:
    def test_stems_case_and_stop_words(self):
        english = analyzer("english")
        assert same_terms("english", "Connection", "connections", "CONNECTED", "the connecting of")
        assert english.query("the of and") == {}
        assert list(english.query("flow flow flows").values()) == [3]
        assert same_terms("german", "Häuser", "häusern")
        assert not same_terms("none", "connection", "connections")
        assert len(analyzer("none").query("The the THE of")) == 2

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_every_language_can_be_used(self, language):
        assert len(analyzer(language).query("zeppelin 42")) == 2

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("東京都に住んでいます", "東京"),
            ("中文检索系统", "检索"),
            ("한국어 문서를 검색한다", "검색"),
            ("ภาษาไทย", "ไทย"),
            ("日本茶", "茶"),
        ],
    )
    def test_scripts_without_spaces_are_found_by_pairs(self, text, query):
        terms, _ = decode_counts(analyzer("english").document(text))
        assert analyzer("english").query(query)
        assert set(analyzer("english").query(query)) <= set(terms.tolist())
        assert not set(analyzer("english").query("漢字")) & set(terms.tolist())

    def test_other_scripts_and_forms(self):
        assert same_terms("none", "हिन्दी")
        assert len(analyzer("none").query("हिन्दी")) == 1  # vowel signs are part of the word
        assert same_terms("none", "ﬁnal", "final")
        assert same_terms("none", "STRASSE", "straße")
        assert same_terms("none", "ＡＢＣ１", "abc1")
        assert analyzer("english").query("—!? …") == {}

    def test_counts_of_any_size_come_back(self):
        for counts in ([], [1, 2], [255, 256], [70_000, 1, 1]):
            terms = np.arange(1, len(counts) + 1, dtype=np.uint64)
            found = decode_counts(encode_counts(terms, np.array(counts, np.uint32)))
            assert (found[0].tolist(), found[1].tolist()) == (terms.tolist(), counts)
        for wrong in (b"", b"\3", b"\1x", b"\0"):
            with pytest.raises(ValueError, match="no counts"):
                decode_counts(wrong)

    def test_threads_share_an_analyzer(self, monkeypatch):
        monkeypatch.setattr("glot_rag.index.keywords.analysis.MOST_WORDS", 10)
        shared, expected, wrong = analyzer("finnish"), [analyzer("finnish").query(w) for w in WORDS], []

        def ask():
            wrong.extend(w for w, terms in zip(WORDS, expected, strict=True) if shared.query(w) != terms)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def bm25s_scores(documents, query):
    """By bm25s: {position: score} of documents that have a word of the query."""
    engine = bm25s.BM25(method="lucene")
    engine.index([text.split() for text in documents], show_progress=False)
    scores = engine.get_scores(query.split())
    return {i: float(score) for i, score in enumerate(scores) if score > 0}


def keyword_scores(index, query):
    scores, keys = index.scored(analyzer("none").query(query)).best(1 << 40)
    return dict(zip(keys.tolist(), scores.tolist(), strict=True))


class TestScores:
    """Numbers of documents are their keys here."""

    @pytest.mark.parametrize("batch", [1, 7, 1000])
    def test_they_are_those_of_bm25s_however_documents_came_and_went(self, monkeypatch, batch):
        monkeypatch.setattr(bm25, "BATCH", batch)
        monkeypatch.setattr(postings, "AT_ONCE", 50)
        corpus = texts(200)
        rows = [(key + 1, analyzer("none").document(text)) for key, text in enumerate(corpus)]
        index = KeywordIndex.build(rows[:50])
        gone: set[int] = set()
        for start in range(50, 200, 30):
            index.append(rows[start : start + 30])
            index.remove(range(start - 20, start, 3))
            gone |= set(range(start - 20, start, 3))
            alive = [key for key in range(1, min(start + 30, 200) + 1) if key not in gone]
            assert (len(index), index.keys().tolist()) == (len(alive), alive)
            for query in ("word0", "word3 word3 word30", "word1 word39 nothing"):
                expected = bm25s_scores([corpus[key - 1] for key in alive], query)
                found = keyword_scores(index, query)
                assert list(found.values()) == sorted(found.values(), reverse=True)
                assert {alive[i]: score for i, score in expected.items()} == pytest.approx(found, rel=1e-5)
        one = KeywordIndex(index.merged())
        assert keyword_scores(one, "word3 word7") == pytest.approx(keyword_scores(index, "word3 word7"), rel=1e-6)
        assert (
            index.merged().sums().tolist()
            == KeywordIndex.build([row for row in rows[: index.largest] if row[0] not in gone]).merged().sums().tolist()
        )

    def test_a_file_gives_the_same_arrays(self):
        made = KeywordIndex.build([(k + 1, analyzer("none").document(t)) for k, t in enumerate(texts(60))]).merged()
        read = postings.from_buffer(memoryview(b"".join(postings.sections(made))), 60)
        for name in ("keys", "lengths", "terms", "offsets", "positions", "counts"):
            assert getattr(read, name).tolist() == getattr(made, name).tolist()
        empty = postings.Postings.empty()
        assert len(postings.from_buffer(memoryview(b"".join(postings.sections(empty))), 0).keys) == 0
        with pytest.raises(ValueError, match="contradict"):
            postings.from_buffer(memoryview(b"".join(postings.sections(made))), 59)

    def test_of_equal_scores_the_older_document_comes_first(self, index):
        index.add([Document("same words", f"d{i}") for i in (3, 1, 2)])
        assert [hit.id for hit in index.search("words", 2, mode="keyword")] == ["d3", "d1"]


@pytest.fixture
def filled(index):
    index.add([Document(text, f"d{i}", {"even": i % 2 == 0, "n": i}) for i, text in enumerate(texts(90))])
    return index


QUERIES = ["word1 word20", "word39", "word0 word1 word2 word39", "absent"]


class TestSearches:
    @pytest.mark.parametrize("query", QUERIES)
    def test_all_modes_equal_brute_force_with_and_without_filters(self, filled, query):
        documents = list(filled)
        for k in (1, 10, 200):
            assert_all_searches(filled, documents, query, k)
            assert_all_searches(filled, documents, query, k, lambda m: m["even"], {"even": True})
            assert_all_searches(filled, documents, query, k, lambda m: m["n"] < 3, {"n": {"$lt": 3}})
            assert_all_searches(filled, documents, query, k, lambda m: False, {"n": -1})

    def test_batches_pages_and_thresholds(self, filled):
        for mode in ("keyword", "hybrid"):
            whole = filled.search_batch(QUERIES, 90, mode=mode)
            assert whole == [filled.search(query, 90, mode=mode) for query in QUERIES]
            assert filled.search(QUERIES[0], 5, mode=mode, offset=7) == whole[0][7:12]
            least = whole[0][10].score
            assert filled.search(QUERIES[0], 50, mode=mode, min_score=least) == [
                h for h in whole[0] if h.score >= least
            ]

    def test_keywords_need_no_encoder(self, filled, path):
        expected = filled.search(QUERIES[0], 5, mode="keyword")
        with GlotIndex.open(path, read_only=True) as reader:
            assert reader.search(QUERIES[0], 5, mode="keyword") == expected
            with pytest.raises(InputError, match="needs an encoder"):
                reader.search(QUERIES[0], 5, mode="hybrid")
            vectors = HashEncoder().vectors(QUERIES[:1])
            found = reader.search_vectors(vectors, 5, mode="hybrid", texts=QUERIES[:1])
        assert found == [filled.search(QUERIES[0], 5, mode="hybrid")]

    def test_the_language_stays_with_the_index(self, path, encoder, tmp_path):
        with GlotIndex.create(path, encoder, language="german") as made:
            made.add([Document("Die Häuser am Fluss", "a"), Document("der Weg", "b")])
            assert made.stats().language == "german"
        with GlotIndex.open(path, encoder) as opened:
            assert [hit.id for hit in opened.search("häusern", mode="keyword")] == ["a"]
            assert opened.search("die der", mode="keyword") == []
        with pytest.raises(InputError, match=r"language must be one of .*german.*got 'klingon'"):
            GlotIndex.create(tmp_path / "other", encoder, language="klingon")
        assert not (tmp_path / "other").exists()

    def test_diverse_hits_over_keywords_and_both(self, index, encoder):
        index.add([Document("alpha beta", "a"), Document("alpha beta", "copy"), Document("alpha gamma", "c")])
        for mode in ("keyword", "hybrid"):
            assert {hit.id for hit in index.search("alpha beta", 2, mode=mode)} == {"a", "copy"}
            assert [hit.id for hit in index.search("alpha beta", 2, mode=mode, mmr=0.3)][1] == "c"

    def test_reranking(self, filled):
        asked = []

        def shortest(query, texts):
            asked.append((query, len(texts)))
            return [-len(text) for text in texts]

        for mode in ("vector", "keyword", "hybrid"):
            hits = filled.search(QUERIES[0], 3, mode=mode, rerank=shortest, fetch_k=20)
            wanted = sorted(filled.search(QUERIES[0], 20, mode=mode), key=lambda hit: len(hit.text))[:3]
            assert [(hit.id, hit.score) for hit in hits] == [(hit.id, -len(hit.text)) for hit in wanted]
        assert asked == [(QUERIES[0], 20)] * 3
        assert filled.search("absent", 3, mode="keyword", rerank=shortest) == []
        for wrong in (lambda q, t: [1.0], lambda q, t: ["x"] * len(t), lambda q, t: [float("nan")] * len(t)):
            with pytest.raises(InputError, match="rerank must give a number for each"):
                filled.search(QUERIES[0], 3, rerank=wrong)
        with pytest.raises(ZeroDivisionError):  # a fault of the function is not hidden
            filled.search(QUERIES[0], 3, rerank=lambda q, t: 1 / 0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "both"}, "mode must be one of vector, keyword, hybrid; got 'both'"),
            ({"fusion": Fusion()}, "fusion goes with mode='hybrid'"),
            ({"mode": "hybrid", "fusion": "rrf"}, "fusion must be a Fusion"),
            ({"rerank": "model"}, "rerank must be a function"),
            ({"rerank": max, "mmr": 0.5}, "mmr does not go with rerank"),
            ({"rerank": max, "offset": 1}, "offset does not go with mmr or rerank"),
            ({"mode": "keyword", "nprobe": 3}, "nprobe is for searches by vectors"),
        ],
    )
    def test_what_is_refused(self, index, options, message):
        with pytest.raises(InputError, match=message):
            index.search("q", 3, **options)

    def test_vectors_alone_are_not_enough(self, index):
        for options in ({"mode": "hybrid"}, {"mode": "keyword"}, {"rerank": max}):
            with pytest.raises(InputError, match="need texts="):
                index.search_vectors(np.eye(16)[:1], 3, **options)
        with pytest.raises(InputError, match="texts must be 1, one for each vector, got 2"):
            index.search_vectors(np.eye(16)[:1], 3, mode="hybrid", texts=["a", "b"])


class TestFusion:
    def test_by_hand(self):
        cosines, words = [0.8, 0.4, 0.2], [0.0, 3.0, 1.5]
        assert Fusion(weight=0.25).fuse(cosines, words).tolist() == pytest.approx([0.25, 0.25 / 3 + 0.75, 0.375])
        assert Fusion().fuse([0.5, 0.5], [0.0, 0.0]).tolist() == [0, 0]
        assert Fusion().fuse([], []).tolist() == []
        ranked = Fusion("rrf", weight=0.5).fuse(cosines, words)
        assert ranked.tolist() == pytest.approx([0.5 / 61, 0.5 / 62 + 0.5 / 61, 0.5 / 63 + 0.5 / 62])

    def test_all_the_weight_on_one_side_is_that_side(self, filled, encoder):
        documents = list(filled)
        for method in ("convex", "rrf"):
            hits = filled.search(QUERIES[0], 9, mode="hybrid", fusion=Fusion(method, weight=1))
            assert [hit.id for hit in hits] == [id for id, _ in brute_force(encoder, documents, QUERIES[0], 9)]
            hits = filled.search(QUERIES[0], 9, mode="hybrid", fusion=Fusion(method, weight=0))
            assert [hit.id for hit in hits] == [hit.id for hit in filled.search(QUERIES[0], 9, mode="keyword")]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"method": "sum"}, "fusion method must be one of convex, rrf; got 'sum'"),
            ({"weight": 1.1}, "weight of a fusion must be from 0 to 1, got 1.1"),
            ({"weight": "much"}, "weight of a fusion must be a number"),
            ({"depth": 0}, "depth of a fusion must be an int of 1 or more"),
            ({"rank_constant": 1.5}, "rank_constant of a fusion must be an int"),
        ],
    )
    def test_what_is_refused(self, arguments, message):
        with pytest.raises(InputError, match=message):
            Fusion(**arguments)


def test_an_index_that_was_built_in_steps_is_that_built_at_once(path, tmp_path, encoder):
    """Files written on the way, documents replaced and deleted, reopened: the keyword searches are the same."""
    corpus = [Document(text, f"d{i}") for i, text in enumerate(texts(120))]
    with GlotIndex.create(tmp_path / "once", encoder) as once:
        once.add(corpus[20:])
        expected = [[(h.id, round(h.score, 5)) for h in once.search(q, 20, mode="keyword")] for q in QUERIES]
    with GlotIndex.create(path, encoder) as index:
        index.add([Document(text, f"d{i}") for i, text in enumerate(texts(60, seed=9))])
    for start in range(0, 120, 40):
        with GlotIndex.open(path, encoder) as index:
            index.add(corpus[start : start + 40], batch_size=7)
            index.delete([f"d{i}" for i in range(20)])
    with GlotIndex.open(path, encoder) as index:
        assert [[(h.id, round(h.score, 5)) for h in index.search(q, 20, mode="keyword")] for q in QUERIES] == expected
        assert index.verify().problems == ()
        assert index.verify().keywords == 100
        index.compact()
        assert [[(h.id, round(h.score, 5)) for h in index.search(q, 20, mode="keyword")] for q in QUERIES] == expected


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf", "sq8"])
def test_both_over_each_type_and_a_mapped_file(path, encoder, monkeypatch, index_type):
    """FAISS gives the vectors of what only the words find, or the store does: the scores are the same."""
    for name in ("MIN_IVF", "MIN_SQ8", "ROWS_PER_CENTROID"):
        monkeypatch.setattr(index_types, name, 1)
    documents = [Document(text, f"d{i}", {"even": i % 2 == 0}) for i, text in enumerate(texts(90))]
    with GlotIndex.create(path, encoder, index_type) as index:
        index.add([*documents, Document("gone", "gone", {"even": True})])
        index.checkpoint()
        index.delete(["gone"])
    for mapped in (False, True):
        with GlotIndex.open(path, encoder, read_only=True, memory_map=mapped) as reader:
            reader.search("query", 1)
            assert reader.stats().serving.lower().startswith({"sq8": "scalar"}.get(index_type, index_type))
            fusion, k = Fusion(depth=2), 2  # each finds what the other does not
            for query in QUERIES[:3]:
                assert_all_searches(reader, documents, query, 90)
                hits = reader.search(query, k, {"even": True}, mode="hybrid", fusion=fusion)
                kept = [document for document in documents if document.metadata["even"]]
                near = dict(brute_force(encoder, kept, query, 2))
                words = {hit.id for hit in reader.search(query, 2, {"even": True}, mode="keyword")}
                assert {hit.id for hit in hits} <= near.keys() | words
                asked = encoder.vectors([query])[0]
                cosines = {
                    id: float(encoder.vectors([reader.get([id])[0].text])[0] @ asked) for id in near.keys() | words
                }
                keywords = {hit.id: hit.score for hit in reader.search(query, 90, mode="keyword")}
                both = fusion.fuse(list(cosines.values()), [keywords.get(id, 0) for id in cosines])
                expected = sorted(both.tolist(), reverse=True)[:k]
                np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-5)


class TestFacetsAndFilters:
    @pytest.fixture
    def shop(self, index):
        metadata = [
            {"lang": "en", "tags": ["a", "b", "a"], "author": {"name": "Ann"}, "n": 1},
            {"lang": "de", "tags": ["b"], "author.name": "Ann", "n": 1.0},
            {"lang": "en", "tags": "b", "n": True},
            {"lang": None, "tags": [], "n": "1"},
            {},
        ]
        index.add([Document(f"text {i}", f"d{i}", each) for i, each in enumerate(metadata)])
        return index

    def test_facets(self, shop):
        assert shop.facets("lang") == [("en", 2), (None, 1), ("de", 1)]
        assert shop.facets("tags") == [("b", 3), ("a", 1)]
        assert shop.facets("author.name") == [("Ann", 2)]
        assert sorted(map(repr, shop.facets("n"))) == ["('1', 1)", "(1, 2)", "(True, 1)"]
        assert shop.facets("lang", {"tags": {"$any": ["b"]}}) == [("de", 1), ("en", 1)]
        assert shop.facets("author") == shop.facets("none") == []
        with pytest.raises(InputError, match="key of a facet"):
            shop.facets(5)
        with pytest.raises(InputError, match="unknown operator"):
            shop.facets("lang", {"lang": {"$near": 1}})

    def test_setting_metadata_by_filter(self, shop, path):
        shop.encoder.encoded.clear()
        assert shop.set_metadata({"lang": "fr", "new": [1]}, filter={"lang": "en"}) == 2
        assert shop.get(["d2"])[0].metadata == {"lang": "fr", "tags": "b", "n": True, "new": [1]}
        assert shop.get(["d1"])[0].metadata["lang"] == "de"
        assert shop.ids({"new": {"$exists": True}}) == ["d0", "d2"]
        before = shop.stats().sequence
        assert shop.set_metadata({"lang": "fr"}, filter={"lang": "fr"}) == 2
        assert shop.stats().sequence == before  # nothing changed, nothing was written
        assert shop.set_metadata({"all": 1}, filter={}) == 5
        assert shop.encoder.encoded == []
        assert [hit.id for hit in shop.search("text 2", 1, {"all": 1}, mode="keyword")] == ["d2"]
        for values, filter, message in (
            ({"a": {1}}, {}, "must be a str"),
            ([("a", 1)], {}, "takes a dict of key -> value, got list"),
            ({"a": 1}, {"$or": 1}, r"\$or takes a list"),
        ):
            with pytest.raises(InputError, match=message):
                shop.set_metadata(values, filter=filter)
        assert shop.verify().problems == ()
        with GlotIndex.open(path, read_only=True) as reader, pytest.raises(IndexReadOnlyError):
            reader.set_metadata({"a": 1}, filter={})
