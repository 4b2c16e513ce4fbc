"""What stands beside the poolings in the table: searches that have nothing to do with the token graph.

Each is a `TextSearch`: it sees the noisy texts and the queries.
"""

from glot_rag.evaluation.baselines.base import StartSearch, TextSearch, search_texts
from glot_rag.evaluation.baselines.best_chunk import BestChunk
from glot_rag.evaluation.baselines.bm25 import BM25
from glot_rag.evaluation.baselines.embedded import EmbeddedSearch
from glot_rag.evaluation.baselines.fusion import fuse
from glot_rag.evaluation.baselines.stock import load_stock
from glot_rag.evaluation.baselines.stripped import strip_boilerplate

SYSTEMS = ("bm25", "best-chunk", "stripped", "stock", "hybrid")

__all__ = [
    "BM25",
    "SYSTEMS",
    "BestChunk",
    "EmbeddedSearch",
    "StartSearch",
    "TextSearch",
    "fuse",
    "load_stock",
    "search_texts",
    "strip_boilerplate",
]
