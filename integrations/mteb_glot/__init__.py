"""glot-rag in mteb: a `GlotEncoder` as a model, and a folder of your own as a retrieval task."""

from __future__ import annotations

try:
    import mteb as _  # noqa: F401
except ImportError as error:
    from glot_rag.errors import MissingExtraError

    raise MissingExtraError("mteb", "mteb") from error

from mteb_glot.model import GlotModel, get_model, get_model_meta
from mteb_glot.task import LocalRetrieval

__all__ = ["GlotModel", "LocalRetrieval", "get_model", "get_model_meta"]
