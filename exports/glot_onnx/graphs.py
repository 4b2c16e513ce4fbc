"""Torch modules -> ONNX graphs: standard operators only, batch and sequence length open."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

import glot_rag
from glot_rag.denoise.classifier import FittedClassifier
from glot_rag.denoise.corpus_statistics import FEATURES
from glot_rag.encoder.encoding import pool_ids, unit
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import InputError
from glot_rag.head import AdaPool, GlotHead, Pooled, Pooling
from glot_rag.head.pooling import TrainedPooling
from glot_rag.onnx import corpus_features
from glot_rag.onnx.encoder import CHOICE, DOCUMENTS, NOISE, NORMS, PARTS, QUERIES, WEIGHTS

OPSET = 20
_FREE = 1 << 20  # a bound on the sequence length where the model has none


class HeadGraph(nn.Module):
    """Hidden states and mask -> unit vector, token weights and, for a trained head, noise probabilities."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = dense_copy(pooling)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """(B, L, S·D) float32 and (B, L) int64 -> (B, O), (B, L), (B, L)."""
        mask = attention_mask.bool()
        return _outputs(self.pooling(hidden_states, mask), mask)


class _Given(FittedClassifier):
    """A fitted classifier inside a graph: the corpus features come in from outside."""

    given: Tensor

    def features(self, ids: Tensor, groups: Sequence[str] | None = None) -> Tensor:
        return self.given


class EncoderGraph(nn.Module):
    """Token ids and mask -> a document's unit vector, a query's where it differs, and the tokens' part in each.

    Each pooling gives its unit vector, the length that the vector had before, by which windows of a document are added
    up, and for `explain` the tokens' weights and parts in it. One that drops tokens also gives its choice, and the
    states from which the layers above it start (`glot_rag.onnx.encoder` has the outputs' names).

    For a fitted encoder the corpus features come with the ids.
    """

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__()
        self.model = encoder.backbone.model
        self.documents = dense_copy(encoder.pooling)
        self.queries = None if encoder.query_pooling is encoder.pooling else dense_copy(encoder.query_pooling)
        self._backbone = encoder.backbone
        self._given: _Given | None = None
        if (fitted := fitted_of(encoder.pooling)) is not None:
            assert isinstance(self.documents, TrainedPooling)
            self._given = _Given(fitted.classifier, fitted.statistics)
            self.documents.adjustment = self._given

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, corpus_features: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """(B, L) int64 each, perhaps (B, L, F) float32 -> what `output_names` names."""
        mask = attention_mask.bool()
        if self._given is not None and corpus_features is not None:
            self._given.given = corpus_features
        poolings = {"documents": self.documents} | ({} if self.queries is None else {"queries": self.queries})
        by_name = pool_ids(self._backbone, poolings, input_ids, mask, shorten=False, parts=True)
        read = [by_name[name] for name in poolings]
        out = [unit(each.pooled.vector) for each in read]
        for each in read:
            assert each.parts is not None
            out += [each.pooled.vector.float().norm(dim=-1, keepdim=True), each.pooled.weights, each.parts]
        documents = by_name["documents"]
        if documents.pooled.logits is not None:
            out.append(torch.sigmoid(-documents.pooled.logits) * mask)
        if documents.kept is not None:
            out += [documents.kept.entered, documents.kept.stays]
        return tuple(out)


def export_head(head: GlotHead | AdaPool, path: str | os.PathLike[str]) -> Path:
    """Write a head alone.

    The graph: `hidden_states` (batch, seq, S·D) and `attention_mask` (batch, seq) -> `sentence_embedding` (batch, O),
    of norm 1, `token_weights` and `noise_probability` (batch, seq). In the drop form the vector is the mean of the
    kept tokens' given states (see `HeadConfig.form`).

    Args:
        head: a trained head; its parameters are copied.
        path: the .onnx file.

    Returns:
        The path.

    Raises:
        InputError: the head is fitted to a corpus, for which it needs token ids.
    """
    if head.adjustment is not None:
        raise InputError(
            "a head alone sees no token ids, by which a fitted one tells what recurs: export the encoder, or the head "
            "from before fit()"
        )
    states = torch.zeros(2, 7, head.config.input_size)
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    names = [DOCUMENTS, WEIGHTS[DOCUMENTS], NOISE]
    target = Path(path)
    write_graph(HeadGraph(head), {"hidden_states": states, "attention_mask": mask}, names, target)
    return target


def export_graph(encoder: TorchEncoder, path: Path) -> None:
    """Write an encoder's fused graph: `input_ids` and `attention_mask` (batch, seq) -> `sentence_embedding` first.

    That of a fitted encoder also takes `corpus_features` (batch, seq, F).

    Raises:
        InputError: queries are embedded with a head fitted to another corpus than the documents'.
    """
    if encoder.query_pooling is not encoder.pooling and fitted_of(encoder.query_pooling) is not None:
        raise InputError(
            "queries have a fitted head of their own, and a graph has a place for one corpus: use the documents' "
            "pooling for queries, or a fixed one"
        )
    ids = torch.full((2, 7), encoder.backbone.tokenizer.stand_in)
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    metadata = {
        "glot_rag_version": glot_rag.__version__,
        "fingerprint": encoder.fingerprint,
        "max_tokens": str(encoder.max_tokens),
        "query_prompt": encoder.query_prompt,
        "document_prompt": encoder.document_prompt,
    }
    inputs = {"input_ids": ids, "attention_mask": mask}
    if fitted_of(encoder.pooling) is not None:
        inputs[corpus_features.INPUT] = torch.zeros(*ids.shape, len(FEATURES))
    names = output_names(encoder)
    write_graph(EncoderGraph(encoder), inputs, names, path, longest=encoder.max_tokens, metadata=metadata)


def output_names(encoder: TorchEncoder) -> list[str]:
    """The outputs of an encoder's graph, the documents' vector first."""
    vectors = [DOCUMENTS] if encoder.query_pooling is encoder.pooling else [DOCUMENTS, QUERIES]
    names = [*vectors, *(each[vector] for vector in vectors for each in (NORMS, WEIGHTS, PARTS))]
    if isinstance(encoder.pooling, (GlotHead, AdaPool)):
        names.append(NOISE)
    return [*names, *CHOICE] if encoder.pooling.drops else names


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    *,
    sizes: Mapping[str, tuple[str, str]] | None = None,
    longest: int = _FREE,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Export a module, with sizes and values of the sample inputs left open, and write it (`save_graph`).

    Args:
        module: what is exported.
        inputs: name -> a sample, in the order of `forward`.
        outputs: their names.
        path: the .onnx file.
        sizes: input -> the names of its first two sizes, which stay open; None, and others: batch and seq.
        longest: the bound of seq.
        metadata: written into the graph.
    """
    named = {name: (sizes or {}).get(name, ("batch", "seq")) for name in inputs}
    bounds = {"seq": longest}
    dims = {size: torch.export.Dim(size, max=bounds.get(size)) for two in named.values() for size in two}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: dims[first], 1: dims[second]} for first, second in named.values()),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(metadata or {}))
    save_graph(model, path, named)


