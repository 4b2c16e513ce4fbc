"""ir_datasets, with a collection that is registered here: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

ir_datasets = pytest.importorskip("ir_datasets")

from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericQuery, TrecQrel  # noqa: E402

from glot_rag.errors import DatasetError, MissingExtraError  # noqa: E402
from glot_rag.evaluation import load_collection, load_ir_dataset  # noqa: E402


class Page(NamedTuple):
    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


class Docs(BaseDocs):
    def __init__(self, docs: list[Page]) -> None:
        self._docs = docs

    def docs_iter(self) -> Iterator[Page]:
        return iter(self._docs)


class Queries(BaseQueries):
    def queries_iter(self) -> Iterator[Any]:
        return iter([GenericQuery("1", "what lifts"), GenericQuery("2", "what heats"), GenericQuery("3", "unjudged")])


class Qrels(BaseQrels):
    def __init__(self, fails: bool = False) -> None:
        self._fails = fails

    def qrels_iter(self) -> Iterator[TrecQrel]:
        if self._fails:
            raise ConnectionError("no network")
        yield TrecQrel("1", "a", 2, "0")
        yield TrecQrel("2", "b", 1, "0")
        yield TrecQrel("2", "zzz", 1, "0")
        yield TrecQrel("9", "a", 1, "0")


DOCS = [Page("a", "Wings", "lift and drag"), Page("b", "", "heat"), Page("c", "", " ")]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(name: str, *parts: Any) -> None:
        monkeypatch.setitem(ir_datasets.registry._registered, name, ir_datasets.Dataset(*parts))

    return put


def test_a_registered_collection(register: Any) -> None:
    register("glot-toy", Docs(DOCS), Queries(), Qrels())
    dataset = load_collection("ir_datasets:glot-toy")
    assert dataset.name == "glot-toy"
    assert dataset.documents == {"a": "Wings lift and drag", "b": "heat"}
    assert dataset.queries == {"1": "what lifts", "2": "what heats"}
    assert dataset.qrels == {"1": {"a": 2}, "2": {"b": 1}}
    assert dataset.queries_made == {}
    assert dataset.problems == [
        "1 empty documents (the first: 'c'), left out.",
        "1 judgements of unknown or empty documents (the first: 'zzz'), left out.",
        "1 judgements of unknown or empty queries (the first: '9'), left out.",
        "1 queries without a relevant document (the first: '3'), left out.",
    ]
    assert list(load_collection("ir_datasets:glot-toy", "even").queries) == ["2"]


def test_what_cannot_be_used(register: Any) -> None:
    with pytest.raises(DatasetError, match=r"no collection 'no/such'.*ir-datasets\.com"):
        load_ir_dataset("no/such")
    register("glot-toy-docs", Docs(DOCS))
    with pytest.raises(DatasetError, match="has no queries and no qrels: expected an id with documents"):
        load_ir_dataset("glot-toy-docs")
    register("glot-toy-offline", Docs(DOCS), Queries(), Qrels(fails=True))
    with pytest.raises(DatasetError, match=r"could not be read or downloaded.*no network.*IR_DATASETS_HOME"):
        load_ir_dataset("glot-toy-offline")
    register("glot-toy-twice", Docs([*DOCS, DOCS[0]]), Queries(), Qrels())
    with pytest.raises(
        DatasetError, match=r"glot-toy-twice, document 4: the id 'a' was already used at .*document 1\."
    ):
        load_ir_dataset("glot-toy-twice")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_datasets", None)
    with pytest.raises(MissingExtraError, match=r"ir_datasets.*glot-rag\[eval\]"):
        load_ir_dataset("vaswani")
