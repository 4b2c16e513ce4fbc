"""The index: documents and vectors in SQLite, searched through FAISS.

Imports run one way, in this order:

- `validation`, `filters`, `index_types`: what may be stored and asked
- `store/`: the SQLite file, which is the truth about an index
- `vectors/`: the FAISS replica in memory and its file, both derived from the store
- `search`: from a query's vector to hits
- `maintenance`: figures, checks, backup
- `api`: `GlotIndex`, which users see
- `transfer`: to and from plain files
- `corpus`: an index kept in step with files
"""

from glot_rag.documents.document import Document
from glot_rag.documents.validation import check_document
from glot_rag.index.api import GlotIndex
from glot_rag.index.maintenance import IndexStats, VerifyReport
from glot_rag.index.search import Hit, SearchOptions
from glot_rag.index.transfer import export_index, import_index

__all__ = [
    "Document",
    "GlotIndex",
    "Hit",
    "IndexStats",
    "SearchOptions",
    "VerifyReport",
    "check_document",
    "export_index",
    "import_index",
]
