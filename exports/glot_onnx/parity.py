"""The parity report: how far an exported encoder's vectors are from torch's, and whether that is too far."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from glot_onnx.edges import compare_batches
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, GlotError, InputError
from glot_rag.evaluation import load_stdlib, search
from glot_rag.evaluation import measure as measure_ranking
from glot_rag.models.tokenizer import check_texts
from glot_rag.onnx.denoiser import SAVED
from glot_rag.onnx.encoder import DENOISER, OnnxEncoder

REPORT = "parity.json"
_WORDS = """
the of a search index vector document query token graph noise signal passage model 2026 3.14 https://example.org Zürich
naïve 東京 привет مرحبا 😀 <div> {} // ERROR cookie privacy menu wing flow boundary layer supersonic
"""


class ParityError(GlotError):
    """The exported graph does not give the torch encoder's vectors."""


@dataclass(frozen=True)
class Tolerance:
    """What an export in some precision may lose.

    Args:
        max_difference: the largest difference of a component of a unit vector between torch and the export.
        min_cosine: the least cosine between a text's vector by torch and by the export.
        ndcg_lost: nDCG@10 that may be lost, in [0, 1].
        batch_difference: the largest difference of a component between a text's vector alone and in a batch.
        texts: how many documents of the retrieval set these are measured over.
    """

    max_difference: float
    min_cosine: float
    ndcg_lost: float
    batch_difference: float
    texts: int


TOLERANCES = {
    "float32": Tolerance(1e-4, 0.99999, 0.005, 1e-4, texts=200),
    "float16": Tolerance(1.0, 0.99, 0.005, 1e-4, texts=1000),
    "bfloat16": Tolerance(1.0, 0.99, 0.005, 1e-4, texts=1000),
    # A row's scale is its own, but a last digit that depends on the batch can move a value to the next level.
    "int8": Tolerance(1.0, 0.99, 0.005, 2e-2, texts=1000),
}


@dataclass(frozen=True)
class ParityReport:
    """How an exported encoder compares with the torch encoder in float32.

    Attributes:
        precision: of the exported graph.
        texts: how many documents were compared, of one to `max_tokens` tokens: made-up ones, the documents of a
            retrieval set (Python's own documentation; its queries are compared, too), and those that were given.
        max_difference: the largest absolute difference of a component, in batches of 1 to many, padded on either side.
        min_cosine: the least cosine, over documents and queries.
        top10_overlap: of the ten nearest documents of each query, the share that both agree on.
        ndcg: nDCG@10 of the exported encoder on the retrieval set, in [0, 1].
        ndcg_lost: how much less that is than torch's.
        batch_difference: the largest absolute difference between a text's vector alone and in a batch, in ONNX Runtime.
        edges: pairs of tokens in the token graphs that were compared; 0 for a pooling without one.
        edges_flipped: pairs that lie on the other side of tau.
    """

    precision: str
    texts: int
    max_difference: float
    min_cosine: float
    top10_overlap: float
    ndcg: float
    ndcg_lost: float
    batch_difference: float
    edges: int
    edges_flipped: int

    def losses(self) -> list[str]:
        """The figures that are out of tolerance, each with its limit."""
        limit = TOLERANCES[self.precision]
        figures = [
            (self.min_cosine >= limit.min_cosine, f"least cosine {self.min_cosine:.7f}, at least {limit.min_cosine}"),
            (
                self.max_difference <= limit.max_difference,
                f"largest difference {self.max_difference:.2e}, at most {limit.max_difference:g}",
            ),
            (
                self.batch_difference <= limit.batch_difference,
                f"alone against in a batch {self.batch_difference:.2e}, at most {limit.batch_difference:g}",
            ),
            (
                self.ndcg_lost <= limit.ndcg_lost,
                f"{100 * self.ndcg_lost:.2f} points of nDCG@10 lost, at most {100 * limit.ndcg_lost:g}",
            ),
        ]
        return [text for within, text in figures if not within]

    def check(self) -> None:
        """Raise an error if a figure is out of tolerance.

        Raises:
            ParityError: a figure is out of tolerance.
        """
        if losses := self.losses():
            way_out = "" if self.precision == "float32" else ". Take another precision, or accept the loss by name"
            raise ParityError(
                f"the exported graph differs ({self.precision}, {self.texts} texts): {'; '.join(losses)}{way_out}"
            )


