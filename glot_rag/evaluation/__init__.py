"""Evaluation: noisy documents, retrieval collections, measures, reports, and the paper's experiments."""

from glot_rag.evaluation.collections.beir import load_beir
from glot_rag.evaluation.collections.catalogue import load_ir_dataset
from glot_rag.evaluation.collections.collection import Collection, MemoryCollection
from glot_rag.evaluation.collections.folder import load_folder
from glot_rag.evaluation.collections.registry import load_collection, open_collection
from glot_rag.evaluation.collections.stdlib import load_stdlib
from glot_rag.evaluation.corpus import evaluate_corpus
from glot_rag.evaluation.metrics import METRICS, measure, measure_per_query
from glot_rag.evaluation.noise.corrupt import Corrupted, corrupt
from glot_rag.evaluation.noise.noisy_documents import GoldTexts
from glot_rag.evaluation.noise.spec import NOISE_KINDS, Noise, NoiseMixture, NoiseSpec, parse_noise
from glot_rag.evaluation.report.charts import save_picture
from glot_rag.evaluation.report.csv_file import save_csv
from glot_rag.evaluation.report.page import save_page
from glot_rag.evaluation.report.results import Report, Result
from glot_rag.evaluation.report.terminal import print_report
from glot_rag.evaluation.run import evaluate
from glot_rag.evaluation.settings import EvaluationSettings
from glot_rag.evaluation.significance import Comparison, compare, holm, interval
from glot_rag.evaluation.streaming_search import search

__all__ = [
    "METRICS",
    "NOISE_KINDS",
    "Collection",
    "Comparison",
    "Corrupted",
    "EvaluationSettings",
    "GoldTexts",
    "MemoryCollection",
    "Noise",
    "NoiseMixture",
    "NoiseSpec",
    "Report",
    "Result",
    "compare",
    "corrupt",
    "evaluate",
    "evaluate_corpus",
    "holm",
    "interval",
    "load_beir",
    "load_collection",
    "load_folder",
    "load_ir_dataset",
    "load_stdlib",
    "measure",
    "measure_per_query",
    "open_collection",
    "parse_noise",
    "print_report",
    "save_csv",
    "save_page",
    "save_picture",
    "search",
]
