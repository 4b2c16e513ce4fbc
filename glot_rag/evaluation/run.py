"""The evaluation: corrupt the documents, embed them with several poolings at once, search, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from glot_rag.errors import InputError
from glot_rag.evaluation.baselines import StartSearch, fuse
from glot_rag.evaluation.collections.collection import Collection, Judged
from glot_rag.evaluation.costs import SAMPLE, Way, measure_costs
from glot_rag.evaluation.metrics import METRICS, Run, measure_per_query
from glot_rag.evaluation.noise.noisy_documents import NoisyDocuments
from glot_rag.evaluation.noise.spec import Noise
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result, library_versions, recovery
from glot_rag.evaluation.search import Found
from glot_rag.evaluation.significance import Loss, compare, holm, interval
from glot_rag.evaluation.streaming_search import BATCH, EmbedTexts, search_noisy, search_signals, vectors_of
from glot_rag.models.tokenizer import sample_positions

PREPARED = 20_000  # noisy documents that `prepare` is shown at most: as many as `GlotEncoder.fit` counts

# metric -> query id -> value
PerQuery = Mapping[str, Mapping[str, float]]


def evaluate(
    collection: Collection,
    embed_documents: EmbedTexts,
    embed_queries: EmbedTexts,
    poolings: Sequence[str],
    noises: Sequence[Noise],
    *,
    seed: int = 0,
    max_words: int = 170,
    metrics: Sequence[str] = METRICS,
    k: int = 100,
    prepare: Callable[[Sequence[str]], None] | None = None,
    embed_ceiling: EmbedTexts | None = None,
    own_ceilings: bool = False,
    encoders: Mapping[str, str] | None = None,
    systems: Mapping[str, StartSearch] | None = None,
    hybrids: Mapping[str, Sequence[str]] | None = None,
    timed: Mapping[str, Way] | None = None,
    setup: Mapping[str, str] | None = None,
    batch_size: int = BATCH,
    progress: Callable[[str], object] | None = None,
) -> Report:
    """Measure every pooling on every noise setting, beside the ceiling.

    The ceiling is mean pooling over the surviving words of each document without the noise: what a pooling
    could reach that ignored the noise altogether. For clean documents that is mean pooling itself.

    Documents are made noisy, embedded and compared with the queries a batch at a time, so that memory does not grow
    with the collection, if it is one that stays on disk (`open_collection`).

    Args:
        collection: documents, queries, judgements.
        embed_documents: texts -> vectors of every pooling; always has `mean` among them. Called a batch at a time.
        embed_queries: the same for queries.
        poolings: which poolings to report.
        noises: which noise settings to report, in this order.
        seed: of the noise.
        max_words: words of a noisy document in all; 0 for whole documents with the noise on top.
        metrics: as in `measure`.
        k: how many documents a search returns.
        prepare: is shown the noisy documents of a setting, evenly spread ones where there are more than 20,000,
            before any of them is embedded: the place to adapt to them.
        embed_ceiling: a cheaper `embed_documents` for the ceiling, of which only `mean` is used.
        own_ceilings: also give every pooling and system the surviving words alone; with `prepare`, as it was prepared
            for the noisy documents.
        encoders: pooling -> fingerprint of the encoder, to go into the report.
        systems: name -> search over the texts themselves; reported after the poolings.
        hybrids: name -> the poolings and systems whose rankings are fused under that name; reported last.
        timed: name -> what makes a few documents searchable that way, to be timed on the noisiest setting
            (`measure_costs`); a hybrid costs what its parts cost.
        setup: what else the run was set to, to go into the report.
        batch_size: documents held at a time. Vectors depend on it in their last digits, as texts are packed together.
        progress: is told, in words, what is done next.

    Raises:
        InputError: no pooling or noise setting is given, one is given twice, or the vectors lack a pooling.
    """
    systems, hybrids = systems or {}, hybrids or {}
    names = [*poolings, *systems, *hybrids]
    for what, given in (("pooling", names), ("noise setting", [str(noise) for noise in noises])):
        if not given or len(set(given)) < len(given):
            raise InputError(f"Give at least one {what}, each once; got {given}.")
    judged = collection.judged
    query_texts = list(judged.queries.values())
    embedded = dict.fromkeys(["mean", *poolings, *(part for parts in hybrids.values() for part in parts)])
    asked = embed_queries(query_texts)
    query_vectors = {name: vectors_of(asked, name, len(query_texts)) for name in embedded if name not in systems}
    tell = progress or (lambda message: None)
    primary = PRIMARY_METRIC in metrics
    noisiest = max(noises, key=lambda noise: noise.ratio)
    costs: dict[str, float] = {}

    def run(found: Found) -> Run:
        return {
            query: {collection.key(row): score for row, score in each}
            for query, each in zip(judged.queries, found, strict=True)
        }

    results: list[Result] = []
    # Kinds of noise at the same ratio leave the same signal words: their ceiling is embedded once.
    ceilings: dict[str, PerQuery] = {}
    for number, noise in enumerate(noises, start=1):
        step = f"{noise} ({number} of {len(noises)})"
        tell(step)
        noisy = NoisyDocuments(collection, noise, seed=seed, max_words=max_words)
        if prepare is not None:
            prepare([noisy[index].text for index in sample_positions(len(noisy), PREPARED)])
        searches = {name: start(query_texts, k) for name, start in systems.items()}
        passed = search_noisy(noisy, embed_documents, query_vectors, searches, k, batch_size)
        runs = {name: run(found) for name, found in passed.found.items()}
        mean = measure_per_query(judged.qrels, runs["mean"], metrics)
        if passed.clean:
            ceilings[passed.signals] = mean
        elif passed.signals not in ceilings:
            tell(f"{step}: the ceiling")
            only_mean = {"mean": query_vectors["mean"]}
            alone = search_signals(noisy, embed_ceiling or embed_documents, only_mean, {}, k, batch_size)
            ceilings[passed.signals] = measure_per_query(judged.qrels, run(alone["mean"]), metrics)
        ceiling = ceilings[passed.signals]
        for name, parts in hybrids.items():
            runs[name] = fuse([runs[part] for part in parts], k)
        own = runs if passed.clean else {}
        if own_ceilings and not passed.clean:
            tell(f"{step}: each one's ceiling")
            searches = {name: start(query_texts, k) for name, start in systems.items()}
            alone = search_signals(noisy, embed_documents, query_vectors, searches, k, batch_size)
            own = {name: run(found) for name, found in alone.items()}
            own |= {name: fuse([own[part] for part in parts], k) for name, parts in hybrids.items()}
        if timed and noise is noisiest:
            tell(f"{step}: the cost of a document")
            costs = measure_costs(timed, [noisy[index].text for index in sample_positions(len(noisy), SAMPLE)])
        bounds = interval(list(ceiling[PRIMARY_METRIC].values()), seed=seed) if primary else None

        def text_of(key: str, noisy: NoisyDocuments = noisy) -> str:
            return noisy[collection.position(key)].text

        for name in names:
            values = mean if name == "mean" else measure_per_query(judged.qrels, runs[name], metrics)
            averages = _averages(values)
            compared = None
            if primary and name != "mean":
                compared = compare(values[PRIMARY_METRIC], mean[PRIMARY_METRIC], seed=seed)
                worst = worst_losses(judged, runs[name], values[PRIMARY_METRIC], mean[PRIMARY_METRIC], text_of)
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
                    _averages(measure_per_query(judged.qrels, own[name], metrics)) if own_ceilings else None,
                )
            )
    for name, parts in hybrids.items():
        if all(part in costs for part in parts):
            costs[name] = sum(costs[part] for part in parts)
    return Report(
        dataset=collection.name,
        seed=seed,
        results=_corrected(results),
        max_words=max_words,
        k=k,
        documents=len(collection),
        queries=len(judged.queries),
        encoders=dict(encoders or {}),
        problems=list(judged.problems),
        versions=library_versions(),
        costs={name: costs[name] for name in names if name in costs},
        dataset_hash=collection.hash,
        queries_made=dict(collection.queries_made),
        setup=dict(setup or {}),
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
