"""Poolings: the GLOT head, AdaPool and the fixed baselines, all behind one call."""

from glot_rag.head.baselines import BaselinePooling
from glot_rag.head.glot import AdaPool, GlotHead
from glot_rag.head.pooling import Pooled, Pooling
from glot_rag.head.storage import load_head, save_head

__all__ = ["AdaPool", "BaselinePooling", "GlotHead", "Pooled", "Pooling", "load_head", "save_head"]
