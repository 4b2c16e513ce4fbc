"""The index: documents and vectors in SQLite, searched through FAISS.

The way of a document: `readers` (files), `validation`, `ingest`, `store` (SQLite, the truth), `mirror` (FAISS in
memory), `checkpoint` (FAISS on disk, derived); and back through `index.GlotIndex.search`.
"""

from glot_rag.index.document import Document, Hit
from glot_rag.index.index import GlotIndex, IndexStats
from glot_rag.index.readers import DocumentReader, SourceFile, find_files, read_documents
from glot_rag.index.verify import VerifyReport

__all__ = [
    "Document",
    "DocumentReader",
    "GlotIndex",
    "Hit",
    "IndexStats",
    "SourceFile",
    "VerifyReport",
    "find_files",
    "read_documents",
]
