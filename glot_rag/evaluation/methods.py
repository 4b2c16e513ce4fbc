"""The methods under measurement: which texts each one reads, in which pieces, and which encoder embeds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.embedder import Embedder, Vectors
from glot_rag.errors import InputError
from glot_rag.evaluation.baselines import (
    count_frequent_words,
    count_recurring_runs,
    load_stock,
    sentence_windows,
    strip_boilerplate,
)
from glot_rag.evaluation.report.results import method_label
from glot_rag.evaluation.settings import EvaluationSettings
from glot_rag.evaluation.vector_cache import VectorCache, embed_missing

if TYPE_CHECKING:
    from glot_rag.encoder.torch_encoder import TorchEncoder

CHUNK_CHARACTERS, CHUNK_OVERLAP = 1_000, 200
_NAIVE_RULES = {"df-drop": count_frequent_words, "ngram-drop": count_recurring_runs}
Clean = Callable[[Sequence[str]], list[str]]
Split = Callable[[str], list[str]]


@dataclass(frozen=True)
class Method:
    """A pooling, or a baseline that embeds texts.

    Args:
        pooling: the name that the report gives it.
        encoder: embeds queries; knows the denoiser.
        reader: embeds what `clean` and `split` leave of the documents.
        fitted: whether the encoder is fitted to the noisy documents.
        denoised: whether documents are denoised first.
        refit: fit the encoder anew to the noisy documents of each noise setting.
        clean: (name, function) that takes noise out of documents.
        split: (name, function) that cuts a document into pieces; its score is that of its best piece.
        count: for a baseline that counts the documents of each noise setting before: documents -> the method to use.
    """

    pooling: str
    encoder: Embedder
    reader: Embedder
    fitted: bool = False
    denoised: bool = False
    refit: bool = False
    clean: tuple[str, Clean] | None = None
    split: tuple[str, Split] | None = None
    count: Callable[[Sequence[str]], Method] | None = None

    @property
    def label(self) -> str:
        """How tables name it; tells the methods of a run apart."""
        return method_label(self.pooling, fitted=self.fitted, denoised=self.denoised)

    @classmethod
    def of(
        cls, pooling: str, encoder: Embedder, *, refit: bool = False, split: tuple[str, Split] | None = None
    ) -> Method:
        """A pooling's method: with the encoder's denoiser, if it has one, taken out and applied to whole documents."""
        denoiser = getattr(encoder, "denoiser", None)
        fitted = refit or bool(getattr(encoder, "fitted", False))
        if denoiser is None:
            return cls(pooling, encoder, encoder, fitted, refit=refit, split=split)
        clean = (denoiser.fingerprint, partial(_denoised, denoiser))
        reader: Embedder = encoder.without_denoiser()  # type: ignore[attr-defined]  # whatever denoises has it
        return cls(pooling, encoder, reader, fitted, True, refit, clean, split)


@dataclass(frozen=True)
class Read:
    """What a method made of a batch of documents.

    Args:
        texts: N documents as the method read them, cleaned.
        vectors: (pieces, D), one a document where nothing was split.
        starts: of pieces, the row at which each document's pieces begin; None where nothing was split.
    """

    texts: Sequence[str]
    vectors: Vectors
    starts: NDArray[np.int64] | None


class Methods:
    """Embeds with all methods at once: encoders over one backbone that read the same texts share its run.

    Args:
        methods: what is measured; labels differ.
        cache: where vectors are kept; None keeps none.

    Raises:
        InputError: two methods have the same label.
    """

    def __init__(self, methods: Sequence[Method], cache: VectorCache | None = None) -> None:
        self._methods = {method.label: method for method in methods}
        if len(self._methods) < len(methods):
            raise InputError(f"the methods' names must differ; got {', '.join(each.label for each in methods)}")
        self._unfitted = dict(self._methods)
        self._cache = cache
        self._asked: list[str] = []  # the queries that these are the vectors of, by what else decides them
        self._queries: dict[str, Vectors] = {}

    @property
    def all(self) -> list[Method]:
        """The methods, as they are fitted now."""
        return list(self._methods.values())

    @property
    def fits(self) -> bool:
        """Whether a method is fitted to the documents of each noise setting, or counts them."""
        return any(method.refit or method.count is not None for method in self._unfitted.values())

    def fit(self, sample: Sequence[str]) -> None:
        """Fit the methods that are to be fitted or count, from here on; those with the same head share the work."""
        heads: dict[Any, Any] = {}
        for label, method in self._unfitted.items():
            if method.refit:
                encoder: TorchEncoder = method.encoder  # type: ignore[assignment]  # only these can be fitted
                fitted = encoder.fit(sample, heads=heads)
                self._methods[label] = Method.of(method.pooling, fitted, refit=True, split=method.split)
            elif method.count is not None:
                self._methods[label] = method.count(sample)

    def queries(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Label -> (Q, D) vectors of queries, by the encoders as they are fitted now; those asked last are kept."""
        texts = list(texts)
        encoders = {label: method.encoder for label, method in self._methods.items()}
        keys = {label: _cache_key(encoder, "queries") for label, encoder in encoders.items()}
        if texts != self._asked:
            self._asked, self._queries = texts, {}
        missing = {key: encoders[label] for label, key in keys.items() if key not in self._queries}
        embed = partial(_embed_together, missing, queries=True)
        self._queries |= embed_missing(embed, texts, {key: key for key in missing}, self._cache)
        found = {label: self._queries[key] for label, key in keys.items()}
        self._queries = {key: self._queries[key] for key in keys.values()}  # those of other fits are not asked again
        return found

    def documents(
        self, texts: Sequence[str], labels: Sequence[str] | None = None, *, cached: bool = True
    ) -> dict[str, Read]:
        """Label -> what that method makes of N documents.

        Args:
            texts: N documents.
            labels: which methods; None is all.
            cached: use the cache of vectors, if there is one.
        """
        chosen = self._methods if labels is None else {label: self._methods[label] for label in labels}
        cleaned: dict[str, Sequence[str]] = {"": texts}
        pieces: dict[tuple[str, str], tuple[Sequence[str], NDArray[np.int64] | None]] = {}
        together: dict[tuple[str, str], list[str]] = {}
        for label, method in chosen.items():
            clean, split = method.clean or ("", list), method.split or ("", None)
            if clean[0] not in cleaned:
                cleaned[clean[0]] = clean[1](texts)
            key = clean[0], split[0]
            if key not in pieces:
                pieces[key] = _pieces(cleaned[clean[0]], split[1])
            together.setdefault(key, []).append(label)
        found: dict[str, Read] = {}
        for key, names in together.items():
            parts, starts = pieces[key]
            readers = {name: chosen[name].reader for name in names}
            keys = {name: _cache_key(reader, "documents") for name, reader in readers.items()}
            cache = self._cache if cached else None
            vectors = embed_missing(partial(_embed_together, readers), parts, keys, cache)
            found |= {name: Read(cleaned[key[0]], vectors[name], starts) for name in names}
        return {label: found[label] for label in chosen}