def sample_texts(seed: int = 0) -> list[str]:
    """English-like, multilingual and broken texts of many lengths, the same on every machine."""
    rng = random.Random(seed)
    words = _WORDS.split()
    lengths = [1, 2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 610]
    texts = [" ".join(rng.choices(words, k=length)) for length in lengths]
    return ["", " \n\t", "\x00", "a" * 500, *texts]


def measure(
    encoder: TorchEncoder, exported: OnnxEncoder, texts: int | None = None, documents: Sequence[str] = ()
) -> ParityReport:
    """Compare a torch encoder, which should be in float32, with an exported one.

    Args:
        encoder: the torch encoder that was exported.
        exported: the exported encoder.
        texts: documents of the retrieval set; None takes what `TOLERANCES` asks for.
        documents: further documents whose vectors are compared, such as those that will be indexed.

    Raises:
        InputError: a number of texts below 1, or documents that are no strings.
    """
    count = TOLERANCES[exported.precision].texts if texts is None else texts
    if count < 1:
        raise InputError(f"texts must be at least 1; got {count}")
    odd = sample_texts()
    collection = load_stdlib(count)
    written = [*odd, *collection.documents.values(), *check_texts(documents)]
    ranked = slice(len(odd), len(odd) + len(collection.documents))
    asked = [*odd, *collection.queries.values()]
    vectors, queries = [], []
    for each in (encoder, exported):
        vectors.append(each.encode_documents(written))
        queries.append(each.encode_queries(asked))
    alone = np.concatenate([exported.encode_documents([text]) for text in odd])
    rankings = [
        search(list(collection.documents), these[ranked], list(collection.queries), asking[len(odd) :], k=10)
        for these, asking in zip(vectors, queries, strict=True)
    ]
    ndcg = [measure_ranking(collection.qrels, ranking, ["ndcg@10"])["ndcg@10"] for ranking in rankings]
    overlap = [len(ours.keys() & rankings[1][query].keys()) / len(ours) for query, ours in rankings[0].items()]
    batches = compare_batches(encoder, exported, encoder.backbone.tokenizer(odd))
    return ParityReport(
        precision=exported.precision,
        texts=len(written),
        max_difference=float(
            np.max([batches.difference, *(np.abs(ours - theirs).max() for ours, theirs in (vectors, queries))])
        ),
        min_cosine=float(np.min([(ours * theirs).sum(axis=1).min() for ours, theirs in (vectors, queries)])),
        top10_overlap=float(np.mean(overlap)),
        ndcg=ndcg[1],
        ndcg_lost=ndcg[0] - ndcg[1],
        batch_difference=float(np.abs(alone - vectors[1][: len(odd)]).max()),
        edges=batches.edges,
        edges_flipped=batches.flipped,
    )


def check_bundle(path: str | os.PathLike[str], texts: int | None = None, documents: Sequence[str] = ()) -> ParityReport:
    """Measure a bundle again, against the encoder that it was exported from according to its record.

    Args:
        path: the bundle's directory.
        texts: documents of the retrieval set; None takes what `TOLERANCES` asks for.
        documents: further documents whose vectors are compared.

    Raises:
        BundleError: the bundle is damaged, or that encoder is not the same any more.
        ParityError: the figures are out of tolerance.
    """
    exported = OnnxEncoder(path)
    source = exported.record["source"]
    denoiser = Path(path) / DENOISER / SAVED
    encoder = TorchEncoder.from_pretrained(
        source["backbone"],
        denoise=TorchDenoiser.load(denoiser, dtype="float32", device="cpu") if exported.denoiser is not None else False,
        pooling=source["pooling"],
        head=Path(path) / "head" if (Path(path) / "head").is_dir() else None,
        dtype="float32",
        device="cpu",
        max_tokens=exported.max_tokens,
        query_prompt=exported.query_prompt,
        document_prompt=exported.document_prompt,
    )
    expected = source.get("fingerprint", exported.fingerprint)
    if encoder.fingerprint != expected:
        raise BundleError(
            f"{path} was exported from an encoder with fingerprint {expected}; '{source['backbone']}' now "
            f"gives {encoder.fingerprint}: export it again"
        )
    report = measure(encoder, exported, texts, documents)
    report.check()
    return report


def to_json(report: ParityReport) -> bytes:
    """The report as it is stored beside the graph."""
    return json.dumps(asdict(report), indent=2).encode() + b"\n"
