"""Several indexes searched as one give what one index with all documents gives."""

import random

import numpy as np
import pytest
from hash_encoder import HashEncoder

from glot_rag.errors import FingerprintMismatchError, InputError
from glot_rag.index import Document, Fusion, GlotIndex, ShardedIndex

WORDS = [f"{first}{last}" for first in ("apple", "plum", "kale", "iris") for last in ("", "tree", "leaf", "pie")]


def some_documents(count=400):
    choose = random.Random(5)
    documents = []
    for number in range(count):
        # Some words are rare in one shard and frequent in another: weights within a shard would differ.
        pool = WORDS if number % 4 else WORDS[:5]
        # Each has a length of its own, so that hardly any two have equal scores.
        text = " ".join(choose.choices(pool, k=choose.randint(3, 30))) + f" only{number}" + " more" * number
        documents.append(Document(text, f"d{number}", {"n": number, "lang": "en" if number % 3 else "de"}))
    return documents


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One index of all documents, and four that share them unevenly."""
    folder = tmp_path_factory.mktemp("sharded")
    encoder, documents = HashEncoder(), some_documents()
    with GlotIndex.create(folder / "whole", encoder) as index:
        index.add(documents)
        index.delete([f"d{number}" for number in range(0, 400, 50)])
    paths = []
    for shard in range(4):
        paths.append(folder / str(shard))
        with GlotIndex.create(paths[-1], encoder) as index:
            index.add([each for n, each in enumerate(documents) if (n % 4 if n < 350 else 2) == shard])
            index.delete([f"d{number}" for number in range(0, 400, 50)])
    with GlotIndex.open(folder / "whole", encoder) as whole, ShardedIndex.open(paths, encoder) as sharded:
        yield whole, sharded


QUERIES = ["apple plum only17", "kaletree kaletree apple irispie", "nothing of it", "only399 iris", "plumleaf"]
CASES = [
    {"mode": "vector"},
    {"mode": "keyword"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": Fusion("rrf", weight=0.6, depth=7)},
    {"mode": "hybrid", "fusion": Fusion(weight=0.2, depth=3)},
    {"mode": "vector", "offset": 5},
    {"mode": "hybrid", "offset": 5},
    {"mode": "keyword", "offset": 5, "min_score": 0.5},
    {"mode": "vector", "mmr": 0.4, "fetch_k": 30},
    {"mode": "hybrid", "mmr": 0.4},
    {"mode": "keyword", "rerank": lambda query, texts: [len(text) for text in texts]},
]


@pytest.mark.parametrize("filter", [None, {"lang": "de"}, {"n": {"$lt": 60}}, {"n": -1}], ids=str)
@pytest.mark.parametrize("options", CASES, ids=lambda each: "-".join(map(str, each)) + each["mode"])
def test_hits_are_those_of_one_index(both, options, filter):
    whole, sharded = both
    expected = whole.search_batch(QUERIES, 10, filter, **options)
    found = sharded.search_batch(QUERIES, 10, filter, **options)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose([hit.score for hit in other], [hit.score for hit in one], atol=2e-6)
        # Hits of equal scores may change places, and at the end of a list one may stand for another.
        texts = {hit.id: hit.text for hit in one}
        last = one[-1].score if one else 0
        assert {h.id for h in one if h.score > last + 1e-6} <= {h.id for h in other}
        assert all(texts.get(hit.id, hit.text) == hit.text for hit in other)
        assert all(hit.metadata == whole.get([hit.id])[0].metadata for hit in other)


def test_there_is_something_to_compare(both):
    whole, sharded = both
    assert len(whole) == len(sharded) == 392
    assert [len(hits) for hits in sharded.search_batch(QUERIES, 10, mode="keyword")] == [10, 10, 0, 10, 10]
    # Within one shard a word weighs otherwise: without the counts of all, scores would differ.
    alone = {hit.id: hit.score for hit in sharded._indexes[0].search("apple", 5, mode="keyword")}
    together = {hit.id: hit.score for hit in whole.search("apple", 400, mode="keyword")}
    assert min(abs(together[id] - score) for id, score in alone.items()) > 0.01


def test_documents_are_found_by_id(both):
    whole, sharded = both
    ids = ["d399", "d1", "d50", "d2"]
    assert sharded.get(ids) == whole.get(ids)
    assert [document.id for document in sharded.get(ids)] == ["d399", "d1", "d2"]


def test_what_is_refused(both, tmp_path):
    _, sharded = both
    with pytest.raises(InputError, match="needs the path of one index or more, got none"):
        ShardedIndex.open([])
    GlotIndex.create(tmp_path / "other", HashEncoder(fingerprint="another")).close()
    paths = [index.path for index in sharded._indexes[:1]]
    with pytest.raises(FingerprintMismatchError, match=r"has fingerprint 'hash-encoder-1', .* has 'another'"):
        ShardedIndex.open([*paths, tmp_path / "other"])
    GlotIndex.create(tmp_path / "german", HashEncoder(), language="german").close()
    with pytest.raises(FingerprintMismatchError, match=r"has language 'english', .* has 'german'"):
        ShardedIndex.open([*paths, tmp_path / "german"])
    with ShardedIndex.open(paths) as without, pytest.raises(InputError, match="This needs an encoder"):
        without.search("apple")
    with pytest.raises(InputError, match="evidence is given by one index"):
        sharded.search("apple", evidence=True)
    with pytest.raises(InputError, match="nprobe is for the index types"):
        sharded.search("apple", nprobe=3)
