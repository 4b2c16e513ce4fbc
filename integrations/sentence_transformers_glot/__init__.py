"""glot-rag in sentence-transformers: the head as a module, a `GlotEncoder` as a `SentenceTransformer`."""

from __future__ import annotations

try:
    import sentence_transformers as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("sentence-transformers", "sentence-transformers") from error

from sentence_transformers_glot.loading import from_encoder, load
from sentence_transformers_glot.pooling import GlotPooling
from sentence_transformers_glot.transformer import GlotTransformer

__all__ = ["GlotPooling", "GlotTransformer", "from_encoder", "load"]
