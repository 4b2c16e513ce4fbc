"""The index: documents and vectors in SQLite, searched through FAISS.

The way of a document: `readers` (files), `validation`, `ingest`, `store` (SQLite, the truth), `mirror` (FAISS in
memory: `vector_table`, of one of the `index_types`), `checkpoint` (FAISS on disk, derived); and back through
`reading` and `search`. Beside it: `verify`, `backup`, and `transfer` to and from plain files.
"""

from glot_rag.index.backup import backup_index
from glot_rag.index.document import Document, Hit
from glot_rag.index.index import GlotIndex
from glot_rag.index.readers import DocumentReader, SourceFile, find_files, read_documents
from glot_rag.index.search import SearchOptions
from glot_rag.index.stats import IndexStats
from glot_rag.index.transfer import export_index, import_index
from glot_rag.index.verify import VerifyReport

__all__ = [
    "Document",
    "DocumentReader",
    "GlotIndex",
    "Hit",
    "IndexStats",
    "SearchOptions",
    "SourceFile",
    "VerifyReport",
    "backup_index",
    "export_index",
    "find_files",
    "import_index",
    "read_documents",
]
