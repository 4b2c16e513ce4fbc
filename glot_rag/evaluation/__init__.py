"""Evaluation: noisy documents, retrieval collections, measures, reports."""

from glot_rag.evaluation.datasets import RetrievalDataset, load_beir
from glot_rag.evaluation.documents import load_documents
from glot_rag.evaluation.ir_collections import load_ir_dataset
from glot_rag.evaluation.metrics import METRICS, measure, measure_per_query
from glot_rag.evaluation.noise import Corrupted, corrupt
from glot_rag.evaluation.noise_spec import NOISE_KINDS, Noise, NoiseMixture, NoiseSpec, parse_noise
from glot_rag.evaluation.one_pass import EmbedTexts
from glot_rag.evaluation.page import save_page
from glot_rag.evaluation.picture import save_picture
from glot_rag.evaluation.report import print_report
from glot_rag.evaluation.results import Report, Result
from glot_rag.evaluation.retrieval import evaluate
from glot_rag.evaluation.search import search
from glot_rag.evaluation.significance import Comparison, compare, holm, interval
from glot_rag.evaluation.sources import load_dataset
from glot_rag.evaluation.stdlib_corpus import load_stdlib
from glot_rag.evaluation.table import save_csv

__all__ = [
    "METRICS",
    "NOISE_KINDS",
    "Comparison",
    "Corrupted",
    "EmbedTexts",
    "Noise",
    "NoiseMixture",
    "NoiseSpec",
    "Report",
    "Result",
    "RetrievalDataset",
    "compare",
    "corrupt",
    "evaluate",
    "holm",
    "interval",
    "load_beir",
    "load_dataset",
    "load_documents",
    "load_ir_dataset",
    "load_stdlib",
    "measure",
    "measure_per_query",
    "parse_noise",
    "print_report",
    "save_csv",
    "save_page",
    "save_picture",
    "search",
]
