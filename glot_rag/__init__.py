"""glot-rag: embeddings that survive noisy documents.

Importing this loads neither torch nor faiss; each public name loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glot_rag.classification.estimator import GlotClassifier
    from glot_rag.denoise.denoised import Denoised
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.denoise.torch_denoiser import TorchDenoiser
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.encoder.together import encode_documents_together, encode_queries_together
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.index import Document, GlotIndex, Hit
    from glot_rag.onnx.denoiser import OnnxDenoiser
    from glot_rag.onnx.encoder import OnnxEncoder

__version__ = "0.3.0"
__all__ = [
    "Denoised",
    "Denoiser",
    "Document",
    "GlotClassifier",
    "GlotEncoder",
    "GlotIndex",
    "Hit",
    "OnnxDenoiser",
    "OnnxEncoder",
    "TorchDenoiser",
    "TorchEncoder",
    "__version__",
    "encode_documents_together",
    "encode_queries_together",
]

_HOMES = {
    "Denoised": "glot_rag.denoise.denoised",
    "Denoiser": "glot_rag.denoise.denoiser",
    "Document": "glot_rag.index",
    "GlotClassifier": "glot_rag.classification.estimator",
    "GlotEncoder": "glot_rag.encoder.base",
    "GlotIndex": "glot_rag.index",
    "Hit": "glot_rag.index",
    "OnnxDenoiser": "glot_rag.onnx.denoiser",
    "OnnxEncoder": "glot_rag.onnx.encoder",
    "TorchDenoiser": "glot_rag.denoise.torch_denoiser",
    "TorchEncoder": "glot_rag.encoder.torch_encoder",
    "encode_documents_together": "glot_rag.encoder.together",
    "encode_queries_together": "glot_rag.encoder.together",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'glot_rag' has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from glot_rag.errors import MissingExtraError

        if error.name in ("torch", "transformers", "torch_geometric"):
            raise MissingExtraError(error.name, "torch") from error
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