def make_methods(encoders: Mapping[str, Embedder], settings: EvaluationSettings) -> list[Method]:
    """The methods that settings ask for: each encoder, fitted and denoised ones, and the baselines that embed.

    Args:
        encoders: pooling -> encoder, `mean` among them.
        settings: fit, denoise, chunk and baselines.

    Raises:
        InputError: there is nothing to fit or to denoise with.
    """
    split: tuple[str, Split] | None = ("chunks", chunks_of) if settings.chunk else None
    trained = [
        name for name, each in encoders.items() if "fit" in _capabilities(each) or "denoise" in _capabilities(each)
    ]
    methods: list[Method] = []
    for name, encoder in encoders.items():
        methods.append(plain := Method.of(name, encoder, split=split))
        if trained and name not in trained:
            continue
        if settings.fit and "fit" in _capabilities(encoder) and not plain.fitted:
            methods.append(Method.of(name, encoder, refit=True, split=split))
        if settings.denoise and not plain.denoised and hasattr(encoder, "with_pooling"):
            denoising = encoder.with_pooling(encoder.pooling.name, denoise=True)  # type: ignore[attr-defined]
            refit = settings.fit and "fit" in _capabilities(denoising)
            methods.append(Method.of(name, denoising, refit=refit, split=split))
    for asked, done, way in (("fit", "refit", "adapool or glot"), ("denoise", "denoised", "mean, adapool or glot")):
        if getattr(settings, asked) and not any(getattr(method, done) for method in methods):
            raise InputError(f"{asked} has no effect on {', '.join(encoders)}: add the pooling {way}, with torch")
    mean = encoders["mean"]
    for name in settings.baselines:
        if name == "best-chunk":
            methods.append(Method(name, mean, mean, split=("sentences", sentence_windows)))
        elif name == "stripped":
            methods.append(Method(name, mean, mean, clean=(name, _stripped), split=split))
        elif name in _NAIVE_RULES:
            methods.append(_naive(name, mean, split))
        elif name in ("sif", "sif-weights"):
            methods.append(_sif(name, mean, split))
        elif name == "whole":
            methods.append(Method(name, mean, _whole(mean), split=split))
        elif name == "stock":
            stock = load_stock(mean)
            methods.append(Method(name, stock, stock, split=split))
    return methods


