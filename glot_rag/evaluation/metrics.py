"""Retrieval measures by trec_eval, through ir_measures.

Ties: trec_eval puts equal scores in falling order of document id, other implementations otherwise, and
trec_eval also rounds scores to single precision, which makes new ties. So the ranking is settled here, before
any of them sees it: higher score first, equal scores in rising order of document id. All measures then see
the same ranking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from glot_rag.errors import InputError, MissingExtraError

METRICS = ("ndcg@10", "recall@10", "mrr@10", "recall@100", "map@100")

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]


def measure(qrels: Qrels, run: Run, metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """Mean of every metric over the judged queries, in [0, 1].

    A judged query that the run lacks counts as 0; a query of the run without judgements is ignored.

    Args:
        qrels: query id -> document id -> grade (1 or more is relevant; nDCG's gain is the grade itself).
        run: query id -> document id -> score, more is better.
        metrics: names such as `"ndcg@10"`, `"recall@100"`, `"mrr@10"`, `"map@100"`; each looks at the first k
            documents only.

    Raises:
        InputError: a metric of another form, or no judged query.
        MissingExtraError: ir_measures is not installed.
    """
    values = measure_per_query(qrels, run, metrics)
    return {name: sum(each.values()) / len(each) for name, each in values.items()}


def measure_per_query(qrels: Qrels, run: Run, metrics: Sequence[str] = METRICS) -> dict[str, dict[str, float]]:
    """Metric -> query id -> value, in the order of `qrels`; arguments and errors are those of `measure`."""
    if not qrels:
        raise InputError("There are no judged queries to measure on.")
    try:
        import ir_measures
    except ImportError:
        raise MissingExtraError("ir_measures", "eval") from None
    wanted = {_metric(ir_measures, name): name for name in metrics}
    values = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    # ir_measures wants real dicts; a run without any of the queries would make trec_eval fail.
    judged = {query: dict(grades) for query, grades in qrels.items()}
    for value in ir_measures.iter_calc(list(wanted), judged, {query: _ranks(run.get(query, {})) for query in qrels}):
        values[wanted[value.measure]][value.query_id] = float(value.value)
    return values


def _ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores -> the same ranking without ties: 0 for the best document, -1 for the next."""
    ranking = sorted(scores, key=lambda document: (-scores[document], document))
    return {document: float(-rank) for rank, document in enumerate(ranking)}


def check_metrics(names: Sequence[str]) -> None:
    """Raise InputError for no metric, a repeated one, or one of another form than "ndcg@10"."""
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise InputError(f"Give a list of at least one metric, each once; got {names!r}.")
    for name in names:
        _parts(name)


def _parts(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(ndcg|recall|mrr|map)@([1-9]\d*)", name)
    if match is None:
        raise InputError(f"Unknown metric {name!r}. Write ndcg@K, recall@K, mrr@K or map@K, as in 'ndcg@10'.")
    return match[1], int(match[2])


def _metric(ir_measures: Any, name: str) -> Any:
    kind, depth = _parts(name)
    measures = {"ndcg": ir_measures.nDCG, "recall": ir_measures.R, "mrr": ir_measures.RR, "map": ir_measures.AP}
    return measures[kind] @ depth
