"""How sure the figures are: bootstrap intervals, a paired randomisation test, Holm's correction (scipy, statsmodels).

Source: Smucker, Allan and Carterette, "A comparison of statistical significance tests for information retrieval
evaluation", CIKM 2007: the randomisation test is the one to trust for means over queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.errors import InputError, MissingExtraError
from glot_rag.evaluation.collections.collection import Judged
from glot_rag.evaluation.metrics import Run

RESAMPLES = 9_999
LEVEL = 0.95
# Differences of a query's nDCG below this are rounding, not a win.
_TIE = 1e-9


@dataclass(frozen=True)
class Loss:
    """A query on which a method does worse than mean pooling, with the document it put first and the best one.

    Args:
        query_id: the query.
        query: its text.
        value: the method's nDCG@10.
        mean: mean pooling's.
        first_id: the document that the method put first; None where it found none.
        first: the noisy text of that document.
        relevant_id: the best judged document.
        relevant: its noisy text.
    """

    query_id: str
    query: str
    value: float
    mean: float
    first_id: str | None
    first: str
    relevant_id: str
    relevant: str


@dataclass(frozen=True)
class Comparison:
    """A method against mean pooling, query by query.

    Args:
        difference: method - mean, averaged over the queries.
        interval: of the difference, at 95%.
        p: two-sided, of the paired randomisation test.
        p_holm: after Holm's correction for all comparisons of the report; None before it.
        wins: queries on which the method is better.
        losses: queries on which it is worse.
        ties: the others.
        worst: the queries that lost most, the worst first.
    """

    difference: float
    interval: list[float]
    p: float
    wins: int
    losses: int
    ties: int
    p_holm: float | None = None
    worst: list[Loss] = field(default_factory=list)


def interval(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> list[float]:
    """The percentile bootstrap's 95% interval of the mean: [low, high]; resampled by query.

    Raises:
        InputError: no values.
        MissingExtraError: scipy is not installed.
    """
    stats = _scipy_stats()
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError("There are no values to give an interval of.")
    if np.ptp(array) == 0.0:  # one value, or all the same: scipy would give NaN
        return [float(array[0])] * 2
    found = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=256,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def compare(values: Mapping[str, float], mean: Mapping[str, float], *, seed: int = 0) -> Comparison:
    """Compare query by query.

    Args:
        values: query id -> value of the method.
        mean: the same queries -> value of mean pooling.
        seed: of the resampling.

    Raises:
        InputError: not the same queries, or none.
        MissingExtraError: scipy is not installed.
    """
    if values.keys() != mean.keys():
        raise InputError(f"Compared must be the same queries, got {len(values)} and {len(mean)} that differ.")
    differences = np.array([values[query] - mean[query] for query in values])
    stats = _scipy_stats()
    between = interval(differences, seed=seed)
    # One pair in two swapped at random is one difference in two with its sign turned.
    p = 1.0
    if np.abs(differences).max() > _TIE:
        p = float(
            stats.permutation_test(
                (differences,),
                lambda sample, axis: np.mean(sample, axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=RESAMPLES,
                batch=256,
                rng=np.random.default_rng(seed),
            ).pvalue
        )
    wins, losses = int((differences > _TIE).sum()), int((differences < -_TIE).sum())
    return Comparison(float(differences.mean()), between, p, wins, losses, len(differences) - wins - losses)


def worst_losses(
    judged: Judged,
    run: Run,
    values: Mapping[str, float],
    mean: Mapping[str, float],
    text_of: Callable[[str], str],
    count: int = 10,
) -> list[Loss]:
    """The queries that lost most against mean pooling, with the texts that explain it (1,000 characters each)."""
    lost = sorted((query for query in values if values[query] < mean[query]), key=lambda q: values[q] - mean[q])
    losses = []
    for query in lost[:count]:
        found, grades = run.get(query, {}), judged.qrels[query]
        first = min(found, key=lambda each: (-found[each], each), default=None)
        relevant = max(grades, key=lambda each: grades[each])
        losses.append(
            Loss(
                query,
                judged.queries[query],
                values[query],
                mean[query],
                first,
                text_of(first)[:1000] if first is not None else "",
                relevant,
                text_of(relevant)[:1000],
            )
        )
    return losses


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics, 1979): keeps the chance of any false alarm.

    Raises:
        MissingExtraError: statsmodels is not installed.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    if not p_values:
        return []
    try:
        from statsmodels.stats.multitest import multipletests
    except ImportError:
        raise MissingExtraError("statsmodels", "eval") from None
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise MissingExtraError("scipy", "eval") from None
    return stats
