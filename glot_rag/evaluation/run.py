"""The evaluation: make the documents noisy, embed them with every method at once, search, measure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from glot_rag.embedder import Embedder
from glot_rag.errors import InputError
from glot_rag.evaluation.baselines import BM25, Hybrid, search_texts
from glot_rag.evaluation.collections.collection import Collection, Judged
from glot_rag.evaluation.costs import SAMPLE, measure_costs
from glot_rag.evaluation.kept_words import KeptWords
from glot_rag.evaluation.methods import Methods, make_methods
from glot_rag.evaluation.metrics import Run, measure_per_query
from glot_rag.evaluation.noise.noisy_documents import GoldTexts, NoisyDocuments
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report, Result, library_versions, method_label, recovery
from glot_rag.evaluation.settings import EvaluationSettings, check_different
from glot_rag.evaluation.significance import Loss, compare, holm, interval, worst_losses
from glot_rag.evaluation.streaming_search import Found, NearestDocuments
from glot_rag.evaluation.vector_cache import VectorCache
from glot_rag.models.tokenizer import sample_positions

MOST_FITTED = 20_000  # noisy documents that encoders are fitted to: as many as `GlotEncoder.fit` counts

# metric -> query id -> value
PerQuery = Mapping[str, Mapping[str, float]]
# (stage, documents done, documents in all)
Progress = Callable[[str, int, int], object]


def evaluate(
    collection: Collection,
    encoders: Mapping[str, Embedder],
    settings: EvaluationSettings | None = None,
    *,
    oracle: Embedder | None = None,
    gold: GoldTexts | None = None,
    cache: VectorCache | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure every encoder on every noise setting, beside the oracle.

    The oracle is mean pooling over the document's own words alone: what a pooling could reach that ignored all noise.
    Own words are those that noise was put around, or the gold texts. For clean documents the oracle is mean pooling
    itself.

    Documents are made noisy, embedded and compared with the queries a batch at a time, so memory does not grow with a
    collection that stays on disk (`open_collection`).

    Args:
        collection: documents, queries, judgements.
        encoders: pooling -> encoder. `GlotEncoder`s over one backbone (`with_pooling`) share its run; any other
            `Embedder` will do, too.
        settings: noise, seed and what else is measured; None takes the defaults.
        oracle: mean pooling, where `encoders` has no "mean"; None makes it over the backbone of the others.
        gold: the documents' texts without noise, for a collection that is noisy already; then they are the oracle's
            under every noise setting.
        cache: keeps vectors, so that a run that was stopped goes on where it was.
        progress: is told stage, documents done and documents in all.

    Raises:
        InputError: no encoder, one without the means of an oracle, or settings that do not fit the encoders.
        DatasetError: a document without a gold text.
    """
    settings = settings or EvaluationSettings()
    check_different("pooling", list(encoders))
    mean = encoders.get("mean") or oracle or _mean_of(encoders)
    methods = Methods(make_methods({**encoders, "mean": mean}, settings), cache)
    reported = [method for method in methods.all if method.label != "mean" or "mean" in encoders]
    if gold is not None:
        gold.check(collection)
    judged = collection.judged
    found = [
        _Setting(collection, judged, methods, settings, number, gold, progress or (lambda *_: None))
        for number in range(len(settings.noises))
    ]
    ratios = [noise.ratio for noise in settings.parsed_noises]
    noisiest = ratios.index(max(ratios))
    results: list[Result] = []
    costs: dict[str, float] = {}
    oracles: dict[str, PerQuery] = {}  # kinds of noise at one ratio leave the same words: their oracle is embedded once
    for number, each in enumerate(found):
        results += [result for result in each.results(oracles) if result.label != "mean" or "mean" in encoders]
        if settings.costs and number == noisiest:
            costs = each.costs([method.label for method in reported])
    return Report(
        collection=collection.name,
        seed=settings.seed,
        results=_corrected(results),
        max_words=settings.max_words,
        k=settings.k,
        documents=len(collection),
        queries=len(judged.queries),
        encoders={method.label: method.encoder.fingerprint for method in reported},
        problems=list(judged.problems),
        versions=library_versions(),
        costs=costs,
        collection_hash=collection.hash,
        queries_made=dict(collection.queries_made),
        setup={**settings.to_dict(), "gold": "given" if gold is not None else "", **_machine(mean)},
    )


@dataclass(frozen=True)
class _Searched:
    """What a pass over the documents found.

    Args:
        runs: label -> query id -> document id -> score.
        kept: label -> how much of the documents' own words the methods kept that clean texts; mean keeps all.
        signals: hash of the texts without noise.
        clean: whether every document is its text without noise.
    """

    runs: dict[str, Run]
    kept: dict[str, KeptWords]
    signals: str
    clean: bool


