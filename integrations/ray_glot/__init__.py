"""glot-rag on a Ray cluster: the same corpus, read, denoised and embedded by many machines.

from ray_glot import RayEngine
from glot_rag.shards import embed_corpus

embed_corpus("/shared/pages", "/shared/run", engine=RayEngine(workers=8))
"""

from ray_glot.engine import RayEngine

__all__ = ["RayEngine"]
