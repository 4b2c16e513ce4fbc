"""Baselines beside the poolings: keyword search, other ways to embed or clean a document, and fusion."""

from glot_rag.evaluation.baselines.base import StartSearch, TextSearch, search_texts
from glot_rag.evaluation.baselines.best_chunk import sentence_windows
from glot_rag.evaluation.baselines.bm25 import BM25
from glot_rag.evaluation.baselines.hybrid import Hybrid
from glot_rag.evaluation.baselines.naive import count_frequent_words, count_recurring_runs
from glot_rag.evaluation.baselines.stock import load_stock
from glot_rag.evaluation.baselines.stripped import strip_boilerplate

# sif-weights is sif without the common component taken out
BASELINES = (
    *("bm25", "hybrid", "whole", "stock", "best-chunk", "stripped"),
    *("df-drop", "ngram-drop", "sif", "sif-weights"),
)

__all__ = [
    "BASELINES",
    "BM25",
    "Hybrid",
    "StartSearch",
    "TextSearch",
    "count_frequent_words",
    "count_recurring_runs",
    "load_stock",
    "search_texts",
    "sentence_windows",
    "strip_boilerplate",
]
