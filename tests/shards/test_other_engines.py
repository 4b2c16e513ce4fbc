"""`EmbedBatch` in engines that run Python functions over data frames, as docs/scale.md shows it."""

import os
import sys

import pandas
import pytest
from fake_encoder import FakeEncoder

from glot_rag.shards import EmbedBatch

TEXTS = {f"d{number}": " ".join(f"w{number}x{place}" for place in range(10 + 20 * number)) for number in range(8)}


@pytest.fixture
def embed(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    return EmbedBatch(str(tmp_path / "encoder"), chunk_tokens=32)


@pytest.fixture
def frame():
    return pandas.DataFrame({"id": list(TEXTS), "text": list(TEXTS.values())})


def as_frame(columns):
    return pandas.DataFrame({**columns, "vector": columns["vector"].tolist()})


def frames(embed):
    """What Spark's mapInPandas takes: an iterator of data frames in, one out."""
    return lambda batches: (as_frame(embed(batch)) for batch in batches)


def check(found, embed):
    assert list(found["id"]) == embed({"id": list(TEXTS), "text": list(TEXTS.values())})["id"]
    assert len(found) > 15
    for text, vector in zip(found["text"], found["vector"], strict=True):
        assert list(vector) == FakeEncoder().encode_documents([text])[0].tolist()


def test_a_function_over_data_frames(embed, frame):
    check(pandas.concat(frames(embed)(iter([frame[:3], frame[3:]]))), embed)


def test_dask(embed, frame):
    delayed = pytest.importorskip("dask", reason="Dask is not installed").delayed
    parts = [delayed(as_frame)(delayed(embed)(frame[at : at + 3])) for at in range(0, len(frame), 3)]
    found = delayed(pandas.concat)(parts).compute(scheduler="threads", num_workers=2)
    check(found, embed)


def test_spark(frame, monkeypatch):
    """With one process: what a worker loads is the real model."""
    pytest.importorskip("pyspark", reason="PySpark, which also needs Java, is not installed")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__), prepend=os.pathsep)  # of its workers
    from pyspark.sql import SparkSession

    embed = EmbedBatch("minilm", chunk_tokens=32, dtype="float32")
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    schema = "id string, document string, hash string, text string, metadata string, start long, end long"
    found = spark.createDataFrame(frame).mapInPandas(frames(embed), f"{schema}, vector array<float>").toPandas()
    spark.stop()
    assert sorted(found["id"]) == sorted(embed({"id": list(TEXTS), "text": list(TEXTS.values())})["id"])


def test_daft(embed, frame):
    daft = pytest.importorskip("daft", reason="Daft is not installed")
    table = (
        daft.from_pandas(frame).into_batches(3) if hasattr(daft.DataFrame, "into_batches") else daft.from_pandas(frame)
    )
    found = pandas.concat(as_frame(embed(part.to_pydict())) for part in table.iter_partitions())
    check(found, embed)
