"""Collections of the ir_datasets catalogue (MacAvaney et al. 2021, arXiv:2103.02280), by their id."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from glot_rag.errors import DatasetError, MissingExtraError
from glot_rag.evaluation.collections.collection import Judged, MemoryCollection
from glot_rag.evaluation.collections.judgements import (
    QueryHalf,
    check_half,
    collect_grades,
    judged_queries,
)
from glot_rag.evaluation.collections.spooled import SpooledCollection


def load_ir_dataset(name: str, queries: QueryHalf = "all") -> MemoryCollection:
    """Read what `open_ir_dataset` opens into memory; arguments and errors are the same."""
    return open_ir_dataset(name, queries).load()


def open_ir_dataset(name: str, queries: QueryHalf = "all") -> SpooledCollection:
    """Read a collection of the catalogue; what is not on this machine yet, ir_datasets downloads.

    A document's text is what ir_datasets calls its default text: mostly title and body. The documents stay in a
    temporary file until the collection is closed.

    Args:
        name: an id, like `vaswani` or `beir/scifact/test`.
        queries: which half, as in `load_beir`.

    Raises:
        InputError: an unknown half.
        MissingExtraError: ir_datasets is not installed.
        DatasetError: no such id, one without documents, queries or judgements, a failed download, an id that comes
            twice, or nothing left to evaluate.
    """
    check_half(queries)
    try:
        import ir_datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError("ir_datasets", "eval") from error
    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        raise DatasetError(
            f"ir_datasets has no collection {name!r}; the ids are listed at https://ir-datasets.com"
        ) from None
    lacking = [part for part in ("docs", "queries", "qrels") if not getattr(dataset, f"has_{part}")()]
    if lacking:
        raise DatasetError(
            f"The collection {name!r} of ir_datasets has no {' and no '.join(lacking)}: expected an id with documents, "
            "queries and judgements, which often ends in the name of a split, like beir/scifact/test."
        )
    where = f"ir_datasets:{name}"
    collection = SpooledCollection(name)
    with ExitStack() as opened:
        opened.callback(collection.close)
        try:
            for number, each in enumerate(dataset.docs_iter(), start=1):
                collection.add(str(each.doc_id), _text(each), f"{where}, document {number:,}")
            collection.report_empty()
            texts = _queries(dataset, where)
            judged = ((each.query_id, each.doc_id, each.relevance) for each in dataset.qrels_iter())
            qrels = collect_grades(judged, collection, texts, collection.problems)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            raise DatasetError(
                f"The collection {name!r} of ir_datasets could not be read or downloaded ({error!r:.200}). Without "
                "network, put its files into the folder that ir_datasets reads (IR_DATASETS_HOME), or give a folder in "
                "BEIR layout."
            ) from error
        remedy = "Expected documents, queries and judgements."
        kept = judged_queries(texts, qrels, queries, collection.problems, where, remedy)
        collection.judge(Judged(kept, {key: qrels[key] for key in kept}, collection.problems))
        opened.pop_all()
    return collection


def _queries(dataset: Any, where: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, each in enumerate(dataset.queries_iter(), start=1):
        if each.query_id in texts:
            raise DatasetError(f"{where}, query {number:,}: the id {each.query_id!r} was already used.")
        texts[each.query_id] = _text(each)
    return texts


def _text(record: Any) -> str:
    """Of a document or a query; older releases of ir_datasets have no default text."""
    text = record.default_text() if hasattr(record, "default_text") else record.text
    return str(text).strip()
