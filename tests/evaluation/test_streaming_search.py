"""Documents that go through a batch at a time, from disk: the same results, and no memory that grows with them."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate, load_beir, load_collection, parse_noise
from glot_rag.evaluation.collections.beir import BeirCollection
from glot_rag.evaluation.collections.registry import open_collection
from glot_rag.evaluation.collections.spooled import SpooledCollection
from glot_rag.evaluation.noise.noisy_collection import write_noisy_collection
from glot_rag.evaluation.streaming_search import NearestDocuments

Encoders = dict[str, Any]
Write = Callable[[MemoryCollection, Path], Path]
Catalogue = Callable[[str, int], None]
NOISES = [parse_noise(text) for text in ("none", "words:0.8", "offtopic:0.8@end", "ocr:0.5")]


def settings(*noises: Any, **changed: Any) -> EvaluationSettings:
    return EvaluationSettings(noises or NOISES, **{"max_words": 40, "costs": False, **changed})


class Forgetful:
    """An `Embedder` that keeps nothing of what it embeds."""

    dimension, fingerprint = 16, "forgetful"

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        return np.array([np.random.default_rng(seed).normal(size=16) for seed in seeds], np.float32)

    encode_queries = encode_documents


def filler(number: int) -> str:
    return f"filler {number} " + "and more of it " * 20


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Registers a collection of so many documents with ir_datasets; 20 queries, each with a document."""
    ir_datasets = pytest.importorskip("ir_datasets")
    formats = ir_datasets.formats

    def register(name: str, documents: int) -> None:
        class Docs(formats.BaseDocs):  # type: ignore[misc,name-defined]
            def docs_iter(self) -> Iterator[Any]:
                return (formats.GenericDoc(f"d{number}", filler(number)) for number in range(documents))

        class Queries(formats.BaseQueries):  # type: ignore[misc,name-defined]
            def queries_iter(self) -> Iterator[Any]:
                return (formats.GenericQuery(f"q{number}", f"filler {number}") for number in range(20))

        class Qrels(formats.BaseQrels):  # type: ignore[misc,name-defined]
            def qrels_iter(self) -> Iterator[Any]:
                return (formats.TrecQrel(f"q{number}", f"d{number}", 1, "0") for number in range(20))

        monkeypatch.setitem(ir_datasets.registry._registered, name, ir_datasets.Dataset(Docs(), Queries(), Qrels()))

    return register


def test_a_folder_on_disk_gives_the_report_of_the_loaded_one(
    collection: MemoryCollection, encoders: Encoders, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(collection, tmp_path / "toy")
    with open(folder / "corpus.jsonl", "a") as file:
        file.write('{"_id": "empty", "text": " "}\n')
    with open(folder / "qrels" / "test.tsv", "a") as file:
        file.write("q00\tempty\t1\nq77\td00\t1\nq01\td01\t2\n")
    for half in ("all", "odd"):
        loaded, stored = load_beir(folder, half), BeirCollection(folder, half)
        assert stored.hash == loaded.hash
        first, second = (evaluate(each, encoders, settings(seed=2)) for each in (loaded, stored))
        assert first.queries == (40 if half == "all" else 20)
        assert len(first.problems) == 4
        assert second.to_json() == first.to_json()
        stored.close()


def test_batches_of_any_size_give_the_same_results(collection: MemoryCollection, encoders: Encoders) -> None:
    whole = evaluate(collection, encoders, settings())
    encoders["mean"].asked.clear()
    parts = evaluate(collection, encoders, settings(batch_size=17, baselines=["bm25"]))
    sizes = [len(texts) for texts in encoders["mean"].asked]
    assert sizes[:3] == [17, 17, 6]
    assert set(sizes) == {17, 6}
    for one in whole.results:
        other = parts.result(one.label, *one.setting)
        assert other is not None
        assert other.metrics == pytest.approx(one.metrics)
        assert other.oracle == pytest.approx(one.oracle)


def test_nearest_over_blocks_is_the_nearest_of_all() -> None:
    rng = np.random.default_rng(0)
    documents, queries = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (100, 30))
    nearest = NearestDocuments(queries, 20)
    for start in range(0, 100, 13):
        nearest.add(documents[start : start + 13])
    scores = queries @ documents.T
    for row, found in enumerate(nearest.found()):
        assert [place for place, _ in found] == np.argsort(-scores[row])[:20].tolist()
        assert [score for _, score in found] == pytest.approx(np.sort(scores[row])[::-1][:20].tolist(), abs=1e-5)


