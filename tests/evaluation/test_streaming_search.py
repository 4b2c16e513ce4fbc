"""Documents that go through a batch at a time, from disk: the same results, and no memory that grows with them."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glot_rag.embedder import Vectors
from glot_rag.errors import DatasetError
from glot_rag.evaluation import MemoryCollection, corrupt, evaluate, load_beir, load_collection, parse_noise
from glot_rag.evaluation.collections.beir import BeirCollection
from glot_rag.evaluation.collections.registry import open_collection
from glot_rag.evaluation.collections.spooled import SpooledCollection
from glot_rag.evaluation.noise.noisy_collection import write_noisy_collection
from glot_rag.evaluation.search import Nearest

Embed = Callable[[Sequence[str]], dict[str, Vectors]]
Write = Callable[[MemoryCollection, Path], Path]
Catalogue = Callable[[str, int], None]
NOISES = [parse_noise(text) for text in ("none", "words:0.8", "offtopic:0.8@end", "ocr:0.5")]


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
    dataset: MemoryCollection, embedder: Embed, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(dataset, tmp_path / "toy")
    with open(folder / "corpus.jsonl", "a") as file:
        file.write('{"_id": "empty", "text": " "}\n')
    with open(folder / "qrels" / "test.tsv", "a") as file:
        file.write("q00\tempty\t1\nq77\td00\t1\nq01\td01\t2\n")
    for half in ("all", "odd"):
        loaded, stored = load_beir(folder, half), BeirCollection(folder, half)
        assert stored.hash == loaded.hash
        first, second = (
            evaluate(each, embedder, embedder, ["oracle"], NOISES, seed=2, max_words=40) for each in (loaded, stored)
        )
        assert first.queries == (40 if half == "all" else 20)
        assert len(first.problems) == 4
        assert second.to_json() == first.to_json()
        stored.close()


def test_batches_of_any_size_give_the_same_results(dataset: MemoryCollection, embedder: Embed) -> None:
    sizes: list[int] = []

    def counted(texts: Sequence[str]) -> dict[str, Vectors]:
        sizes.append(len(texts))
        return embedder(texts)

    whole = evaluate(dataset, embedder, embedder, ["mean", "oracle"], NOISES, max_words=40)
    parts = evaluate(dataset, counted, embedder, ["mean", "oracle"], NOISES, max_words=40, batch_size=17)
    assert sizes[:3] == [17, 17, 6]
    assert set(sizes) == {17, 6}
    for one, other in zip(whole.results, parts.results, strict=True):
        assert other.metrics == pytest.approx(one.metrics)
        assert other.ceiling == pytest.approx(one.ceiling)


def test_what_adapts_sees_the_noisy_documents_first(dataset: MemoryCollection, embedder: Embed) -> None:
    seen: list[list[str]] = []
    embedded: list[int] = []

    def counted(texts: Sequence[str]) -> dict[str, Vectors]:
        embedded.append(len(seen))
        return embedder(texts)

    evaluate(
        dataset, counted, embedder, ["mean"], NOISES[:2], max_words=40, batch_size=30,
        prepare=lambda texts: seen.append(list(texts)),
    )  # fmt: skip
    documents = list(dataset.documents.values())
    assert seen == [[each.text for each in corrupt(documents, noise, seed=0, max_words=40)] for noise in NOISES[:2]]
    assert embedded == [1, 1, 2, 2, 2, 2]  # two batches each, and two of the ceiling


def test_nearest_over_blocks_is_the_nearest_of_all() -> None:
    rng = np.random.default_rng(0)
    documents, queries = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (100, 30))
    nearest = Nearest(queries, 20)
    for start in range(0, 100, 13):
        nearest.add(documents[start : start + 13])
    scores = queries @ documents.T
    for row, found in enumerate(nearest.found()):
        assert [place for place, _ in found] == np.argsort(-scores[row])[:20].tolist()
        assert [score for _, score in found] == pytest.approx(np.sort(scores[row])[::-1][:20].tolist(), abs=1e-5)


def test_every_kind_of_collection_is_measured_as_it_is_in_memory(
    embedder: Embed, tmp_path: Path, catalogue: Catalogue
) -> None:
    lines = [{"id": f"d{number}", "title": f"Part number {number}", "text": filler(number)} for number in range(60)]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lines.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    catalogue("glot-stream", 60)
    for name in (str(tmp_path / "docs"), "ir_datasets:glot-stream"):
        loaded, stored = load_collection(name), open_collection(name)
        assert isinstance(stored, SpooledCollection)
        assert stored.hash == loaded.hash == stored.sha256["dataset_hash"]
        first, second = (
            evaluate(each, embedder, embedder, ["oracle"], NOISES, seed=2, max_words=40) for each in (loaded, stored)
        )
        assert first.documents == 60
        assert second.to_json() == first.to_json()
        stored.close()
        write_noisy_collection(open_collection(name), NOISES[1], tmp_path / "noisy" / name[-4:])
        assert load_beir(tmp_path / "noisy" / name[-4:]).queries == loaded.queries


@pytest.mark.parametrize("kind", ["beir", "documents", "ir_datasets"])
def test_memory_does_not_grow_with_the_documents(
    kind: str, dataset: MemoryCollection, embedder: Embed, write_beir: Write, tmp_path: Path, catalogue: Catalogue
) -> None:
    def peak(documents: int) -> int:
        folder = tmp_path / str(documents)
        name = str(folder)
        if kind == "beir":
            write_beir(dataset, folder)
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
        collection = open_collection(name, max_queries=40)
        evaluate(collection, embedder, embedder, ["mean"], [parse_noise("words:0.5")], max_words=20, batch_size=64)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        collection.close()
        return highest

    peak(64)  # what happens once
    small, large = peak(500), peak(3000)
    assert large < small + 250_000  # 2,500 texts more are a megabyte


def test_a_malformed_folder_is_refused_with_file_and_line(
    dataset: MemoryCollection, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(dataset, tmp_path / "toy")
    with open(folder / "qrels" / "test.tsv", "a") as file:
        file.write("q00 d00\n")
    with pytest.raises(DatasetError, match=r"test\.tsv:41: expected query id, document id, grade"):
        open_collection(str(folder))
    write_beir(dataset, tmp_path / "twice")
    with open(tmp_path / "twice" / "corpus.jsonl", "a") as file:
        file.write('{"_id": "d03", "text": "again"}\n')
    with pytest.raises(DatasetError, match=r"corpus\.jsonl:41: the id 'd03' was already used at .*corpus\.jsonl:4"):
        open_collection(str(tmp_path / "twice"))


def test_nothing_to_measure_is_said_before_anything_is_embedded(
    dataset: MemoryCollection, write_beir: Write, tmp_path: Path
) -> None:
    folder = write_beir(dataclasses.replace(dataset, qrels={"q00": {"unknown": 1}}), tmp_path / "toy")
    with pytest.raises(DatasetError, match="no query with a relevant document"):
        evaluate(open_collection(str(folder)), lambda texts: {}, lambda texts: {}, ["mean"], NOISES)
