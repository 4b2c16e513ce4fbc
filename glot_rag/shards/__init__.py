"""A corpus that takes more than one process: files -> Parquet shards with vectors -> an index.

Imports run one way, in this order:

- `format`: the shards' files and manifests
- `engine`: what runs the work; a cluster's is in `ray_glot`
- `parts`: files -> shards of documents
- `embedding`, `attempts`, `chunk_shards`: shards of documents -> shards of chunks with vectors
- `fitting`: `Denoiser.fit` over shards
- `run`: all of it, for one corpus
- `to_index`: shards -> `GlotIndex`
- `lists`: shards -> lists of vectors on disk
"""

from glot_rag.shards.embedding import EmbedBatch
from glot_rag.shards.engine import Engine, LocalEngine
from glot_rag.shards.lists import ListIndex, build_lists
from glot_rag.shards.run import EmbedReport, embed_corpus
from glot_rag.shards.to_index import ImportReport, chunk_shards, import_shards, index_of_shards

__all__ = [
    "EmbedBatch",
    "EmbedReport",
    "Engine",
    "ImportReport",
    "ListIndex",
    "LocalEngine",
    "build_lists",
    "chunk_shards",
    "embed_corpus",
    "import_shards",
    "index_of_shards",
]
