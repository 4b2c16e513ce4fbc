"""Lists on disk find what an exact search finds, and give the texts of the shards."""

import json

import faiss
import numpy as np
import pytest

from glot_rag.errors import IndexNotFoundError, InputError
from glot_rag.shards.format import CHUNKS, ShardRecord, ShardWriter, chunk_schema, write_manifest
from glot_rag.shards.lists import ListIndex, build_lists

SHARDS, ROWS, DIMENSION = 6, 2000, 16


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Shards of vectors around 40 centres, and all vectors in order."""
    folder = tmp_path_factory.mktemp("run")
    (folder / CHUNKS).mkdir()
    draw = np.random.default_rng(3)
    centres = draw.standard_normal((40, DIMENSION))
    parts = []
    for shard in range(SHARDS):
        vectors = centres[draw.integers(40, size=ROWS)] + 0.4 * draw.standard_normal((ROWS, DIMENSION))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        parts.append(vectors)
        names = [f"s{shard}#{row}" for row in range(ROWS)]
        with ShardWriter(folder / CHUNKS / f"s{shard}.parquet", chunk_schema(DIMENSION, "fake")) as writer:
            for at in range(0, ROWS, 700):
                some = slice(at, min(at + 700, ROWS))
                numbers = list(range(some.start, some.stop))
                columns = dict.fromkeys(("id", "document", "hash"), names[some])
                columns |= {"text": [f"text {name}" for name in names[some]], "start": numbers, "end": numbers}
                columns |= {"metadata": [json.dumps({"n": n}) for n in numbers], "vector": vectors[some]}
                writer.write(columns)
            made_from = {"encoder": "fake", "dimension": DIMENSION, "settings": "", "documents": ""}
            write_manifest(folder, ShardRecord(f"s{shard}", CHUNKS, ROWS, writer.finish(), made_from))
    return folder, np.concatenate(parts)


def test_lists_find_what_an_exact_search_finds(run, tmp_path):
    folder, vectors = run
    assert build_lists(folder, tmp_path / "lists") == len(vectors) == SHARDS * ROWS
    index = ListIndex(tmp_path / "lists")
    trained = faiss.read_index(str(tmp_path / "lists" / "trained.faiss"))
    # Each vector is in the list nearest to it: a graph over ten thousand lists misses it.
    assert isinstance(faiss.downcast_index(trained.quantizer), faiss.IndexFlat)
    assert len(index) == len(vectors)
    queries = vectors[::301] + 0.05
    exact = np.argsort(-(vectors @ queries.T), axis=0)[:10].T
    scores, found = index.find(queries, 10, nprobe=10_000)  # all lists
    shares = [len(set(one) & set(other)) / 10 for one, other in zip(exact.tolist(), found.tolist(), strict=True)]
    assert np.mean(shares) > 0.95
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, np.einsum("nd,nkd->nk", unit, vectors[found]), atol=2e-3)  # float16
    for hits, numbers in zip(index.search_vectors(queries[:5], 3), index.find(queries[:5], 3)[1], strict=True):
        assert [hit.id for hit in hits] == [f"s{number // ROWS}#{number % ROWS}" for number in numbers]
        assert [hit.text for hit in hits] == [f"text {hit.id}" for hit in hits]
        assert [hit.metadata["n"] for hit in hits] == [number % ROWS for number in numbers]
    assert sorted(path.name for path in (tmp_path / "lists").iterdir()) == [
        "lists.json",
        "merged.faiss",
        "merged.ivfdata",
        "shards.json",
        "trained.faiss",
        "vectors.f16",
    ]


def test_what_is_refused(run, tmp_path):
    folder, _ = run
    with pytest.raises(IndexNotFoundError, match="holds no lists, which build_lists makes"):
        ListIndex(tmp_path)
    small = tmp_path / "small"
    (small / CHUNKS).mkdir(parents=True)
    for suffix in ("json", "parquet"):
        (small / CHUNKS / f"s0.{suffix}").write_bytes((folder / CHUNKS / f"s0.{suffix}").read_bytes())
    with pytest.raises(
        InputError, match=r"lists take 9,984 chunks to train, .* has 2,000: use `glot-rag import-index`"
    ):
        build_lists(small, tmp_path / "lists")
    assert not (tmp_path / "lists").exists()
