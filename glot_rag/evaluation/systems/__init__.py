"""What stands beside the poolings in the table: searches that have nothing to do with the token graph.

Each is a `TextSearch`: it sees the noisy texts and the queries, and gives a run.
"""

from collections.abc import Callable, Sequence

from glot_rag.evaluation.systems.best_chunk import BestChunk
from glot_rag.evaluation.systems.bm25 import search_bm25
from glot_rag.evaluation.systems.embedded import EmbeddedSearch
from glot_rag.evaluation.systems.fusion import fuse
from glot_rag.evaluation.systems.stock import load_stock
from glot_rag.evaluation.systems.stripped import strip_boilerplate

SYSTEMS = ("bm25", "best-chunk", "stripped", "stock", "hybrid")

# (document ids, texts, query ids, queries, k) -> query id -> document id -> score, best first
TextSearch = Callable[[Sequence[str], Sequence[str], Sequence[str], Sequence[str], int], dict[str, dict[str, float]]]

__all__ = [
    "SYSTEMS",
    "BestChunk",
    "EmbeddedSearch",
    "TextSearch",
    "fuse",
    "load_stock",
    "search_bm25",
    "strip_boilerplate",
]
