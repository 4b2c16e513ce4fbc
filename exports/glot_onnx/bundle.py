"""Encoder -> bundle: a directory that `glot_rag.onnx.encoder.OnnxEncoder` runs without torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from glot_onnx.denoiser import export_denoiser
from glot_onnx.graphs import OPSET, export_graph, fitted_of, save_graph
from glot_onnx.parity import REPORT, ParityReport, measure, to_json
from glot_onnx.precision import PRECISIONS, convert
from glot_onnx.serving import write_server_files
from glot_rag.checks import choose
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.denoise.denoiser import Denoiser
from glot_rag.denoise.storage import save_fitted_head
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.loading import BUNDLE_RECORD as RECORD
from glot_rag.encoder.loading import is_bundle
from glot_rag.encoder.torch_encoder import TorchEncoder, as_torch
from glot_rag.errors import InputError
from glot_rag.files import replace_directory
from glot_rag.head import AdaPool, GlotHead
from glot_rag.onnx import corpus_features
from glot_rag.onnx.encoder import DENOISER, FORMAT, FORMAT_VERSION, MODEL, TOKENIZER, OnnxEncoder


def export_encoder(
    encoder: GlotEncoder,
    path: str | os.PathLike[str],
    *,
    precision: str = "float32",
    accept_loss: bool = False,
    texts: int | None = None,
    documents: Sequence[str] = (),
    graph_of: str | os.PathLike[str] | None = None,
) -> ParityReport:
    """Write backbone and head as one graph, with what running it needs, after the parity check.

    The directory gets `model.onnx`, `tokenizer.json`, `onnx.json` (settings and checksums), `parity.json`, the files
    that other servers read (`glot_onnx.serving`), and `head/`, from which `check_bundle` repeats the check. An older
    bundle there is replaced as a whole; if anything fails it stays as it was.

    The graph of an encoder that is fitted to a corpus has a third input, `corpus_features` (batch, seq, F),
    which `OnnxEncoder` computes from the corpus statistics in `head/` (`glot_rag.onnx.corpus_features`). Other servers
    cannot, so the files for them are left out.

    An encoder that denoises documents first also gets `denoiser/` (`glot_onnx.denoiser`). Other servers do not read it:
    give them clean texts, or export the encoder with denoise=False.

    Args:
        encoder: over a backbone in float32 on the CPU.
        path: the directory; new, empty or a bundle.
        precision: "float32"; "float16" or "bfloat16", which halve the file; or "int8" (see `glot_onnx.precision`).
        accept_loss: write the bundle even if more is lost than `glot_onnx.parity.TOLERANCES` allows. It then has a
            fingerprint of its own: its vectors do not belong in one index with the encoder's.
        texts: documents to measure over; None takes what the precision asks for (`TOLERANCES`).
        documents: further ones to measure over, such as those that will be indexed.
        graph_of: a bundle of this encoder in float32, whose graph is converted: tracing the encoder again is what takes
            the time.

    Returns:
        The parity report.

    Raises:
        InputError: the directory holds something else, the backbone is in another dtype or elsewhere, or the encoder
            embeds queries with a head fitted to another corpus than the documents'; no such precision; `graph_of` is
            another encoder's or in another precision.
        ParityError: the graph does not give the encoder's vectors.
    """
    choose("precision", precision, PRECISIONS)
    encoder = as_torch(encoder)
    target = Path(path)
    if target.exists() and not is_bundle(target) and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not empty and not an exported encoder: choose another directory")
    backbone = encoder.backbone
    if backbone.dtype != torch.float32 or backbone.device.type != "cpu":
        raise InputError(
            f"export needs float32 on the CPU, the backbone is in {str(backbone.dtype).removeprefix('torch.')} on "
            f"{backbone.device}: GlotEncoder.from_pretrained(..., dtype='float32', device='cpu')"
        )
    if graph_of is not None:
        given = OnnxEncoder(graph_of)
        if (given.fingerprint, given.precision) != (encoder.fingerprint, "float32"):
            raise InputError(
                f"{graph_of} holds the encoder {given.fingerprint} in {given.precision}; expected "
                f"{encoder.fingerprint} in float32: export that first"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary) / "bundle"
        made.mkdir()
        if graph_of is None:
            export_graph(encoder, made / MODEL)
        else:
            shutil.copyfile(Path(graph_of) / MODEL, made / MODEL)
        if precision != "float32":
            save_graph(convert(onnx.load(made / MODEL), precision), made / MODEL)
        (made / TOKENIZER).write_text(backbone.tokenizer.core.to_str(), encoding="utf-8")
        if isinstance(encoder.pooling, (GlotHead, AdaPool)):
            details = {"backbone": backbone.source.name, "backbone_fingerprint": backbone.fingerprint}
            save_fitted_head(encoder.pooling, encoder.classifier, made / "head", details)
        if encoder.denoiser is not None:
            _put_denoiser(encoder.denoiser, made / DENOISER)
        if fitted_of(encoder.pooling) is None:
            write_server_files(encoder, made)
        _write_record(encoder, made, precision, encoder.fingerprint)
        report = measure(encoder, OnnxEncoder(made), texts, documents)
        if not accept_loss:
            report.check()
        elif report.losses():
            own = hashlib.sha256(f"{encoder.fingerprint} {precision}".encode()).hexdigest()
            _write_record(encoder, made, precision, own)
        (made / REPORT).write_bytes(to_json(report))
        replace_directory(made, target)
    return report


def _put_denoiser(denoiser: Denoiser, path: Path) -> None:
    if isinstance(denoiser, TorchDenoiser):
        export_denoiser(denoiser, path)
    else:
        denoiser.save(path)


def _write_record(encoder: TorchEncoder, made: Path, precision: str, fingerprint: str) -> None:
    backbone = encoder.backbone
    fitted = fitted_of(encoder.pooling) is not None
    files = (MODEL, TOKENIZER, *(corpus_features.FILES if fitted else ()))
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "precision": precision,
        "dimension": encoder.dimension,
        "max_tokens": encoder.max_tokens,
        "query_prompt": encoder.query_prompt,
        "document_prompt": encoder.document_prompt,
        "pad_id": backbone.tokenizer.pad_id,
        "stand_in": backbone.tokenizer.stand_in,
        "special_ids": list(backbone.tokenizer.special_ids),
        "source": {
            "backbone": backbone.source.name,
            "pooling": encoder.pooling.name,
            "fingerprint": encoder.fingerprint,
        },
        "whole": encoder.whole,
        "words_dropped": encoder.denoiser is not None and encoder.denoiser.drops_words,
        "denoiser": None if encoder.denoiser is None else encoder.denoiser.fingerprint,
        "plain": encoder.with_pooling(encoder.pooling.name, denoise=False).fingerprint,
        **({corpus_features.INPUT: list(FEATURES)} if fitted else {}),
        "opset": OPSET,
        "ir_version": onnx.load(made / MODEL, load_external_data=False).ir_version,
        "sha256": {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in files},
    }
    (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
