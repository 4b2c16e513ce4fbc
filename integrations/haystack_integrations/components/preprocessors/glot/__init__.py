"""glot-rag in Haystack: `GlotDenoiser`, a component that cleans documents before they are split."""

from __future__ import annotations

try:
    import haystack as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("haystack-ai", "haystack") from error

from haystack_integrations.components.preprocessors.glot.denoiser import GlotDenoiser

__all__ = ["GlotDenoiser"]
