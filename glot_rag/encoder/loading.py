"""An encoder by name, whatever runs it: torch, or ONNX Runtime or OpenVINO for an exported bundle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from glot_rag.checks import choose
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.onnx.encoder import OnnxEncoder, is_bundle

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import GlotEncoder

BACKENDS = ("torch", "onnx", "openvino")


def load_encoder(
    name_or_path: str | os.PathLike[str] = "minilm",
    *,
    backend: str | None = None,
    pooling: str | None = None,
    head: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    max_tokens: int | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    prune: bool | None = None,
) -> GlotEncoder | OnnxEncoder:
    """Load an encoder; the frameworks' classes do it through this.

    Args:
        name_or_path: as for `GlotEncoder.from_pretrained`, or the directory of an exported bundle.
        backend: "torch", or "onnx" or "openvino" for a bundle, which needs no torch; None is torch, or for a bundle
            ONNX Runtime.
        pooling: this and what follows as for `GlotEncoder.from_pretrained`. A bundle has them built in.
        head: likewise.
        device: likewise.
        dtype: likewise; also for OpenVINO, "float32" or "bfloat16".
        max_tokens: likewise.
        query_prompt: likewise.
        document_prompt: likewise.
        prune: likewise.

    Raises:
        InputError: a setting that a bundle has built in, or another argument that cannot be used.
        BundleError: damaged or unfitting files, or no bundle where one is asked for.
        ModelNotFoundError: no such backbone, or no trained head for it.
        MissingExtraError: what runs the encoder is not installed.
    """
    bundled = is_bundle(name_or_path)
    chosen = choose("backend", backend or ("onnx" if bundled else "torch"), BACKENDS)
    if chosen == "torch":
        if bundled:
            raise InputError(f"{name_or_path} is an exported encoder, which ONNX Runtime runs: leave backend out")
        try:
            from glot_rag.encoder.torch_encoder import GlotEncoder
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "torch", "torch") from error
        return GlotEncoder.from_pretrained(
            name_or_path,
            pooling=pooling,
            head=head,
            device=device,
            dtype=dtype,
            max_tokens=max_tokens,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            prune=prune,
        )
    built_in = {
        **{"pooling": pooling, "head": head, "device": device, "max_tokens": max_tokens},
        **({} if chosen == "openvino" else {"dtype": dtype}),
        **{"query_prompt": query_prompt, "document_prompt": document_prompt, "prune": prune},
    }
    if given := [name for name, value in built_in.items() if value is not None]:
        raise InputError(
            f"an exported encoder has its settings built in; got {', '.join(given)}: leave them out, or export one "
            f"with them (`glot-rag export`)"
        )
    if chosen == "openvino":
        return OnnxEncoder(name_or_path, runtime="openvino", dtype=dtype)
    return OnnxEncoder(name_or_path)