class _Setting:
    """One noise setting of a run."""

    def __init__(
        self,
        collection: Collection,
        judged: Judged,
        methods: Methods,
        settings: EvaluationSettings,
        number: int,
        gold: GoldTexts | None,
        progress: Progress,
    ) -> None:
        self.noise = settings.parsed_noises[number]
        self.collection, self.judged, self.settings = collection, judged, settings
        self.methods, self.progress = methods, progress
        self.stage = f"{self.noise} ({number + 1} of {len(settings.noises)})"
        self.documents = NoisyDocuments(
            collection, self.noise, seed=settings.seed, max_words=settings.max_words, gold=gold
        )
        self.queries = list(judged.queries.values())
        self.embedded = {method.label: method for method in methods.all}
        self.baselines = {method_label(name): name for name in settings.baselines}

    def results(self, oracles: dict[str, PerQuery]) -> list[Result]:
        """Search and measure; `oracles` is by the hash of the texts without noise, and added to."""
        settings, qrels = self.settings, self.judged.qrels
        if self.methods.fits:
            sample = sample_positions(len(self.documents), MOST_FITTED)
            self.progress(f"{self.stage}: fitting", 0, len(sample))
            self.methods.fit([self.documents[index].text for index in sample])
            self.progress(f"{self.stage}: fitting", len(sample), len(sample))
        searched = self._search(self.stage)
        values: dict[str, PerQuery] = {
            name: measure_per_query(qrels, run, settings.metrics) for name, run in searched.runs.items()
        }
        if searched.clean:
            oracles.setdefault(searched.signals, values["mean"])
        elif searched.signals not in oracles:
            alone = self._search(f"{self.stage}: oracle", signals=True, labels=["mean"])
            oracles[searched.signals] = measure_per_query(qrels, alone.runs["mean"], settings.metrics)
        oracle = oracles[searched.signals]
        own: dict[str, PerQuery] = values if searched.clean else {}
        if settings.own_oracles and not searched.clean:
            alone = self._search(f"{self.stage}: each one's oracle", signals=True)
            own = {name: measure_per_query(qrels, run, settings.metrics) for name, run in alone.runs.items()}
        return [self._result(name, values, oracle, own, searched) for name in values]

    def _search(self, stage: str, *, signals: bool = False, labels: list[str] | None = None) -> _Searched:
        """Compare all documents with the queries.

        Args:
            stage: for the progress.
            signals: take the documents' texts without noise.
            labels: of embedding methods; None takes all, and the other baselines.
        """
        settings, asked = self.settings, self.methods.queries(self.queries)
        nearest = {name: NearestDocuments(asked[name], settings.k) for name in labels or asked}
        words = BM25(self.queries, settings.k) if labels is None and "bm25" in settings.baselines else None
        both = None
        if words is not None and "hybrid" in settings.baselines:
            both = Hybrid(words, asked[self._fused()], settings.k)
        cleaning = [label for label, method in self.embedded.items() if method.clean is not None]
        kept = {name: KeptWords() for name in (["mean", *cleaning] if cleaning and not signals else [])}
        digest, clean, done = hashlib.sha256(), True, 0
        for batch in self.documents.batches(settings.batch_size):
            self.progress(stage, done, len(self.documents))
            texts = [each.signal if signals else each.text for each in batch]
            read = self.methods.documents(texts, labels)
            for name, found in read.items():
                nearest[name].add(found.vectors, found.starts)
            if words is not None:
                words.add(texts)
            if both is not None:
                both.add(read[self._fused()].vectors, read[self._fused()].starts)
            for name, counted in kept.items():
                counted.add(read[name].texts, [each.signal for each in batch])
            for each in batch:
                digest.update(hashlib.sha256(each.signal.encode("utf-8", "surrogatepass")).digest())
                clean = clean and each.signal == each.text
            done += len(batch)
        self.progress(stage, done, len(self.documents))
        runs = {name: self._run(search.found()) for name, search in nearest.items()}
        if words is not None:
            runs[method_label("bm25")] = self._run(words.found())
        if both is not None:
            runs["hybrid"] = self._run(both.found())
        return _Searched({name: runs[name] for name in self._ordered(runs)}, kept, digest.hexdigest(), clean)

    def _ordered(self, labels: Iterable[str]) -> list[str]:
        """Poolings first, then the baselines as the settings name them."""
        given = list(labels)
        poolings = [label for label in given if label not in self.baselines]
        return [*poolings, *(label for label in self.baselines if label in given)]

    def _fused(self) -> str:
        """The method whose vectors `hybrid` takes: GLOT fitted, else GLOT, else the last pooling; never denoised."""
        plain = [name for name, each in self.embedded.items() if not each.denoised and name not in self.baselines]
        wanted = [method_label("glot", fitted=True), method_label("glot")]
        return next((label for label in wanted if label in plain), plain[-1])

    def _run(self, found: Found) -> Run:
        return {
            query: {self.collection.key(row): score for row, score in each}
            for query, each in zip(self.judged.queries, found, strict=True)
        }

    def _result(
        self,
        name: str,
        values: Mapping[str, PerQuery],
        oracle: PerQuery,
        own: Mapping[str, PerQuery],
        searched: _Searched,
    ) -> Result:
        metrics, best = _averages(values[name]), _averages(oracle)
        mean = values["mean"]
        bounds = best_bounds = compared = None
        if PRIMARY_METRIC in self.settings.metrics:
            seed = self.settings.seed
            bounds = interval(list(values[name][PRIMARY_METRIC].values()), seed=seed)
            best_bounds = interval(list(oracle[PRIMARY_METRIC].values()), seed=seed)
            if name != "mean":
                compared = compare(values[name][PRIMARY_METRIC], mean[PRIMARY_METRIC], seed=seed)
                worst = self._worst(searched.runs[name], values[name][PRIMARY_METRIC], mean[PRIMARY_METRIC])
                compared = replace(compared, worst=worst)
        method = self.embedded.get(name)
        kept = searched.kept.get(name)
        return Result(
            pooling=method.pooling if method else self.baselines[name],
            noise=self.noise.label,
            ratio=self.noise.ratio,
            metrics=metrics,
            oracle=best,
            recovery=recovery(metrics, _averages(mean), best),
            fitted=method.fitted if method else False,
            denoised=method.denoised if method else False,
            interval=bounds,
            oracle_interval=best_bounds,
            against_mean=compared,
            own_oracle=_averages(own[name]) if self.settings.own_oracles else None,
            kept_words=kept.averages() if kept else None,
        )

    def _worst(self, run: Run, values: Mapping[str, float], mean: Mapping[str, float]) -> list[Loss]:
        def text_of(key: str) -> str:
            return self.documents[self.collection.position(key)].text

        return worst_losses(self.judged, run, values, mean, text_of)

    def costs(self, labels: list[str]) -> dict[str, float]:
        """Milliseconds a document of methods and baselines; the hybrid costs what its two parts cost."""
        stage = f"{self.stage}: the cost of a document"
        self.progress(stage, 0, 1)
        texts = [self.documents[index].text for index in sample_positions(len(self.documents), SAMPLE)]
        ways: dict[str, Callable[[Any], object]] = {label: partial(self._read_alone, label) for label in labels}
        if "bm25" in self.settings.baselines:
            ways[method_label("bm25")] = lambda texts: search_texts(BM25, texts, texts[:1], 1)
        found = measure_costs(ways, texts)
        if "hybrid" in self.settings.baselines and self._fused() in found:
            found["hybrid"] = found[method_label("bm25")] + found[self._fused()]
        self.progress(stage, 1, 1)
        return {name: found[name] for name in self._ordered(found)}

    def _read_alone(self, label: str, texts: Any) -> object:
        return self.methods.documents(texts, [label], cached=False)


