"""`glot-rag evaluate` as a function: from the name of a collection to a report."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glot_rag.embedder import Embedder
from glot_rag.evaluation.collections.collection import Collection
from glot_rag.evaluation.collections.judgements import QueryHalf
from glot_rag.evaluation.collections.registry import open_collection
from glot_rag.evaluation.noise.noisy_documents import GoldTexts
from glot_rag.evaluation.report.results import Report
from glot_rag.evaluation.run import evaluate
from glot_rag.evaluation.settings import EvaluationSettings, check_different
from glot_rag.evaluation.vector_cache import VectorCache
from glot_rag.head.config import POOLINGS

if TYPE_CHECKING:
    from rich.progress import TaskID

logger = logging.getLogger(__name__)


def evaluate_corpus(
    dataset: str | os.PathLike[str] | Collection,
    settings: EvaluationSettings | None = None,
    *,
    gold: str | os.PathLike[str] | None = None,
    poolings: Sequence[str] = ("mean", "adapool", "glot"),
    backbone: str | os.PathLike[str] = "minilm",
    queries: QueryHalf = "all",
    limit: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
) -> Report:
    """Measure what noise does to the search in your documents, and what each pooling still finds.

    Args:
        dataset: a folder in BEIR layout; a folder or file of documents (queries are made from them); `ir_datasets:ID`;
            `stdlib`; or a collection that is open.
        settings: noise, fitting, denoising, chunks, baselines and seed; None takes the defaults.
        gold: a folder with a `corpus.jsonl` of the same ids without noise, for documents that are noisy already.
        poolings: names such as "mean", "adapool" and "glot", or directories of trained heads.
        backbone: "minilm", "smollm2", a hub id, a directory or a saved encoder.
        queries: "all", or the half with "even" or "odd" numbers.
        limit: how many documents of `stdlib`.
        device: "cpu", "cuda", …; None chooses.
        dtype: "float32", "float16" or "bfloat16"; None chooses.
        cache: a directory for vectors, so that a run that was stopped goes on where it was; runs may share it.
        show_progress: draw a progress bar of every stage on stderr.

    Returns:
        The report. A notebook shows it as a table; `save`, `save_page`, `save_csv` and `save_picture` write it.

    Raises:
        InputError: an argument that cannot be used.
        DatasetError: the collection or its gold texts cannot be read.
        ModelNotFoundError: no such backbone, or no head for a pooling.
        MissingExtraError: a package is not installed.

    Example:
        >>> from glot_rag.evaluation import EvaluationSettings, evaluate_corpus
        >>> settings = EvaluationSettings(["none", "words:0.8"], fit=True)
        >>> evaluate_corpus("my-documents/", settings)  # doctest: +SKIP
    """
    from glot_rag.progress import bar

    settings = settings or EvaluationSettings()
    check_different("pooling", poolings)
    with ExitStack() as stack:
        if isinstance(dataset, Collection):
            collection = dataset
        else:
            collection = open_collection(os.fspath(dataset), queries, limit=limit, seed=settings.seed)
            stack.callback(collection.close)
        texts = None if gold is None else GoldTexts(gold)
        if texts is not None:
            stack.callback(texts.close)
        kept = None if cache is None else VectorCache(cache)
        if kept is not None:
            stack.callback(kept.close)
        encoders, mean = load_encoders(poolings, backbone, device=device, dtype=dtype)
        shown = stack.enter_context(bar(disable=not show_progress))
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)

        report = evaluate(collection, encoders, settings, oracle=mean, gold=texts, cache=kept, progress=progress)
        if kept is not None and kept.damaged:
            logger.warning("%s: %d vectors were damaged and have been computed again", kept.path, kept.damaged)
    setup = {**report.setup, "queries": queries, "limit": str(limit or "")}
    return replace(report, setup={name: value for name, value in setup.items() if value})


def load_encoders(
    poolings: Sequence[str],
    backbone: str | os.PathLike[str] = "minilm",
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> tuple[dict[str, Embedder], Embedder]:
    """One encoder a pooling over one backbone, and mean pooling's.

    Args:
        poolings: names, or directories of trained heads, which go by the directory's name.
        backbone: as in `evaluate_corpus`.
        device: "cpu", "cuda", …; None chooses.
        dtype: "float32", "float16" or "bfloat16"; None chooses.

    Raises:
        InputError: an unknown pooling.
        BundleError: a directory that holds no head for the backbone.
        ModelNotFoundError: no such backbone, or no head for a pooling.
    """
    from glot_rag.checks import choose
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.head import load_head

    for name in poolings:
        if not Path(name).is_dir():
            choose("pooling", name, POOLINGS)
    mean = TorchEncoder.from_pretrained(backbone, pooling="mean", denoise=False, device=device, dtype=dtype)
    encoders: dict[str, Embedder] = {}
    for name in poolings:
        if name in POOLINGS:
            encoders[name] = mean if name == "mean" else mean.with_pooling(name, denoise=False)
        else:
            head = load_head(name)[0].name
            encoders[Path(name).resolve().name] = mean.with_pooling(head, name, denoise=False)
    return encoders, mean
