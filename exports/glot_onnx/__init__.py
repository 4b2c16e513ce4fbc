"""ONNX export: the head alone, or backbone and head in one graph from token ids to vectors.

`glot_rag.onnx.encoder.OnnxEncoder` runs what `export_encoder` writes, without torch.
"""

from __future__ import annotations

try:
    import onnxscript as _  # noqa: F401 (torch's exporter needs it, and says so only when it is called)

    from glot_onnx.bundle import export_encoder
    from glot_onnx.denoiser import DenoiserParity, export_denoiser
    from glot_onnx.graphs import export_head
    from glot_onnx.parity import ParityError, ParityReport, check_bundle, measure
except ModuleNotFoundError as error:
    from glot_rag.errors import MissingExtraError

    if error.name in ("torch", "transformers", "torch_geometric", "onnx", "onnxscript"):
        raise MissingExtraError(error.name, "export") from error
    raise

__all__ = [
    "DenoiserParity",
    "ParityError",
    "ParityReport",
    "check_bundle",
    "export_denoiser",
    "export_encoder",
    "export_head",
    "measure",
]
