"""The parity certificate: how far an exported encoder's vectors are from the torch encoder's."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from glot_rag.encoder import GlotEncoder
from glot_rag.errors import BundleError, GlotError
from glot_rag.onnx_encoder import OnnxEncoder

REPORT = "parity.json"
MAX_DIFFERENCE = 1e-4  # of any component of a unit vector
MIN_COSINE = 0.99999
_WORDS = """
the of a search index vector document query token graph noise signal passage model 2026 3.14 https://example.org Zürich
naïve 東京 привет مرحبا 😀 <div> {} // ERROR cookie privacy menu wing flow boundary layer supersonic
"""


class ParityError(GlotError):
    """The exported graph does not give the torch encoder's vectors."""


@dataclass(frozen=True)
class ParityReport:
    """Torch in float32 against ONNX Runtime, over documents and queries.

    Attributes:
        texts: how many were compared, of 0 to over `max_tokens` tokens, in batches of 1 and of many.
        max_difference: the largest absolute difference of a component.
        min_cosine: the least cosine.
        top10_overlap: of the ten nearest texts of each text, the share that both agree on.
        batch_difference: the largest absolute difference between a text's vector alone and in a batch, in ONNX Runtime.
    """

    texts: int
    max_difference: float
    min_cosine: float
    top10_overlap: float
    batch_difference: float

    def check(self) -> None:
        """Refuse what is not the same encoder.

        Raises:
            ParityError: a figure is out of tolerance.
        """
        worst = max(self.max_difference, self.batch_difference)
        if not (worst <= MAX_DIFFERENCE and self.min_cosine >= MIN_COSINE):
            raise ParityError(
                f"the exported graph differs: largest difference {self.max_difference:.2e}, between batches "
                f"{self.batch_difference:.2e} (at most {MAX_DIFFERENCE:g}), least cosine {self.min_cosine:.7f} "
                f"(at least {MIN_COSINE}). Nothing was written"
            )


def sample_texts(seed: int = 0) -> list[str]:
    """English-like, multilingual and broken texts of many lengths, the same on every machine."""
    rng = random.Random(seed)
    words = _WORDS.split()
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610]
    texts = [" ".join(rng.choices(words, k=length)) for length in lengths for _ in range(2)]
    return ["", " \n\t", "\x00", "a" * 500, *texts]


def measure(encoder: GlotEncoder, exported: OnnxEncoder, texts: Sequence[str] | None = None) -> ParityReport:
    """Compare a torch encoder, which should be in float32, with an exported one.

    Args:
        encoder: what was exported.
        exported: what it became.
        texts: to compare over; None takes `sample_texts()`.
    """
    texts = list(sample_texts() if texts is None else texts)
    pairs = [
        (encoder.encode_documents(texts), exported.encode_documents(texts)),
        (encoder.encode_queries(texts), exported.encode_queries(texts)),
    ]
    alone = np.concatenate([exported.encode_documents([text]) for text in texts])
    documents, onnx_documents = pairs[0]
    nearest = [np.argsort(-(each @ each.T), axis=1, kind="stable")[:, :10] for each in (documents, onnx_documents)]
    overlap = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(*nearest, strict=True)])
    return ParityReport(
        texts=len(texts),
        max_difference=float(max(np.abs(a - b).max() for a, b in pairs)),
        min_cosine=float(min((a * b).sum(axis=1).min() for a, b in pairs)),
        top10_overlap=float(overlap),
        batch_difference=float(np.abs(alone - onnx_documents).max()),
    )


def check_bundle(path: str | os.PathLike[str]) -> ParityReport:
    """Measure a bundle again, against the encoder that it says it was exported from.

    Raises:
        BundleError: the bundle is damaged, or that encoder is not the same any more.
        ParityError: the figures are out of tolerance.
    """
    exported = OnnxEncoder(path)
    source = exported.record["source"]
    encoder = GlotEncoder.from_pretrained(
        source["backbone"],
        pooling=source["pooling"],
        head=Path(path) / "head" if (Path(path) / "head").is_dir() else None,
        dtype="float32",
        max_tokens=exported.max_tokens,
        query_prompt=exported.query_prompt,
        document_prompt=exported.document_prompt,
    )
    if encoder.fingerprint != exported.fingerprint:
        raise BundleError(
            f"{path} was exported from an encoder with fingerprint {exported.fingerprint}; '{source['backbone']}' now "
            f"gives {encoder.fingerprint}: export it again"
        )
    report = measure(encoder, exported)
    report.check()
    return report


def to_json(report: ParityReport) -> bytes:
    """The report as it is stored beside the graph."""
    return json.dumps(asdict(report), indent=2).encode() + b"\n"
