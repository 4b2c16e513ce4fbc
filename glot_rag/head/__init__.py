"""Poolings: the GLOT head, AdaPool and the fixed baselines, all behind one call. Loads torch when a name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glot_rag.head.adapool import AdaPool
    from glot_rag.head.baselines import BaselinePooling
    from glot_rag.head.glot import GlotHead
    from glot_rag.head.pooling import Pooled, Pooling
    from glot_rag.head.storage import load_head, save_head

__all__ = ["AdaPool", "BaselinePooling", "GlotHead", "Pooled", "Pooling", "load_head", "save_head"]

_MODULES = {
    "AdaPool": "adapool",
    "BaselinePooling": "baselines",
    "GlotHead": "glot",
    "Pooled": "pooling",
    "Pooling": "pooling",
    "load_head": "storage",
    "save_head": "storage",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'glot_rag.head' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"glot_rag.head.{_MODULES[name]}"), name)
