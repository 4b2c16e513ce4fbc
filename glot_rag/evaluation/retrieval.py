"""The evaluation: corrupt the documents, embed them with several poolings at once, search, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from glot_rag.embedder import Vectors
from glot_rag.errors import InputError
from glot_rag.evaluation.datasets import RetrievalDataset
from glot_rag.evaluation.metrics import METRICS, Run, measure_per_query
from glot_rag.evaluation.noise import corrupt
from glot_rag.evaluation.noise_spec import Noise
from glot_rag.evaluation.results import PRIMARY_METRIC, Report, Result, library_versions, recovery
from glot_rag.evaluation.search import search
from glot_rag.evaluation.significance import Loss, compare, holm, interval
from glot_rag.evaluation.systems import TextSearch, fuse

# texts -> pooling name -> (N, D) unit vectors: every pooling from one pass of the backbone
EmbedTexts = Callable[[Sequence[str]], Mapping[str, Vectors]]
# metric -> query id -> value
PerQuery = Mapping[str, Mapping[str, float]]


def evaluate(
    dataset: RetrievalDataset,
    embed_documents: EmbedTexts,
    embed_queries: EmbedTexts,
    poolings: Sequence[str],
    noises: Sequence[Noise],
    *,
    seed: int = 0,
    max_words: int = 170,
    metrics: Sequence[str] = METRICS,
    k: int = 100,
    embed_ceiling: EmbedTexts | None = None,
    encoders: Mapping[str, str] | None = None,
    systems: Mapping[str, TextSearch] | None = None,
    hybrids: Mapping[str, Sequence[str]] | None = None,
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
        systems: name -> search over the texts themselves; reported after the poolings.
        hybrids: name -> the poolings and systems whose rankings are fused under that name; reported last.
        progress: is told, in words, what is done next.

    Raises:
        InputError: no pooling or noise setting is given, one is given twice, or the vectors lack a pooling.
    """
    systems, hybrids = systems or {}, hybrids or {}
    names = [*poolings, *systems, *hybrids]
    for what, given in (("pooling", names), ("noise setting", [str(noise) for noise in noises])):
        if not given or len(set(given)) < len(given):
            raise InputError(f"Give at least one {what}, each once; got {given}.")
    document_ids, query_ids = list(dataset.documents), list(dataset.queries)
    query_texts = list(dataset.queries.values())
    query_vectors = embed_queries(query_texts)
    tell = progress or (lambda message: None)
    primary = PRIMARY_METRIC in metrics

    def run(vectors: Mapping[str, Vectors], pooling: str) -> Run:
        for each in (vectors, query_vectors):
            if pooling not in each:
                raise InputError(f"No vectors of pooling {pooling!r}; there are: {', '.join(each)}.")
        return search(document_ids, vectors[pooling], query_ids, query_vectors[pooling], k)

    results: list[Result] = []
    # Kinds of noise at the same ratio leave the same signal words: their ceiling is embedded once.
    ceilings: dict[tuple[str, ...], PerQuery] = {}
    for number, noise in enumerate(noises, start=1):
        step = f"{noise} ({number} of {len(noises)})"
        tell(step)
        corrupted = corrupt(list(dataset.documents.values()), noise, seed=seed, max_words=max_words)
        texts = [each.text for each in corrupted]
        signals = tuple(each.signal for each in corrupted)
        vectors = embed_documents(texts)
        runs = {"mean": run(vectors, "mean")}
        mean = measure_per_query(dataset.qrels, runs["mean"], metrics)
        if list(signals) == texts:
            ceilings[signals] = mean
        elif signals not in ceilings:
            tell(f"{step}: the ceiling")
            alone = run((embed_ceiling or embed_documents)(signals), "mean")
            ceilings[signals] = measure_per_query(dataset.qrels, alone, metrics)
        ceiling = ceilings[signals]
        for pooling in dict.fromkeys([*poolings, *(part for parts in hybrids.values() for part in parts)]):
            if pooling not in systems and pooling not in runs:
                runs[pooling] = run(vectors, pooling)
        for name, system in systems.items():
            tell(f"{step}: {name}")
            runs[name] = system(document_ids, texts, query_ids, query_texts, k)
        for name, parts in hybrids.items():
            runs[name] = fuse([runs[part] for part in parts], k)
        bounds = interval(list(ceiling[PRIMARY_METRIC].values()), seed=seed) if primary else None
        noisy = dict(zip(document_ids, texts, strict=True))
        for name in names:
            values = mean if name == "mean" else measure_per_query(dataset.qrels, runs[name], metrics)
            averages = _averages(values)
            compared = None
            if primary and name != "mean":
                compared = compare(values[PRIMARY_METRIC], mean[PRIMARY_METRIC], seed=seed)
                worst = worst_losses(dataset, runs[name], values[PRIMARY_METRIC], mean[PRIMARY_METRIC], noisy)
                compared = replace(compared, worst=worst)
            results.append(
                Result(
                    name,
                    noise.label,
                    noise.ratio,
                    averages,
                    _averages(ceiling),
                    recovery(averages, _averages(mean), _averages(ceiling)),
                    interval(list(values[PRIMARY_METRIC].values()), seed=seed) if primary else None,
                    bounds,
                    compared,
                )
            )
    return Report(
        dataset=dataset.name,
        seed=seed,
        results=_corrected(results),
        max_words=max_words,
        k=k,
        documents=len(document_ids),
        queries=len(query_ids),
        encoders=dict(encoders or {}),
        problems=list(dataset.problems),
        versions=library_versions(),
        dataset_hash=dataset.hash,
        queries_made=dict(dataset.queries_made),
    )


def _averages(values: PerQuery) -> dict[str, float]:
    return {metric: sum(each.values()) / len(each) for metric, each in values.items()}


def _corrected(results: Sequence[Result]) -> list[Result]:
    """Holm's correction over every comparison of the report."""
    p_values = iter(holm([each.against_mean.p for each in results if each.against_mean is not None]))
    return [
        replace(each, against_mean=replace(each.against_mean, p_holm=next(p_values))) if each.against_mean else each
        for each in results
    ]


def worst_losses(
    dataset: RetrievalDataset,
    run: Run,
    values: Mapping[str, float],
    mean: Mapping[str, float],
    texts: Mapping[str, str],
    count: int = 10,
) -> list[Loss]:
    """The queries that lost most against mean pooling, with the texts that explain it (1,000 characters each)."""
    lost = sorted((query for query in values if values[query] < mean[query]), key=lambda q: values[q] - mean[q])
    losses = []
    for query in lost[:count]:
        found, grades = run.get(query, {}), dataset.qrels[query]
        first = min(found, key=lambda each: (-found[each], each), default=None)
        relevant = max(grades, key=lambda each: grades[each])
        losses.append(
            Loss(
                query,
                dataset.queries[query],
                values[query],
                mean[query],
                first,
                texts[first][:1000] if first is not None else "",
                relevant,
                texts[relevant][:1000],
            )
        )
    return losses
