"""BM25 over words, through bm25s (Lù 2024, arXiv:2407.03618): what a retriever without a model finds."""

from __future__ import annotations

from collections.abc import Sequence

from glot_rag.errors import MissingExtraError


def search_bm25(
    document_ids: Sequence[str], texts: Sequence[str], query_ids: Sequence[str], queries: Sequence[str], k: int
) -> dict[str, dict[str, float]]:
    """Search with bm25s's defaults (Lucene's variant, k1 1.5, b 0.75, English stop words, no stemming).

    Documents that share no word with a query score 0 and are left out of its run.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    try:
        import bm25s
    except ImportError:
        raise MissingExtraError("bm25s", "eval") from None
    words = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
    asked = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
    if not any(len(ids) for ids in words.ids):
        return {query: {} for query in query_ids}  # an index without words cannot be built
    retriever = bm25s.BM25()
    retriever.index(words, show_progress=False)
    run: dict[str, dict[str, float]] = {}
    for query, tokens in zip(query_ids, asked, strict=True):
        scores = retriever.get_scores(tokens) if tokens else []
        found = sorted((-float(score), row) for row, score in enumerate(scores) if score > 0)[:k]
        run[query] = {document_ids[row]: -score for score, row in found}
    return run