def save_graph(model: onnx.ModelProto, path: Path, sizes: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Write a graph after checking it.

    The checks: the model checker, shape inference, standard operators only, open sizes (`sizes` as in `write_graph`).
    """
    onnx.checker.check_model(model, full_check=True)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    expected = {name: (sizes or {}).get(name, ("batch", "seq")) for name in shapes}
    fixed = [name for name, dims in shapes.items() if tuple(dim.dim_param for dim in dims[:2]) != expected[name]]
    assert not fixed, f"the exporter tied {fixed} to the sample's size"
    foreign = {node.domain for node in model.graph.node} - {""}
    assert not foreign, f"operators that are not ONNX's own: {foreign}"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def fitted_of(pooling: Pooling) -> FittedClassifier | None:
    """What a fitted head weighs its scores against."""
    adjustment = pooling.adjustment if isinstance(pooling, TrainedPooling) else None
    assert adjustment is None or isinstance(adjustment, FittedClassifier)
    return adjustment


def dense_copy(pooling: Pooling) -> Pooling:
    """A copy in float32 on the CPU that never takes the sparse path, which has no ONNX form; without its adjustment."""
    shallow = copy.copy(pooling)
    if isinstance(shallow, TrainedPooling):
        shallow.adjustment = None
    found = copy.deepcopy(shallow).cpu().float().eval()
    if isinstance(found, GlotHead):
        found.path = "dense"
    return found


def _outputs(pooled: Pooled, mask: Tensor) -> tuple[Tensor, ...]:
    vector = unit(pooled.vector)
    if pooled.logits is None:
        return vector, pooled.weights
    return vector, pooled.weights, torch.sigmoid(-pooled.logits) * mask


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's own log messages and warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
