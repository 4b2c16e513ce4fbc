"""Files -> documents -> blocks -> chunks. No model in here.

`reading` finds the files and reads them through `loaders`, one module a family of formats; `blocks` cuts a text into
lines and sentences, `layout` measures them, and `chunks` puts them together to what gets a vector.
"""

from glot_rag.documents.blocks import Block, split_blocks
from glot_rag.documents.chunks import Chunk, chunk_document
from glot_rag.documents.document import Document
from glot_rag.documents.finding import find_files
from glot_rag.documents.reading import DocumentReader, ReadReport, read_documents

__all__ = [
    "Block",
    "Chunk",
    "Document",
    "DocumentReader",
    "ReadReport",
    "chunk_document",
    "find_files",
    "read_documents",
    "split_blocks",
]