def _whole(mean: Embedder) -> Embedder:
    """Mean pooling of documents of any length, in windows."""
    if not hasattr(mean, "backbone"):
        raise InputError("The baseline 'whole' needs an encoder that runs torch: leave it out.")
    from glot_rag.encoder.torch_encoder import TorchEncoder, as_torch

    own = as_torch(mean)  # type: ignore[arg-type]  # has a backbone
    return TorchEncoder(own.backbone, own.pooling, document_prompt=own.document_prompt, whole=True)


def _naive(name: str, mean: Embedder, split: tuple[str, Split] | None) -> Method:
    method = Method(name, mean, mean, clean=(name, list), split=split)
    return replace(method, count=lambda sample: replace(method, clean=(name, _NAIVE_RULES[name](sample))))


def _sif(name: str, mean: Embedder, split: tuple[str, Split] | None) -> Method:
    from glot_rag.evaluation.baselines.sif import sif_over  # brings torch

    make = sif_over(mean, common_component=name == "sif")

    def count(sample: Sequence[str]) -> Method:
        encoder = make(sample)
        return Method(name, encoder, encoder, split=split)

    return Method(name, mean, mean, split=split, count=count)


def chunks_of(text: str) -> list[str]:
    """Cut a text into chunks of 1,000 characters, each starting 800 after the one before.

    >>> [len(chunk) for chunk in chunks_of("x" * 2300)]
    [1000, 1000, 700]
    """
    step = CHUNK_CHARACTERS - CHUNK_OVERLAP
    return [text[start : start + CHUNK_CHARACTERS] for start in range(0, max(1, len(text) - CHUNK_OVERLAP), step)]


def _pieces(texts: Sequence[str], split: Split | None) -> tuple[Sequence[str], NDArray[np.int64] | None]:
    if split is None:
        return texts, None
    each = [split(text) for text in texts]
    starts = np.cumsum([0, *map(len, each)])[:-1]
    return [piece for pieces in each for piece in pieces], starts


def _embed_together(
    encoders: Mapping[str, Embedder], texts: Sequence[str], names: Sequence[str], *, queries: bool = False
) -> dict[str, Vectors]:
    """Name -> (N, D) vectors; encoders over the same backbone with the same prompts run it once."""
    groups: dict[object, dict[str, Any]] = {}
    for name in names:
        encoder: Any = encoders[name]
        key: object = name
        if hasattr(encoder, "backbone") and hasattr(encoder, "query_pooling"):
            key = id(encoder.backbone), encoder.query_prompt, encoder.document_prompt
        groups.setdefault(key, {})[name] = encoder
    found: dict[str, Vectors] = {}
    for group in groups.values():
        if len(group) == 1:
            [(name, encoder)] = group.items()
            found[name] = encoder.encode_queries(texts) if queries else encoder.encode_documents(texts)
        else:
            from glot_rag.encoder.together import encode_documents_together, encode_queries_together

            found |= encode_queries_together(group, texts) if queries else encode_documents_together(group, texts)
    for name in names:
        if len(found[name]) != len(texts):
            raise InputError(f"Got {len(found[name])} vectors of pooling {name!r} for {len(texts)} texts.")
    return found


def _cache_key(encoder: Embedder, role: str) -> str:
    """Everything that decides a vector; the version, too, as a pooling may compute otherwise in the next one."""
    from glot_rag import __version__

    backbone = getattr(encoder, "backbone", None)
    where = "" if backbone is None else f"{str(backbone.dtype).removeprefix('torch.')} {backbone.device} "
    return f"glot-rag {__version__} {encoder.fingerprint} {where}{role}"


def _capabilities(encoder: Embedder) -> frozenset[str]:
    found: frozenset[str] = getattr(encoder, "capabilities", frozenset())
    # Only torch's encoders take a head that was fitted already, and give another pooling over the same backbone.
    return found if hasattr(encoder, "with_pooling") else found - {"fit", "denoise"}


def _denoised(denoiser: Any, texts: Sequence[str]) -> list[str]:
    return [each.text for each in denoiser.denoise(texts)]


def _stripped(texts: Sequence[str]) -> list[str]:
    return [strip_boilerplate(text) for text in texts]
