"""The model of larger corpora gives back the constants of a machine that is what the model says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import scale_model

from glot_rag.shards.lists import MOST_TRAINED

LISTS = {10**5: 1_024, 10**6: 4_096, 10**7: 16_384}
SAMPLES = {10**5: 10**5, 10**6: MOST_TRAINED, 10**7: 39 * 16_384}
TRAINING = {size: 100 + 1e-8 * SAMPLES[size] * lists for size, lists in LISTS.items()}  # 10 ns a vector and a list

ADDING = {size: 20 + 0.01 * lists for size, lists in LISTS.items()}  # microseconds


def measured(vectors):
    """2 ms and 50 ns a code to search."""
    search = [{"nprobe": n, "core_ms": 2 + 50e-6 * vectors * n / LISTS[vectors]} for n in (8, 32, 128, 512)]
    return {
        "lists": {
            "vectors": vectors,
            "lists": LISTS[vectors],
            "train_core_seconds": TRAINING[vectors],
            "add_core_microseconds_per_chunk": ADDING[vectors],
            "list_bytes_per_chunk": 100.0,
            "vector_bytes_per_chunk": 900.0,
            "search": search,
        }
    }


EMBEDDING = {
    "embedding": [
        {
            "workers": workers,
            "chunks_per_second": 8.0,
            "chunks_per_core_second": None if workers else 10.0,
            "document_bytes_per_chunk": 400,
            "shard_bytes_per_chunk": 2_600,
            "index_bytes_per_chunk": 4_000,
        }
        for workers in (1, 0)
    ]
}


def test_constants_come_back():
    model = scale_model.fitted([measured(size)["lists"] for size in LISTS])
    assert model.train_fixed == pytest.approx(100)
    assert model.train_each == pytest.approx(1e-8)
    assert model.search_fixed == pytest.approx(2e-3)
    assert model.search_each == pytest.approx(50e-9)
    assert scale_model.size_of(10**7) == (16_384, SAMPLES[10**7])


def test_what_ten_billion_chunks_take():
    head, *_, last = scale_model.model_rows([EMBEDDING, *map(measured, LISTS)])
    found = dict(zip(head, last, strict=True))
    assert found["embedding, core hours"] == f"{10**10 / 10 / 3600:,.0f}"
    assert found["files of the run"] == "30.0 TB"
    assert found["one index or several: on disk"] == "40.0 TB"
    assert found["on disk"] == "10.0 TB"
    assert found["of which codes, in memory"] == "1.0 TB"
    assert found["machines of 256 GB for these"] == "5"
    lists, sample = scale_model.size_of(10**8)  # of each of a hundred parts
    building = 100 * (100 + 1e-8 * lists * sample) + 10**10 * (20 + 0.01 * lists) * 1e-6
    assert found["lists: to build, core hours"] == f"{building / 3600:,.1f}"
    assert found["a search, core ms"] == f"{100 * (2 + 50e-6 * 10**8 / 32):,.1f}"


def test_the_check_is_of_the_largest_size():
    large = measured(10**7)
    large["lists"]["add_core_microseconds_per_chunk"] *= 2
    head, training, adding, codes, search = scale_model.check_rows([large, measured(10**6), measured(10**5)])
    assert head[:2] == ["at 10,000,000 chunks", "by the model, from 100,000 and 1,000,000"]
    assert training == ["training, core minutes", *[f"{TRAINING[10**7] / 60:.1f}"] * 2, "1.00x"]
    assert adding[2:] == [f"{2 * 10 * ADDING[10**7] / 60:.1f}", "2.00x"]
    assert codes[-1] == search[-1] == "1.00x"
