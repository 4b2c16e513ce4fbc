"""What the routes share: the encoder and its tokens, the index, the denoiser, and mean pooling to compare with."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from fastapi import Request

from glot_rag.embedder import Vectors
from glot_rag.errors import UnsupportedError
from glot_rag.models.tokenizer import check_texts
from glot_rag.serving.batching import Batcher, Kind
from glot_rag.serving.keys import Keys
from glot_rag.serving.limits import Limits, while_connected
from glot_rag.serving.metrics import Metrics
from glot_rag.serving.replies import ApiError

if TYPE_CHECKING:
    from glot_rag.denoise.denoised import Denoised
    from glot_rag.denoise.denoiser import Denoiser
    from glot_rag.encoder.base import GlotEncoder
    from glot_rag.index import GlotIndex

T = TypeVar("T")

_REMEMBERED = 20_000  # mean vectors of texts, kept for comparisons


class Service:
    """The application's parts.

    Args:
        encoder: makes the vectors.
        name: what clients call the model.
        index: what is searched; None for embeddings alone.
        denoiser: the one that the index's documents went through; None where the encoder cleans each text itself.
        keys: who may call; None lets everybody.
        limits: what a request may ask for.
    """

    def __init__(
        self,
        encoder: GlotEncoder,
        *,
        name: str,
        index: GlotIndex | None,
        denoiser: Denoiser | None,
        keys: Keys | None,
        limits: Limits,
    ) -> None:
        self.encoder = encoder
        self.name = name
        self.keys = keys
        self.limits = limits
        self.metrics = Metrics()
        self._index = index
        self.index_denoiser = denoiser
        self._mean: GlotEncoder | None = None
        self._mean_vectors: OrderedDict[bytes, Vectors] = OrderedDict()
        self._special = len(encoder.tokenizer([""])[0])
        self.batcher = Batcher(encoder, limits.batch_tokens, limits.waiting_tokens, self.metrics.observe_batch)

    @property
    def index(self) -> GlotIndex:
        """The index.

        Raises:
            ApiError: the server has none.
        """
        if self._index is None:
            raise ApiError(404, "this server has no index: start it with --index DIR", code="no_index")
        return self._index

    @property
    def has_index(self) -> bool:
        """Whether there is an index."""
        return self._index is not None

    def prompt(self, kind: Kind) -> str:
        """What the encoder puts before a text."""
        name = "query_prompt" if kind == "query" else "document_prompt"
        return str(getattr(self.encoder, name, ""))

    async def count_tokens(self, texts: Sequence[str], kind: Kind = "document") -> list[int]:
        """Tokens of each text as the encoder sees it, special tokens and prompt included, however long it is.

        Raises:
            ApiError: too many inputs or tokens (422).
        """
        if len(texts) > self.limits.inputs:
            raise ApiError(
                422, f"{len(texts):,} inputs; a request may have {self.limits.inputs:,}: send several", param="input"
            )
        prompt = self.prompt(kind)

        def count() -> list[int]:
            return [
                len(ids) + self._special
                for ids in self.encoder.tokenizer.whole([prompt + text for text in check_texts(texts)])
            ]

        found = await asyncio.to_thread(count)
        if sum(found) > self.limits.tokens:
            raise ApiError(
                422, f"{sum(found):,} tokens; a request may have {self.limits.tokens:,}: send several", param="input"
            )
        return found

    def read_tokens(self, tokens: Sequence[int], kind: Kind) -> list[int]:
        """How many of those the model reads: queries, and documents of most encoders, end at `max_tokens`."""
        if kind == "document" and getattr(self.encoder, "whole", False):
            return list(tokens)
        return [min(each, self.encoder.max_tokens) for each in tokens]

    async def encode(self, request: Request, texts: Sequence[str], tokens: Sequence[int], kind: Kind) -> Vectors:
        """Embed texts together with those of other clients: (N, D)."""
        vectors = await while_connected(request, self.batcher.encode(texts, tokens, kind), self.limits.seconds)
        self.metrics.inputs.labels(kind).inc(len(texts))
        self.metrics.tokens.inc(sum(tokens))
        return vectors

    async def call(self, request: Request, function: Callable[[], T], tokens: int = 0) -> T:
        """Call what runs the model, in its turn."""
        return await while_connected(request, self.batcher.call(function, tokens), self.limits.seconds)

    def denoise(self, texts: Sequence[str]) -> list[Denoised]:
        """Documents without noise, by the index's denoiser, or the encoder's own."""
        return self.encoder.denoise(texts) if self.index_denoiser is None else self.index_denoiser.denoise(texts)

    def mean_encoder(self) -> GlotEncoder:
        """Mean pooling over the same backbone.

        Raises:
            UnsupportedError: the encoder runs an exported bundle, which has one pooling.
        """
        if self._mean is None:
            with_pooling = getattr(self.encoder, "with_pooling", None)
            if with_pooling is None:
                raise UnsupportedError("comparing with mean pooling needs an encoder that runs through torch")
            self._mean = with_pooling("mean", denoise=False)
        assert self._mean is not None
        return self._mean

    def mean_scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The cosines that mean pooling gives; vectors are remembered, as the same texts come again."""
        mean = self.mean_encoder()
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        missing = [number for number, key in enumerate(keys) if key not in self._mean_vectors]
        for number, vector in zip(missing, mean.encode_documents([texts[n] for n in missing]), strict=True):
            self._mean_vectors[keys[number]] = vector
        vectors = np.stack([self._mean_vectors[key] for key in keys]) if keys else np.empty((0, mean.dimension))
        while len(self._mean_vectors) > _REMEMBERED:
            self._mean_vectors.popitem(last=False)
        scores: list[float] = (vectors @ mean.encode_queries([query])[0]).tolist()
        return scores


def service_of(request: Request) -> Service:
    """The service of the application that got a request."""
    found: Service = request.app.state.service
    return found
