"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): several rankings into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# The paper's constant: it keeps a single first place from deciding everything.
RANK_OFFSET = 60


def fuse(runs: Sequence[Mapping[str, Mapping[str, float]]], k: int) -> dict[str, dict[str, float]]:
    """A document's score is the sum of 1 / (60 + rank) over the runs that found it.

    Args:
        runs: query id -> document id -> score, more is better; equal scores go by rising document id.
        k: documents a query.

    >>> fuse([{"q": {"a": 9.0, "b": 8.0}}, {"q": {"b": 0.5}}], k=1)
    {'q': {'b': 0.03252247488101534}}
    """
    fused: dict[str, dict[str, float]] = {}
    for query in dict.fromkeys(query for run in runs for query in run):
        scores: dict[str, float] = {}
        for run in runs:
            found = run.get(query, {})
            for rank, document in enumerate(sorted(found, key=lambda each: (-found[each], each)), start=1):
                scores[document] = scores.get(document, 0.0) + 1 / (RANK_OFFSET + rank)
        best = sorted(scores, key=lambda document: (-scores[document], document))[:k]
        fused[query] = {document: scores[document] for document in best}
    return fused
