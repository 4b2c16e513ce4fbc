"""GlotEncoder: texts -> hidden states of a frozen backbone -> pooling -> unit vectors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glot_rag.denoise.denoiser import Denoised, denoise_texts
from glot_rag.denoise.token_prior import token_prior
from glot_rag.embedder import Vectors
from glot_rag.encoder.encoding import count_corpus, pool_batch, pool_texts
from glot_rag.encoder.evidence import Evidence, TokenEvidence
from glot_rag.encoder.late_chunking import pool_chunks
from glot_rag.errors import BundleError, InputError
from glot_rag.files import read_json_record, write_atomically
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, Pooling, save_head
from glot_rag.head.config import BASELINE_POOLINGS, POOLINGS
from glot_rag.head.pooling import TrainedPooling
from glot_rag.head.registry import find_head, fit, load_poolings, pooling_fingerprint
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch, check_texts, sample_positions

FORMAT = "glot-rag/encoder"
FORMAT_VERSION = 1
MOST_COUNTED = 20_000  # documents that `adapt` counts at most


class GlotEncoder:
    """Embeds texts with a frozen backbone and a pooling. Satisfies `glot_rag.embedder.Embedder`.

    Calls are safe between threads. Make one with `from_pretrained`, or from parts:

    Args:
        backbone: the frozen transformer.
        pooling: for documents.
        query_pooling: for queries; None takes the documents' pooling. A head in residual form stays in the space of
            mean pooling, so queries, which carry no noise, are mean-pooled there (`from_pretrained` sees to it).
        query_prompt: put before every query, for backbones trained with one ("query: ").
        document_prompt: put before every document.
        prune: drop the words that the head takes for noise from every document, looking at all of it, however long,
            then encode what is left with the queries' pooling.

    Raises:
        InputError: prune with a pooling that is not trained.
        BundleError: the pooling was made for states of another width, or reads layers that the backbone lacks.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Pooling,
        *,
        query_pooling: Pooling | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        prune: bool = False,
    ) -> None:
        if prune and not isinstance(pooling, (GlotHead, AdaPool)):
            raise InputError(f"prune=True needs a trained head that tells noise; pooling {pooling.name!r} has none")
        self.prune = prune
        self.backbone = backbone
        self.pooling = fit(pooling, backbone)
        self.query_pooling = fit(query_pooling, backbone) if query_pooling is not None else self.pooling
        self.query_prompt = query_prompt
        self.document_prompt = document_prompt
        if self.query_pooling.output_size != self.pooling.output_size:
            raise BundleError(
                f"documents get vectors of length {self.pooling.output_size}, "
                f"queries of {self.query_pooling.output_size}"
            )

    # ---- making, saving and loading

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = "minilm",
        *,
        pooling: str | None = None,
        head: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        max_tokens: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        prune: bool | None = None,
    ) -> GlotEncoder:
        """Load an encoder.

        Args:
            name_or_path: "minilm" (all-MiniLM-L6-v2 and its shipped head), "smollm2", a hub id, a backbone's directory
                or .gguf file, or a directory that `save` wrote.
            pooling: "glot" (the default), "adapool", "mean", "max", "cls" or "last".
            head: directory of a trained head (`glot-rag train --out`); None takes the one shipped for the backbone.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16", "bfloat16"; None is bfloat16 where the hardware multiplies faster in it.
            max_tokens: longest input; None is the model's own limit.
            query_prompt: put before queries; None is the saved encoder's, or none.
            document_prompt: put before documents; likewise.
            prune: drop what looks like noise from documents before they are encoded; None is the saved encoder's
                choice, or no.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files.
            MissingExtraError: transformers or gguf is not installed.
            InputError: an argument that cannot be used.
        """
        saved: dict[str, Any] = {}
        as_saved = False
        backbone_name = name_or_path
        if (Path(name_or_path) / "encoder.json").is_file():
            saved = _read_saved(Path(name_or_path) / "encoder.json")
            backbone_name = saved["backbone"]
            pooling = pooling or saved["pooling"]
            max_tokens = saved["max_tokens"] if max_tokens is None else max_tokens
            as_saved = head is None and pooling == saved["pooling"]
            if as_saved and pooling not in BASELINE_POOLINGS:
                head = Path(name_or_path) / "head"
        pooling = pooling or "glot"
        head_path = find_head(os.fspath(backbone_name), pooling, head)
        backbone = Backbone.load(backbone_name, device=device, dtype=dtype, max_tokens=max_tokens)
        if saved and saved.get("backbone_fingerprint") != backbone.fingerprint:
            raise BundleError(
                f"{name_or_path} was saved over a backbone with fingerprint {saved.get('backbone_fingerprint')}, but "
                f"'{backbone_name}' here has {backbone.fingerprint}: use the same files, or train a head for these"
            )

        def prompt(value: str | None, key: str) -> str:
            return value if value is not None else str(saved.get(key, ""))

        documents, queries = load_poolings(pooling, head_path, backbone)
        if as_saved:
            if saved.get("collection") != _collection_of(documents):
                raise BundleError(f"{name_or_path} lacks the counts of its collection: adapt the encoder again")
            same = saved["query_pooling"] == documents.name
            queries = documents if same else BaselinePooling(saved["query_pooling"], backbone.state_size)
        return cls(
            backbone,
            documents,
            query_pooling=queries,
            query_prompt=prompt(query_prompt, "query_prompt"),
            document_prompt=prompt(document_prompt, "document_prompt"),
            prune=bool(saved.get("prune", False)) if prune is None else prune,
        )

    def with_pooling(
        self, pooling: str, head: str | os.PathLike[str] | None = None, *, prune: bool = False
    ) -> GlotEncoder:
        """The same backbone, not loaded again, with another pooling. Arguments as in `from_pretrained`."""
        head_path = find_head(self.backbone.source.name, pooling, head)
        documents, queries = load_poolings(pooling, head_path, self.backbone)
        return GlotEncoder(
            self.backbone,
            documents,
            query_pooling=queries,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            prune=prune,
        )

    @property
    def adaptable(self) -> bool:
        """Whether `adapt` can be called: the head is trained and calibrated."""
        return isinstance(self.pooling, TrainedPooling) and self.pooling.calibration is not None

    def adapt(self, documents: Sequence[str], *, show_progress: bool = False) -> GlotEncoder:
        """The same encoder for one collection: what recurs there from document to document is taken for noise.

        Give it the documents that will be indexed, noise and all. Up to 20,000 of them, evenly spread, are counted
        (`glot_rag.denoise.corpus_statistics`), and the head reads up to 1,000 (`glot_rag.denoise.token_prior`).
        Documents that come later need not have been among them; if the corpus changes its nature, adapt again and
        index again, since the vectors are others then (`fingerprint`). Queries are embedded as before.

        Args:
            documents: N texts, at least 50.
            show_progress: draw a progress bar on stderr.

        Returns:
            A new encoder over the same backbone. It holds figures of tokens, no text; `save` writes them, too.

        Raises:
            InputError: too few documents, not a list of strings, or a pooling that is not trained and calibrated.
        """
        if not self.adaptable:
            raise InputError(
                f"only a calibrated head can be adapted to a collection, pooling {self.pooling.name!r} here is none: "
                f"use the shipped head, or run `glot-rag calibrate HEAD --text FILE.jsonl` on your own"
            )
        texts = check_texts(documents)
        chosen = [texts[position] for position in sample_positions(len(texts), MOST_COUNTED)]
        assert isinstance(self.pooling, (GlotHead, AdaPool))
        counts = count_corpus(self.backbone, chosen, show_progress=show_progress)
        weighing = self.pooling.adapted_to(counts)
        opinion = token_prior(self.backbone, weighing, chosen, show_progress=show_progress)
        pooling = self.pooling.adapted_to(dataclasses.replace(counts, opinion=opinion))
        return self._with_adapted(pooling)

    def _with_adapted(self, pooling: Pooling) -> GlotEncoder:
        return GlotEncoder(
            self.backbone,
            pooling,
            query_pooling=pooling if self.query_pooling is self.pooling else self.query_pooling,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            prune=self.prune,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder into a directory: `encoder.json`, `head/` for a trained pooling, with `adapt`'s counts.

        The backbone's own files are not copied: it is frozen, so its name and fingerprint are enough, and
        `from_pretrained(path)` refuses any other.

        Raises:
            InputError: the directory holds something else, or queries have a trained pooling of their own.
        """
        directory = Path(path)
        if self.query_pooling is not self.pooling and self.query_pooling.name not in BASELINE_POOLINGS:
            raise InputError("a saved encoder holds one trained head: use it for queries, too, or a fixed pooling")
        if directory.exists() and not (directory / "encoder.json").is_file() and any(directory.iterdir()):
            raise InputError(f"{directory} is not empty and not a saved encoder: choose another directory")
        directory.mkdir(parents=True, exist_ok=True)
        if isinstance(self.pooling, (GlotHead, AdaPool)):
            save_head(self.pooling, directory / "head", {"backbone_fingerprint": self.backbone.fingerprint})
        record = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "backbone": self.backbone.source.name,
            "backbone_fingerprint": self.backbone.fingerprint,
            "pooling": self.pooling.name,
            "query_pooling": self.query_pooling.name,
            "max_tokens": self.max_tokens,
            "query_prompt": self.query_prompt,
            "document_prompt": self.document_prompt,
            "prune": self.prune,
            "collection": _collection_of(self.pooling),
            "fingerprint": self.fingerprint,
        }
        write_atomically(directory / "encoder.json", json.dumps(record, indent=2).encode() + b"\n")

    # ---- what it is

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self.pooling.output_size

    @property
    def embeds_alike(self) -> bool:
        """Whether a text has the same vector as a query and as a document."""
        same_pooling = self.query_pooling is self.pooling and not self.prune
        return same_pooling and self.query_prompt == self.document_prompt

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut."""
        return self.backbone.max_tokens

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides a vector: backbone, head, poolings, prompts, truncation. Not the dtype."""
        record = [self.backbone.fingerprint, self.max_tokens, self.query_prompt, self.document_prompt]
        record += [pooling_fingerprint(self.pooling), pooling_fingerprint(self.query_pooling)]
        record += ["prune"] if self.prune else []
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()

    def __repr__(self) -> str:
        return (
            f"GlotEncoder({self.backbone.source.name!r}, pooling={self.pooling.name + '+prune' * self.prune!r}, "
            f"dimension={self.dimension}, "
            f"dtype={str(self.backbone.dtype).removeprefix('torch.')}, device={str(self.backbone.device)!r})"
        )

    # ---- using it

    def encode_documents(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """Embed documents.

        Args:
            texts: N strings. An empty or all-white text has the vector of the special tokens around it; what a
                text has beyond `max_tokens` is cut.
            show_progress: draw a progress bar on stderr.
            batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

        Returns:
            (N, D) float32, every row of norm 1; (0, D) for an empty list. A text's row does not depend on what else
            is in the list (to float32 rounding; in bfloat16 the least cosine measured is 0.9997).

        Raises:
            InputError: not a list of strings.
        """
        return encode_documents_together({"": self}, texts, show_progress=show_progress, batch_tokens=batch_tokens)[""]

    def encode_queries(
        self, texts: Sequence[str], *, show_progress: bool = False, batch_tokens: int | None = None
    ) -> Vectors:
        """Embed queries: as `encode_documents`, with the query's prompt and pooling."""
        return encode_queries_together({"": self}, texts, show_progress=show_progress, batch_tokens=batch_tokens)[""]

    def encode_chunks(self, text: str, spans: Sequence[tuple[int, int]], *, batch_tokens: int | None = None) -> Vectors:
        """Embed the chunks of one document, each with the text around it in sight (late chunking).

        The backbone runs once over the document, of any length, and each chunk is pooled over its own tokens. One chunk
        over the whole text is one vector for a document of which nothing is cut. Pruning plays no part here.

        Args:
            text: the document.
            spans: N chunks as (first character, end), of any splitter.
            batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

        Returns:
            (N, D) float32, every row of norm 1, to search with `encode_queries`.

        Raises:
            InputError: a span outside the text or without a token, or the text is no string.
        """
        (clean,) = check_texts([text])
        if len(clean) != len(text):
            raise InputError("the text has surrogate pairs, so characters cannot be counted: join them before")
        return pool_chunks(
            self.backbone, self.pooling, clean, spans, prompt=self.document_prompt, batch_tokens=batch_tokens
        )

    def denoise(self, text: str) -> Denoised:
        """A document without the words that the head takes for noise, for a language model's prompt, say.

        Returns:
            What is left and where it stood in the text.

        Raises:
            InputError: the pooling is not trained, or the text is no string.
        """
        if not isinstance(self.pooling, (GlotHead, AdaPool)):
            raise InputError(f"only a trained head tells noise; pooling {self.pooling.name!r} is not trained")
        return denoise_texts(self.backbone, self.pooling, [text])[0]

    def explain(self, text: str) -> Evidence:
        """Show what the document vector of a text is made of.

        Returns:
            For each token its text, character span, weight in the vector and, for a trained pooling, the probability
            that it is noise; and the token graph (None for a pooling without one).
        """
        (clean,) = check_texts([text])
        prompted = self.document_prompt + clean
        ((ids, tokens, spans),) = self.backbone.tokenizer.with_offsets([prompted])
        batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), np.bool_))
        states, mask, pooled = pool_batch(self.backbone, {"": self.pooling}, batch)[""]
        graph = None
        if isinstance(self.pooling, GlotHead):
            with torch.inference_mode():
                graph = self.pooling.graph(states, mask)[0].cpu().numpy()
        noise = [None] * len(ids) if pooled.logits is None else torch.sigmoid(-pooled.logits[0]).tolist()
        shift = len(self.document_prompt)
        return Evidence(
            text=clean,
            tokens=tuple(
                TokenEvidence(token, (max(0, start - shift), max(0, end - shift)), weight, probability)
                for token, (start, end), weight, probability in zip(
                    tokens, spans, pooled.weights[0].tolist(), noise, strict=True
                )
            ),
            graph=graph,
        )


