"""Several encoders over one backbone, as `evaluate` asks for them: adapted to what they will embed, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from glot_rag.embedder import Vectors
from glot_rag.evaluation.costs import Way
from glot_rag.evaluation.vector_cache import VectorCache, text_key

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import TorchEncoder

# texts, names -> name -> (N, D) unit vectors
EmbedAs = Callable[[Sequence[str], Sequence[str]], Mapping[str, Vectors]]


class Encoders:
    """Embeds with all encoders at once, from one run of the backbone.

    Args:
        encoders: by name, `mean` among them; see `glot_rag.encoder.together.encode_documents_together`.
        adapting: those that are adapted to the noisy documents of each noise setting.
        cache: where vectors are kept; None keeps none.
        advance: is told how many more documents are embedded.
    """

    def __init__(
        self,
        encoders: Mapping[str, TorchEncoder],
        adapting: Collection[str] = (),
        cache: VectorCache | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> None:
        self._encoders = dict(encoders)
        self._now = self._encoders
        self._adapting = adapting
        self._cache = cache
        self._advance = advance or (lambda count: None)

    def prepare(self, sample: Sequence[str]) -> None:
        """Adapt to documents like these, from here on."""
        from glot_rag.encoder.together import fit_together

        asked = {name: each for name, each in self._encoders.items() if name in self._adapting}
        self._now = {**self._encoders, **fit_together(asked, sample)}

    def documents(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Every encoder's vectors of documents."""
        return self._documents(texts, list(self._now))

    def ceiling(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Mean pooling's alone."""
        return self._documents(texts, ["mean"])

    def _documents(self, texts: Sequence[str], names: Sequence[str]) -> dict[str, Vectors]:
        from glot_rag.encoder.together import encode_documents_together

        def embed(texts: Sequence[str], names: Sequence[str]) -> Mapping[str, Vectors]:
            return encode_documents_together({name: self._now[name] for name in names}, texts)

        keys = {name: _key(self._now[name], "documents") for name in names}
        vectors = embed_missing(embed, texts, keys, self._cache)
        self._advance(len(texts))
        return vectors

    def queries(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Every encoder's vectors of queries."""
        from glot_rag.encoder.together import encode_queries_together

        def embed(texts: Sequence[str], names: Sequence[str]) -> Mapping[str, Vectors]:
            return encode_queries_together({name: self._encoders[name] for name in names}, texts)

        keys = {name: _key(each, "queries") for name, each in self._encoders.items()}
        return embed_missing(embed, texts, keys, self._cache)

    def timed(self) -> dict[str, Way]:
        """Each encoder alone, as it is adapted when it is timed, without the cache."""

        def way(name: str) -> Way:
            return lambda texts: self._now[name].encode_documents(texts)

        return {name: way(name) for name in self._encoders}


def remembered(
    embed: Callable[[Sequence[str]], Vectors], key: str, cache: VectorCache | None
) -> Callable[[Sequence[str]], Vectors]:
    """A function from texts to vectors that asks the cache first."""
    return lambda texts: embed_missing(lambda missing, _: {key: embed(missing)}, texts, {key: key}, cache)[key]


def embed_missing(
    embed: EmbedAs, texts: Sequence[str], encoders: Mapping[str, str], cache: VectorCache | None
) -> dict[str, Vectors]:
    """Embed what the cache lacks, and keep it there.

    Args:
        embed: is asked for as few texts and names as it takes, each text once.
        texts: N strings.
        encoders: name -> the name that it has in the cache.
        cache: None embeds all.

    Returns:
        Name -> (N, D).
    """
    if cache is None or not texts:
        return dict(embed(texts, list(encoders)))
    keys = [text_key(text) for text in texts]
    by_key = dict(zip(keys, texts, strict=True))
    held = {name: cache.get(encoder, list(by_key)) for name, encoder in encoders.items()}
    wanted: dict[tuple[str, ...], list[bytes]] = {}  # names that lack them -> keys
    for key in by_key:
        if lacking := tuple(name for name in encoders if key not in held[name]):
            wanted.setdefault(lacking, []).append(key)
    for lacking, missing in wanted.items():
        vectors = embed([by_key[key] for key in missing], lacking)
        cache.put(missing, {encoders[name]: vectors[name] for name in lacking})
        for name in lacking:
            held[name].update(zip(missing, np.asarray(vectors[name], dtype=np.float32), strict=True))
    return {name: np.stack([held[name][key] for key in keys]) for name in encoders}


def _key(encoder: TorchEncoder, role: str) -> str:
    """Everything that decides a vector; the version, as a pooling may compute otherwise in the next one."""
    from glot_rag import __version__

    dtype = str(encoder.backbone.dtype).removeprefix("torch.")
    return f"glot-rag {__version__} {encoder.fingerprint} {dtype} {encoder.backbone.device} {role}"