def _mean_of(encoders: Mapping[str, Embedder]) -> Embedder:
    for encoder in encoders.values():
        if hasattr(encoder, "with_pooling"):
            mean: Embedder = encoder.with_pooling("mean")
            return mean
    raise InputError(f"the oracle needs mean pooling: add 'mean' to {', '.join(encoders)}, or give oracle=")


def _machine(encoder: Embedder) -> dict[str, str]:
    """Where it ran: backbone, dtype, device and threads, of an encoder that runs torch."""
    backbone: Any = getattr(encoder, "backbone", None)
    if backbone is None:
        return {}
    import torch

    name = str(backbone.source.name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    dtype, device = str(backbone.dtype).removeprefix("torch."), str(backbone.device)
    return {"backbone": name, "dtype": dtype, "device": device, "threads": str(torch.get_num_threads())}


def _averages(values: PerQuery) -> dict[str, float]:
    return {metric: sum(each.values()) / len(each) for metric, each in values.items()}


def _corrected(results: list[Result]) -> list[Result]:
    """Holm's correction over every comparison of the report."""
    p_values = iter(holm([each.against_mean.p for each in results if each.against_mean is not None]))
    return [
        replace(each, against_mean=replace(each.against_mean, p_holm=next(p_values))) if each.against_mean else each
        for each in results
    ]
