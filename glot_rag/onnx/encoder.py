"""An exported encoder: one graph from token ids to vectors, run by ONNX Runtime or OpenVINO. No torch, no transformers.

`glot_onnx.export_encoder` (`glot-rag export`) makes the bundle: `model.onnx`, `tokenizer.json`, `onnx.json`, and the
corpus statistics of a fitted encoder (`glot_rag.onnx.corpus_features`).
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.denoised import Denoised
from glot_rag.embedder import Vectors
from glot_rag.encoder.base import GlotEncoder
from glot_rag.encoder.evidence import Evidence
from glot_rag.encoder.explaining import ReadWindow, explain
from glot_rag.encoder.loading import BUNDLE_RECORD as RECORD
from glot_rag.encoder.loading import is_bundle
from glot_rag.encoder.reading import encode_left, is_read_as_query
from glot_rag.errors import BundleError, InputError, MissingExtraError
from glot_rag.files import read_json_record, write_atomically
from glot_rag.head.config import BASELINE_POOLINGS
from glot_rag.models.tokenizer import TokenBatch, Tokenizer, check_texts, pack, window_batches
from glot_rag.onnx import corpus_features
from glot_rag.onnx.corpus_features import CorpusFeatures
from glot_rag.onnx.denoiser import OnnxDenoiser
from glot_rag.onnx.runtimes import check_runtime, load_graph
from glot_rag.progress import bar

FORMAT = "glot-rag/onnx"
FORMAT_VERSION = 1
MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
DOCUMENTS, QUERIES = "sentence_embedding", "query_embedding"  # outputs of the graph
# Of each of them: the norm that it had before, (batch, 1), by which windows of a document are added up; the tokens'
# weights, (batch, seq); what each token adds to the vector, (batch, seq, D).
NORMS = {DOCUMENTS: "document_norm", QUERIES: "query_norm"}
WEIGHTS = {DOCUMENTS: "token_weights", QUERIES: "query_token_weights"}
PARTS = {DOCUMENTS: "token_parts", QUERIES: "query_token_parts"}
NOISE = "noise_probability"  # (batch, seq), of a trained head
# Of a pooling that drops tokens: the states from which the layers above its choice start, (batch, seq, D), and what it
# keeps, (batch, seq).
CHOICE = ("choice_states", "kept_tokens")
DENOISER = "denoiser"  # the folder of an exported denoiser
# B·L and B·L² of a batch, fewer than in torch: here every head's attention scores are held, L² floats each, and stay in
# the caches. With twice as many of either, a text takes a tenth to a fifth longer.
_BATCH_TOKENS = 1_024
_BATCH_PAIRS = 1 << 17
_FIELDS = {
    **{"dimension": int, "max_tokens": int, "pad_id": int, "stand_in": int, "special_ids": list},
    **{"fingerprint": str, "query_prompt": str, "document_prompt": str, "sha256": dict},
    **{"whole": bool, "words_dropped": bool},
}


class OnnxEncoder(GlotEncoder):
    """Texts -> unit vectors through an exported bundle. `GlotEncoder.from_pretrained` makes one for a bundle.

    It has the fingerprint of the encoder that it was exported from, so an index made by one serves the other.

    Args:
        path: the bundle's directory.
        denoise: False leaves the bundle's denoiser out: the encoder is then the one of `denoise=False`.
        threads: to compute with; None takes the physical cores.
        runtime: "onnxruntime", or "openvino", which embeds many texts faster.
        dtype: for OpenVINO, what it computes in: "float32" or "bfloat16". None is bfloat16 where the processor
            multiplies faster in it. The layers by which a pooling chooses tokens are computed in float32 either way.

    Raises:
        InputError: threads below 1, an unknown runtime or dtype, a dtype for ONNX Runtime, int8 weights for OpenVINO.
        BundleError: a file is missing, damaged (SHA-256), of another format or version.
        MissingExtraError: the runtime or tokenizers is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        denoise: bool = True,
        threads: int | None = None,
        runtime: str = "onnxruntime",
        dtype: str | None = None,
    ) -> None:
        check_runtime(runtime, threads, dtype, computes_in="what the bundle was exported in")
        try:
            import tokenizers
        except ImportError as error:
            raise MissingExtraError(error.name or "tokenizers", "onnx") from error
        self.path = Path(path)
        record = read_json_record(self.path / RECORD, FORMAT, FORMAT_VERSION)
        if not denoise and record.get("denoiser") is not None:
            record |= {"denoiser": None, "whole": False, "words_dropped": False, "fingerprint": record.get("plain")}
        wrong = [key for key, kind in _FIELDS.items() if not isinstance(record.get(key), kind)]
        if wrong:
            raise BundleError(f"{self.path / RECORD} lacks {', '.join(wrong)}: export the encoder again")
        files = {name: _checked(self.path / name, digest) for name, digest in _files(record["sha256"]).items()}
        self.record: dict[str, Any] = record
        self.query_prompt: str = record["query_prompt"]
        self.document_prompt: str = record["document_prompt"]
        self.runtime = runtime
        if runtime == "openvino" and self.precision == "int8":
            raise InputError(f"{self.path} has int8 weights, which ONNX Runtime computes in: export it in float32")
        trained = record.get("source", {}).get("pooling") not in BASELINE_POOLINGS
        try:
            self._graph = load_graph(runtime, files[MODEL], threads, dtype, CHOICE if trained else ())
            core = tokenizers.Tokenizer.from_buffer(files[TOKENIZER])
        except MissingExtraError:
            raise
        except Exception as error:  # both raise bare exceptions of their own
            raise BundleError(f"{self.path} cannot be loaded: {error}") from error
        self._tokenizer = Tokenizer(
            core,
            self.max_tokens,
            pad_id=record["pad_id"],
            stand_in=record["stand_in"],
            special_ids=record["special_ids"],
        )
        self._query_output = QUERIES if QUERIES in self._graph.outputs else DOCUMENTS
        fitted = corpus_features.INPUT in self._graph.inputs
        self._corpus_features = CorpusFeatures(self.path, record) if fitted else None
        needed = {each[vector] for vector in (DOCUMENTS, self._query_output) for each in (NORMS, WEIGHTS, PARTS)}
        if not needed <= set(self._graph.outputs):
            raise BundleError(f"{self.path / MODEL} lacks an output that this glot-rag reads: export the encoder again")
        self.denoiser: OnnxDenoiser | None = None
        if record.get("denoiser") is not None:
            self.denoiser = OnnxDenoiser(self.path / DENOISER, threads=threads, runtime=runtime)
            if self.denoiser.fingerprint != record["denoiser"]:
                raise BundleError(
                    f"{self.path / DENOISER} was not exported with the encoder beside it: export the encoder again"
                )

    @property
    def backend(self) -> str:
        """What runs the graph: "onnx" or "openvino"."""
        return "openvino" if self.runtime == "openvino" else "onnx"

    @property
    def capabilities(self) -> frozenset[str]:
        """Beside encoding "explain" and, if it has a denoiser, "denoise"."""
        return frozenset({"explain"} if self.denoiser is None else {"explain", "denoise"})

    @property
    def dimension(self) -> int:
        """D, the length of every vector."""
        return int(self.record["dimension"])

    @property
    def precision(self) -> str:
        """What the graph stores its weights in: float32, float16, bfloat16 or int8."""
        return str(self.record.get("precision", "float32"))

    @property
    def dtype(self) -> str:
        """What is computed in, but for a choice of tokens: float32 or bfloat16; with int8 weights, int8."""
        return "int8" if self.precision == "int8" else self._graph.dtype

    @property
    def fingerprint(self) -> str:
        """That of the encoder that was exported; one of its own where more than the tolerated loss was accepted."""
        return str(self.record["fingerprint"])

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut."""
        return int(self.record["max_tokens"])

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokeniser."""
        return self._tokenizer

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """(first character, end) of each token of a text of any length: see `GlotEncoder.token_spans`."""
        return self._tokenizer.spans(text)

    @property
    def embeds_alike(self) -> bool:
        """Whether a text has the same vector as a query and as a document."""
        same = self._query_output == DOCUMENTS and not self.record["whole"]
        return same and self.query_prompt == self.document_prompt

    def __repr__(self) -> str:
        told = f"dimension={self.dimension}, precision={self.precision!r}"
        return f"OnnxEncoder({str(self.path)!r}, {told}, runtime={self.runtime!r}, dtype={self.dtype!r})"

    def encode_documents(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """N texts -> (N, D) float32 with rows of norm 1: see `GlotEncoder.encode_documents`."""

        def encode(left: list[str], as_query: bool) -> Vectors:
            output = self._query_output if as_query else DOCUMENTS
            return self._encode(left, self.document_prompt, output, show_progress, batch_tokens, whole=self.whole)

        return encode_left(
            self.denoiser,
            texts,
            self._reads_as_query,
            encode,
            show_progress=show_progress,
            batch_tokens=batch_tokens,
        )

    def _reads_as_query(self, text: str) -> bool:
        return is_read_as_query(text, whole=self.whole, words_dropped=self.record["words_dropped"])

    def encode_queries(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """As `encode_documents`, with the query's prompt and pooling."""
        return self._encode(texts, self.query_prompt, self._query_output, show_progress, batch_tokens)

    def denoise(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> list[Denoised]:
        """Documents without noise, by the bundle's denoiser: see `Denoiser.denoise`."""
        if self.denoiser is None:
            raise self._unsupported("denoise", "denoise")
        return self.denoiser.denoise(texts, groups)

    def without_denoiser(self) -> OnnxEncoder:
        """See `GlotEncoder.without_denoiser`."""
        if self.denoiser is None:
            return self
        found = copy.copy(self)
        own = hashlib.sha256(f"{self.fingerprint} without its denoiser".encode()).hexdigest()
        found.denoiser, found.record = None, {**self.record, "denoiser": None, "fingerprint": own}
        return found

    @property
    def whole(self) -> bool:
        """Whether a document of any length is one vector, none of it cut."""
        return bool(self.record["whole"])

    def explain(self, text: str, query: str | None = None) -> Evidence:
        """What the document vector of a text is made of, without the token graph: see `GlotEncoder.explain`."""

        def read(left: str) -> Callable[[Sequence[int]], ReadWindow]:
            return partial(self._read_window, self._query_output if self._reads_as_query(left) else DOCUMENTS)

        return explain(self, read, text, query)

    def _read_window(self, output: str, ids: Sequence[int]) -> ReadWindow:
        batch = TokenBatch(np.zeros(1, np.int64), np.array([ids], np.int64), np.ones((1, len(ids)), np.bool_))
        outputs = [WEIGHTS[output], PARTS[output], *([NOISE] * (NOISE in self._graph.outputs))]
        ((weights, parts, *noise),) = self._graph.run(outputs, [self.feed(batch, DOCUMENTS)], 1)
        return ReadWindow(weights[0], noise[0][0] if noise else None, parts[0])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Copy what running the bundle needs into a directory.

        Raises:
            InputError: the directory holds something else.
        """
        target = Path(path)
        if target.resolve() == self.path.resolve():
            return
        if target.exists() and not is_bundle(target) and any(target.iterdir()):
            raise InputError(f"{target} is not empty and not an exported encoder: choose another directory")
        target.mkdir(parents=True, exist_ok=True)
        if self.denoiser is not None:
            self.denoiser.save(target / DENOISER)
        for name in _files(self.record["sha256"]):
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.path / name, target / name)
        # The record comes last: without it there is no bundle.
        write_atomically(target / RECORD, json.dumps(self.record, indent=2).encode() + b"\n")

    def feed(self, batch: TokenBatch, output: str = DOCUMENTS) -> dict[str, NDArray[Any]]:
        """The graph's inputs for a batch: ids, mask and, for a fitted encoder, the corpus features of each token."""
        feed: dict[str, NDArray[Any]] = {"input_ids": batch.ids, "attention_mask": batch.mask.astype(np.int64)}
        if self._corpus_features is not None:
            of = self._corpus_features if output == DOCUMENTS else self._corpus_features.none
            feed[corpus_features.INPUT] = of(batch.ids)
        return feed

    def _encode(
        self,
        texts: Sequence[str],
        prompt: str,
        output: str,
        show_progress: bool,
        batch_tokens: int | None,
        whole: bool = False,
    ) -> Vectors:
        checked = check_texts(texts)
        batch_tokens = _BATCH_TOKENS if batch_tokens is None else batch_tokens
        if batch_tokens < 1:
            raise InputError(f"batch_tokens must be at least 1; got {batch_tokens}")
        if prompt:
            checked = [prompt + text for text in checked]
        out = np.zeros((len(checked), self.dimension), np.float32)
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("embedding", total=len(checked))
            batched = partial(pack, pad_id=self._tokenizer.pad_id, batch_tokens=batch_tokens, batch_pairs=_BATCH_PAIRS)
            for batches in window_batches(self._tokenizer, checked, batched, whole=whole):
                feeds = (self.feed(each.batch, output) for each in batches)
                outputs = [output, NORMS[output]] if whole else [output]
                found = self._graph.run(outputs, feeds, len(batches))
                for (_, rows, shares), (vectors, *norms) in zip(batches, found, strict=True):
                    np.add.at(out, rows, vectors * shares[:, None] * (norms[0] if whole else 1))
                    progress.advance(task, float(shares.sum()))
        if whole:
            out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return out


def _files(sha256: Mapping[str, object]) -> dict[str, object]:
    """What running a bundle needs, with the checksums; nothing else that a record may name is touched."""
    fitted = [name for name in corpus_features.FILES if name in sha256]
    return {name: sha256.get(name) for name in (TOKENIZER, MODEL, *fitted)}


def _checked(path: Path, sha256: object) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): export the encoder again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(f"{path} has SHA-256 {found}, {RECORD} says {sha256}: it is damaged")
    return data
