"""glot-rag in LlamaIndex: `GlotDenoiser`, a transformation that cleans documents before they are split."""

from __future__ import annotations

try:
    import llama_index.core as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.node_parser.glot.base import GlotDenoiser

__all__ = ["GlotDenoiser"]
