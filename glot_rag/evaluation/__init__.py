"""Evaluation: noisy documents, retrieval collections, measures, reports."""

from glot_rag.evaluation.collections.beir import load_beir
from glot_rag.evaluation.collections.catalogue import load_ir_dataset
from glot_rag.evaluation.collections.collection import Collection, MemoryCollection
from glot_rag.evaluation.collections.folder import load_folder
from glot_rag.evaluation.collections.registry import load_collection, open_collection
from glot_rag.evaluation.collections.stdlib import load_stdlib
from glot_rag.evaluation.metrics import METRICS, measure, measure_per_query
from glot_rag.evaluation.noise.corrupt import Corrupted, corrupt
from glot_rag.evaluation.noise.spec import NOISE_KINDS, Noise, NoiseMixture, NoiseSpec, parse_noise
from glot_rag.evaluation.report.page import save_page
from glot_rag.evaluation.report.picture import save_picture
from glot_rag.evaluation.report.results import Report, Result
from glot_rag.evaluation.report.table import save_csv
from glot_rag.evaluation.report.terminal import print_report
from glot_rag.evaluation.run import evaluate
from glot_rag.evaluation.search import search
from glot_rag.evaluation.significance import Comparison, compare, holm, interval
from glot_rag.evaluation.streaming_search import EmbedTexts

__all__ = [
    "METRICS",
    "NOISE_KINDS",
    "Collection",
    "Comparison",
    "Corrupted",
    "EmbedTexts",
    "MemoryCollection",
    "Noise",
    "NoiseMixture",
    "NoiseSpec",
    "Report",
    "Result",
    "compare",
    "corrupt",
    "evaluate",
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