# ---- several poolings over one run of the backbone


def adapt_together(encoders: Mapping[str, GlotEncoder], documents: Sequence[str]) -> dict[str, GlotEncoder]:
    """`GlotEncoder.adapt` of several encoders over one backbone; those with the same head share the work."""
    found: dict[str, Pooling] = {}
    adapted = {}
    for name, encoder in encoders.items():
        head = pooling_fingerprint(encoder.pooling)
        if head not in found:
            found[head] = encoder.adapt(documents).pooling
        adapted[name] = encoder._with_adapted(found[head])
    return adapted


def encode_documents_together(
    encoders: Mapping[str, GlotEncoder],
    texts: Sequence[str],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """Embed documents with several encoders that share a backbone, running it once.

    Args:
        encoders: by name; all over the same `Backbone` object, with the same prompts (see `GlotEncoder.with_pooling`).
        texts: N strings.
        show_progress: draw a progress bar on stderr.
        batch_tokens: tokens a batch may hold; None is `Backbone.batch_tokens`.

    Returns:
        For each name what that encoder's `encode_documents` gives.

    Raises:
        InputError: the encoders do not share a backbone and prompts, or the texts are not a list of strings.
    """
    first = _same_backbone(encoders)
    pool = partial(
        pool_texts,
        first.backbone,
        prompt=first.document_prompt,
        show_progress=show_progress,
        batch_tokens=batch_tokens,
    )
    poolings = {name: encoder.pooling for name, encoder in encoders.items() if not encoder.prune}
    vectors = pool(poolings, texts) if poolings else {}
    for name, encoder in encoders.items():
        if encoder.prune:
            assert isinstance(encoder.pooling, (GlotHead, AdaPool))
            kept = denoise_texts(
                first.backbone, encoder.pooling, texts, show_progress=show_progress, batch_tokens=batch_tokens
            )
            vectors |= pool({name: encoder.query_pooling}, [each.text for each in kept])
    return {name: vectors[name] for name in encoders}


def encode_queries_together(
    encoders: Mapping[str, GlotEncoder],
    texts: Sequence[str],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> dict[str, Vectors]:
    """As `encode_documents_together`, for queries."""
    first = _same_backbone(encoders)
    poolings = {name: encoder.query_pooling for name, encoder in encoders.items()}
    return pool_texts(
        first.backbone,
        poolings,
        texts,
        prompt=first.query_prompt,
        show_progress=show_progress,
        batch_tokens=batch_tokens,
    )


def _same_backbone(encoders: Mapping[str, GlotEncoder]) -> GlotEncoder:
    if not encoders:
        raise InputError("expected at least one encoder, got none")
    first = next(iter(encoders.values()))
    for name, encoder in encoders.items():
        same_prompts = (encoder.query_prompt, encoder.document_prompt) == (
            first.query_prompt,
            first.document_prompt,
        )
        if encoder.backbone is not first.backbone or not same_prompts:
            raise InputError(f"encoder {name!r} has another backbone or other prompts: make it with with_pooling()")
    return first


def _read_saved(path: Path) -> dict[str, Any]:
    """The record that `save` wrote, every field that loading needs checked."""
    record = read_json_record(path, FORMAT, FORMAT_VERSION)
    kinds = {"backbone": str, "max_tokens": int, "query_prompt": str, "document_prompt": str}
    wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    wrong += [key for key in ("pooling", "query_pooling") if record.get(key) not in POOLINGS]
    if wrong:
        raise BundleError(f"{path} lacks {', '.join(wrong)}, or holds no such thing there: make the bundle again")
    return record


def _collection_of(pooling: Pooling) -> str | None:
    """The fingerprint of the counts that a pooling was adapted to."""
    adaptation = pooling.adaptation if isinstance(pooling, TrainedPooling) else None
    return None if adaptation is None else adaptation.statistics.fingerprint
