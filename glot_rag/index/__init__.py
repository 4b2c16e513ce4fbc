"""The index: documents in SQLite, searched by vectors through FAISS, by keywords, or by both.

Imports run one way, in this order:

- `validation`, `filters`, `index_types`: what may be stored and asked
- `store/`: the SQLite file, which is the truth about an index
- `replica/`: what all that is derived from the store has in common: a file, and keeping up with commits
- `vectors/`: the FAISS replica in memory and its file
- `keywords/`: texts to terms, posting lists, BM25, and their file
- `fusion`, `options`, `search`: from a query to hits
- `maintenance`: figures, checks, backup
- `reading`, `api`: `GlotIndex`, which users see
- `sharded`: several indexes searched as one
- `transfer`: to and from plain files
- `corpus`: an index kept in step with files
"""

from glot_rag.documents.document import Document
from glot_rag.documents.validation import check_document
from glot_rag.index.api import GlotIndex
from glot_rag.index.fusion import Fusion
from glot_rag.index.maintenance import IndexStats, VerifyReport
from glot_rag.index.options import Hit, SearchOptions
from glot_rag.index.sharded import ShardedIndex
from glot_rag.index.transfer import export_index, import_index

__all__ = [
    "Document",
    "Fusion",
    "GlotIndex",
    "Hit",
    "IndexStats",
    "SearchOptions",
    "ShardedIndex",
    "VerifyReport",
    "check_document",
    "export_index",
    "import_index",
]