def test_every_kind_of_collection_is_measured_as_it_is_in_memory(
    encoders: Encoders, tmp_path: Path, catalogue: Catalogue
) -> None:
    lines = [{"id": f"d{number}", "title": f"Part number {number}", "text": filler(number)} for number in range(60)]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lines.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    catalogue("glot-stream", 60)
    for name in (str(tmp_path / "docs"), "ir_datasets:glot-stream"):
        loaded, stored = load_collection(name), open_collection(name)
        assert isinstance(stored, SpooledCollection)
        assert stored.hash == loaded.hash == stored.sha256["dataset_hash"]
        first, second = (evaluate(each, encoders, settings(seed=2)) for each in (loaded, stored))
        assert first.documents == 60
        assert second.to_json() == first.to_json()
        stored.close()
        write_noisy_collection(open_collection(name), NOISES[1], tmp_path / "noisy" / name[-4:])
        assert load_beir(tmp_path / "noisy" / name[-4:]).queries == loaded.queries


@pytest.mark.parametrize("kind", ["beir", "documents", "ir_datasets"])
def test_memory_does_not_grow_with_the_documents(
    kind: str, collection: MemoryCollection, encoders: Encoders, write_beir: Write, tmp_path: Path, catalogue: Catalogue
) -> None:
    mean = {"mean": Forgetful()}

    def peak(documents: int) -> int:
        folder = tmp_path / str(documents)
        name = str(folder)
        if kind == "beir":
            write_beir(collection, folder)
            with open(folder / "corpus.jsonl", "a") as file:
                file.writelines(json.dumps({"_id": f"e{i}", "text": filler(i)}) + "\n" for i in range(documents))
        elif kind == "documents":
            folder.mkdir()
            with open(folder / "all.jsonl", "w") as file:
                for i in range(documents):
                    file.write(json.dumps({"id": f"e{i}", "title": f"Number {i}", "text": filler(i)}) + "\n")
        else:
            name = f"ir_datasets:glot-{documents}"
            catalogue(f"glot-{documents}", documents)
        tracemalloc.start()
        opened = open_collection(name, max_queries=40)
        evaluate(opened, mean, settings("words:0.5", max_words=20, batch_size=64))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        opened.close()
        return highest

    peak(64)  # what happens once
    small, large = peak(300), peak(2000)
    assert large < small + 250_000  # 1,700 texts more are 550 kB


def test_a_malformed_folder_is_refused_with_file_and_line(
    collection: MemoryCollection, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(collection, tmp_path / "toy")
    with open(folder / "qrels" / "test.tsv", "a") as file:
        file.write("q00 d00\n")
    with pytest.raises(DatasetError, match=r"test\.tsv:41: expected query id, document id, grade"):
        open_collection(str(folder))
    write_beir(collection, tmp_path / "twice")
    with open(tmp_path / "twice" / "corpus.jsonl", "a") as file:
        file.write('{"_id": "d03", "text": "again"}\n')
    with pytest.raises(DatasetError, match=r"corpus\.jsonl:41: the id 'd03' was already used at .*corpus\.jsonl:4"):
        open_collection(str(tmp_path / "twice"))


def test_nothing_to_measure_is_said_before_anything_is_embedded(
    collection: MemoryCollection, encoders: Encoders, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(dataclasses.replace(collection, qrels={"q00": {"unknown": 1}}), tmp_path / "toy")
    with pytest.raises(DatasetError, match="no query with a relevant document"):
        evaluate(open_collection(str(folder)), encoders, settings())
    assert encoders["mean"].asked == []
