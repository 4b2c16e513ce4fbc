"""The evaluation: corrupt the documents, embed them with several poolings at once, search, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.evaluation.datasets import RetrievalDataset
from glot_rag.evaluation.metrics import METRICS, measure
from glot_rag.evaluation.noise import NoiseSpec, corrupt
from glot_rag.evaluation.results import Report, Result, library_versions, recovery

# texts -> pooling name -> (N, D) unit vectors: every pooling from one pass of the backbone
EmbedTexts = Callable[[Sequence[str]], Mapping[str, Vectors]]


def search(
    document_ids: Sequence[str],
    documents: Vectors,
    query_ids: Sequence[str],
    queries: Vectors,
    k: int = 100,
) -> dict[str, dict[str, float]]:
    """Exact search by inner product.

    Args:
        document_ids: N ids, the rows of `documents`.
        documents: (N, D) vectors.
        query_ids: Q ids, the rows of `queries`.
        queries: (Q, D) vectors.
        k: documents a query; all of them where there are fewer.

    Returns:
        query id -> document id -> score, best first.

    Raises:
        InputError: `k` below 1, ids and rows that do not match, different dimensions, or a value that is not
            finite.
    """
    import faiss

    if k < 1:
        raise InputError(f"k must be 1 or more, got {k}.")
    for what, ids, vectors in (("document", document_ids, documents), ("query", query_ids, queries)):
        if vectors.ndim != 2 or len(ids) != len(vectors):
            raise InputError(f"Got {len(ids)} {what} ids for vectors of shape {vectors.shape}; expected (ids, D).")
        if not np.isfinite(vectors).all():
            raise InputError(f"The {what} vectors hold values that are not finite.")
    if documents.shape[1] != queries.shape[1]:
        raise InputError(f"Documents have {documents.shape[1]} dimensions, queries {queries.shape[1]}.")
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(np.ascontiguousarray(documents, dtype=np.float32))
    scores, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, len(document_ids)))
    return {
        query: {document_ids[row]: float(score) for row, score in zip(rows[i], scores[i], strict=True)}
        for i, query in enumerate(query_ids)
    }


def evaluate(
    dataset: RetrievalDataset,
    embed_documents: EmbedTexts,
    embed_queries: EmbedTexts,
    poolings: Sequence[str],
    noises: Sequence[NoiseSpec],
    *,
    seed: int = 0,
    max_words: int = 170,
    metrics: Sequence[str] = METRICS,
    k: int = 100,
    embed_ceiling: EmbedTexts | None = None,
    encoders: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Measure every pooling on every noise setting, beside the ceiling.

    The ceiling is mean pooling over the surviving words of each document without the noise: what a pooling
    could reach that ignored the noise altogether. For clean documents that is mean pooling itself.

    Args:
        dataset: documents, queries, judgements.
        embed_documents: texts -> vectors of every pooling; always has `mean` among them.
        embed_queries: the same for queries.
        poolings: which poolings to report.
        noises: which noise settings to report, in this order.
        seed: of the noise.
        max_words: words of a noisy document in all; 0 for whole documents with the noise on top.
        metrics: as in `measure`.
        k: how many documents a search returns.
        embed_ceiling: a cheaper `embed_documents` for the ceiling, of which only `mean` is used.
        encoders: pooling -> fingerprint of the encoder, to go into the report.
        progress: is told, in words, what is done next.

    Raises:
        InputError: no pooling or noise setting is given, one is given twice, or the vectors lack a pooling.
    """
    for what, given in (("pooling", list(poolings)), ("noise setting", [str(noise) for noise in noises])):
        if not given or len(set(given)) < len(given):
            raise InputError(f"Give at least one {what}, each once; got {given}.")
    document_ids, query_ids = list(dataset.documents), list(dataset.queries)
    query_vectors = embed_queries(list(dataset.queries.values()))
    tell = progress or (lambda message: None)

    def measured(vectors: Mapping[str, Vectors], pooling: str) -> dict[str, float]:
        for each in (vectors, query_vectors):
            if pooling not in each:
                raise InputError(f"No vectors of pooling {pooling!r}; there are: {', '.join(each)}.")
        run = search(document_ids, vectors[pooling], query_ids, query_vectors[pooling], k)
        return measure(dataset.qrels, run, metrics)

    results: list[Result] = []
    # Kinds of noise at the same ratio leave the same signal words: their ceiling is embedded once.
    ceilings: dict[tuple[str, ...], dict[str, float]] = {}
    for number, noise in enumerate(noises, start=1):
        tell(f"{noise} ({number} of {len(noises)})")
        corrupted = corrupt(list(dataset.documents.values()), noise, seed=seed, max_words=max_words)
        texts = [each.text for each in corrupted]
        signals = tuple(each.signal for each in corrupted)
        vectors = embed_documents(texts)
        mean = measured(vectors, "mean")
        if list(signals) == texts:
            ceilings[signals] = mean
        elif signals not in ceilings:
            tell(f"{noise} ({number} of {len(noises)}): the ceiling")
            ceilings[signals] = measured((embed_ceiling or embed_documents)(signals), "mean")
        ceiling = ceilings[signals]
        for pooling in poolings:
            values = mean if pooling == "mean" else measured(vectors, pooling)
            results.append(
                Result(pooling, noise.kind, noise.ratio, values, dict(ceiling), recovery(values, mean, ceiling))
            )
    return Report(
        dataset=dataset.name,
        seed=seed,
        results=results,
        max_words=max_words,
        k=k,
        documents=len(document_ids),
        queries=len(query_ids),
        encoders=dict(encoders or {}),
        problems=list(dataset.problems),
        versions=library_versions(),
    )
