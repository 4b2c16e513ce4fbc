"""Denoiser -> bundle: a directory that `Denoiser.from_pretrained` runs without torch, and how far it is from torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from glot_onnx.denoiser_graphs import write_block_head, write_lower_layers, write_word_head
from glot_onnx.graphs import OPSET
from glot_onnx.parity import REPORT, ParityError, sample_texts
from glot_rag.denoise.block_noise import find_noisy_blocks
from glot_rag.denoise.denoiser import EXPORTED_RECORD as RECORD
from glot_rag.denoise.denoiser import Denoiser, is_exported
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.denoise.word_noise import find_noisy_words
from glot_rag.errors import InputError, UnsupportedError
from glot_rag.evaluation import load_stdlib
from glot_rag.files import replace_directory
from glot_rag.fingerprint import fingerprint
from glot_rag.head.registry import block_head_fingerprint, pooling_fingerprint
from glot_rag.models.tokenizer import check_texts
from glot_rag.onnx.denoiser import (
    BLOCKS,
    CLASSIFIER,
    FORMAT,
    FORMAT_VERSION,
    INPUTS,
    RECURRENCE,
    SAVED,
    STATES,
    STATISTICS,
    TOKENIZER,
    WORDS,
    OnnxDenoiser,
)

MOST_DIFFERENCE = 1e-4  # of a noise probability
_TEXTS = 10  # documents of Python's documentation, each as it is and without its line breaks


@dataclass(frozen=True)
class DenoiserParity:
    """How an exported denoiser compares with the torch denoiser in float32.

    Attributes:
        texts: how many were compared: made-up ones, Python's documentation with and without its line breaks, and those
            that were given.
        parts: blocks and words whose noise probabilities were compared.
        max_difference: the largest absolute difference of a probability.
        texts_changed: texts of which other parts are kept.
    """

    texts: int
    parts: int
    max_difference: float
    texts_changed: int

    def check(self) -> None:
        """Raise an error if a probability differs by more than 0.0001.

        Raises:
            ParityError: one does.
        """
        if not self.max_difference <= MOST_DIFFERENCE:  # a NaN is not, either
            raise ParityError(
                f"the exported denoiser differs: a noise probability by {self.max_difference:.2e}, at most "
                f"{MOST_DIFFERENCE:g}; {self.texts_changed} of {self.texts} texts are kept otherwise"
            )


def export_denoiser(
    denoiser: Denoiser,
    path: str | os.PathLike[str],
    *,
    documents: Sequence[str] = (),
    graphs_of: str | os.PathLike[str] | None = None,
) -> DenoiserParity:
    """Write a denoiser's networks as graphs, with what running them needs, after the parity check.

    An older bundle there is replaced as a whole; if anything fails it stays as it was.

    Args:
        denoiser: over a backbone in float32 on the CPU, fitted or not.
        path: the directory; new, empty or a bundle.
        documents: further ones to measure over, such as those that will be denoised.
        graphs_of: a bundle of the same heads, fitted to whatever corpus: its graphs are taken, since tracing them again
            is what takes the time.

    Returns:
        The parity report, which is also written as `parity.json`.

    Raises:
        InputError: the directory holds something else, the backbone is in another dtype or elsewhere, or `graphs_of`
            has other heads.
        UnsupportedError: the denoiser does not run torch.
        ParityError: the graphs do not give the denoiser's probabilities.
    """
    if not isinstance(denoiser, TorchDenoiser):
        raise UnsupportedError(f"only a denoiser that runs torch can be exported, got {denoiser!r}")
    target, backbone = Path(path), denoiser.backbone
    if target.exists() and not is_exported(target) and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not empty and not an exported denoiser: choose another directory")
    if backbone.dtype != torch.float32 or backbone.device.type != "cpu":
        raise InputError(
            f"export needs float32 on the CPU, the backbone is in {str(backbone.dtype).removeprefix('torch.')} on "
            f"{backbone.device}: Denoiser.from_pretrained(..., dtype='float32', device='cpu')"
        )
    heads = _heads_fingerprint(denoiser)
    if graphs_of is not None and OnnxDenoiser(graphs_of).record.get("heads") != heads:
        raise InputError(f"{graphs_of} was exported from other heads or another backbone: leave graphs_of= out")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary) / "bundle"
        made.mkdir()
        if graphs_of is None:
            _write_graphs(denoiser, made)
        else:
            for name in (STATES, WORDS, BLOCKS):
                if (Path(graphs_of) / name).is_file():
                    shutil.copyfile(Path(graphs_of) / name, made / name)
        (made / TOKENIZER).write_text(backbone.tokenizer.core.to_str(), encoding="utf-8")
        denoiser.save(made / SAVED)
        _write_record(denoiser, made, heads)
        report = measure_denoiser(denoiser, OnnxDenoiser(made), documents)
        report.check()
        (made / REPORT).write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n", encoding="utf-8")
        replace_directory(made, target)
    return report


def measure_denoiser(denoiser: Denoiser, exported: Denoiser, documents: Sequence[str] = ()) -> DenoiserParity:
    """Compare a torch denoiser, which should be in float32, with an exported one.

    Args:
        denoiser: the denoiser that was exported.
        exported: the exported one.
        documents: further texts to compare over.

    Raises:
        InputError: documents that are no strings.
    """
    written = list(load_stdlib(_TEXTS).documents.values())
    texts = [*sample_texts(), *written, *(" ".join(text.split()) for text in written), *check_texts(documents)]
    probabilities = [_probabilities(each, texts) for each in (denoiser, exported)]
    kept = [[found.spans for found in each.denoise(texts)] for each in (denoiser, exported)]
    return DenoiserParity(
        texts=len(texts),
        parts=len(probabilities[0]),
        max_difference=float(np.abs(probabilities[0] - probabilities[1]).max(initial=0.0)),
        texts_changed=sum(ours != theirs for ours, theirs in zip(*kept, strict=True)),
    )


def _probabilities(denoiser: Denoiser, texts: Sequence[str]) -> np.ndarray:
    """The noise probabilities of all blocks and words of all texts, each as far as the denoiser has a head for it."""
    reader, words, blocks = denoiser.networks
    found = [np.zeros(0, np.float32)]
    if blocks is not None:
        recurrence = denoiser.recurrence
        found += [each.noise for each in find_noisy_blocks(reader, blocks, texts, recurrence=recurrence)]
    if words is not None:
        found += [each.noise for each in find_noisy_words(reader, words, texts)]
    return np.concatenate(found)


def _write_graphs(denoiser: TorchDenoiser, made: Path) -> None:
    layers: set[int] = set()
    if denoiser.head is not None:
        layers |= set(denoiser.head.layers)
        write_word_head(denoiser.head, denoiser.classifier, made / WORDS)
    if denoiser.block_head is not None:
        layers.add(denoiser.block_head.layer)
        write_block_head(denoiser.block_head, made / BLOCKS)
    write_lower_layers(denoiser.backbone, sorted(layers), made / STATES)


def _write_record(denoiser: TorchDenoiser, made: Path, heads: str) -> None:
    backbone, head, block_head = denoiser.backbone, denoiser.head, denoiser.block_head
    fitted = head is not None and head.adjustment is not None
    names = [STATES, TOKENIZER]
    names += [name for name in (WORDS, BLOCKS, RECURRENCE) if (made / name).is_file()]
    names += [STATISTICS, CLASSIFIER] if fitted else []
    words = None
    if head is not None:
        words = {
            "layers": list(head.layers),
            "min_keep_ratio": head.config.min_keep_ratio,
            "min_drop_ratio": head.min_drop_ratio,
        }
    blocks = None
    if block_head is not None:
        blocks = {"layer": block_head.layer, "noise_threshold": block_head.noise_threshold}
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": denoiser.fingerprint,
        "heads": heads,
        "state_size": backbone.state_size,
        "max_tokens": backbone.max_tokens,
        "pad_id": backbone.tokenizer.pad_id,
        "stand_in": backbone.tokenizer.stand_in,
        "special_ids": list(backbone.tokenizer.special_ids),
        "threshold": denoiser.threshold,
        "words": words,
        "blocks": blocks,
        "inputs": INPUTS,
        "backbone": backbone.source.name,
        "opset": OPSET,
        "sha256": {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in names},
    }
    (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _heads_fingerprint(denoiser: TorchDenoiser) -> str:
    """Of what the graphs are made of, whatever corpus the denoiser is fitted to."""
    head, classifier, block_head = denoiser.head, denoiser.classifier, denoiser.block_head
    return fingerprint(
        {
            "backbone": denoiser.backbone.fingerprint,
            "head": None if head is None else pooling_fingerprint(head.without_adjustment()),
            "classifier": None if classifier is None else classifier.fingerprint,
            "block_head": None if block_head is None else block_head_fingerprint(block_head),
        }
    )
