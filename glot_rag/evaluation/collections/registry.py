"""What `--dataset` names: a BEIR folder, files without judgements, `ir_datasets:ID`, or `stdlib`."""

from __future__ import annotations

from pathlib import Path

from glot_rag.evaluation.collections.beir import BeirCollection
from glot_rag.evaluation.collections.catalogue import open_ir_dataset
from glot_rag.evaluation.collections.collection import Collection, MemoryCollection
from glot_rag.evaluation.collections.folder import MAX_QUERIES, QuerySource, open_folder
from glot_rag.evaluation.collections.judgements import QueryHalf
from glot_rag.evaluation.collections.stdlib import load_stdlib

_CATALOGUE = "ir_datasets:"
_BEIR_FILES = ("corpus.jsonl", "queries.jsonl", "qrels")


def load_collection(
    name: str,
    queries: QueryHalf = "all",
    *,
    limit: int | None = None,
    seed: int = 0,
    query_from: QuerySource = "auto",
    max_queries: int = MAX_QUERIES,
) -> MemoryCollection:
    """Read what `open_collection` opens into memory; arguments and errors are the same."""
    opened = open_collection(name, queries, limit=limit, seed=seed, query_from=query_from, max_queries=max_queries)
    return opened.load()


def open_collection(
    name: str,
    queries: QueryHalf = "all",
    *,
    limit: int | None = None,
    seed: int = 0,
    query_from: QuerySource = "auto",
    max_queries: int = MAX_QUERIES,
) -> Collection:
    """Open any kind of collection by its name; all but `stdlib` leave the documents on disk. Close it afterwards.

    Args:
        name: `stdlib`; `ir_datasets:` and an id; or a path. A folder with `corpus.jsonl`, `queries.jsonl` or `qrels` in
            it is in BEIR layout; of any other folder or file the documents are read and queries are made from them.
        queries: which half of the queries; not for `stdlib`.
        limit: how many documents of `stdlib`, drawn at random.
        seed: of that draw, and of the draw of queries that are made.
        query_from: what queries are made from.
        max_queries: how many queries are made at most.

    Raises:
        InputError: an argument that cannot be used.
        MissingExtraError: ir_datasets is not installed.
        DatasetError: the collection cannot be read.
    """
    if name == "stdlib":
        return load_stdlib(limit, seed=seed)
    if name.startswith(_CATALOGUE):
        return open_ir_dataset(name.removeprefix(_CATALOGUE), queries)
    if is_beir(name):
        return BeirCollection(name, queries)
    return open_folder(name, queries, query_from=query_from, max_queries=max_queries, seed=seed)


def is_beir(path: str) -> bool:
    """Whether a folder has any file of the BEIR layout; `BeirCollection` then says which ones are missing."""
    return any((Path(path) / each).exists() for each in _BEIR_FILES)
