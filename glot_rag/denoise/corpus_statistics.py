"""What a collection repeats: its tokens and phrases, counted over the documents before any is encoded.

Navigation, cookie notices, footers, log formats: noise recurs from document to document, whatever each is about. Four
numbers say so of a token, and none of these needs a label or a model:

- phrase: in how many documents the most frequent run of three tokens around it stands;
- share: the same as a share of all documents;
- excess: how much more often it stands in this collection than in text at large;
- burst: how much it gathers in few documents instead of being strewn over all of them by chance (residual inverse
  document frequency, Church & Gale 1995, "Inverse Document Frequency (IDF): A Measure of Deviations from Poisson").

A fifth comes from a head that has weighed these against its own scores:

- opinion: what it makes of the token wherever it stands in the collection (`glot_rag.denoise.token_prior`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from glot_rag.errors import BundleError, InputError
from glot_rag.files import write_atomically

COUNTED = ("phrase", "share", "excess", "burst")
FEATURES = (*COUNTED, "opinion")
STATISTICS_FILE = "collection.safetensors"
FEWEST_DOCUMENTS = 50  # below, little can be said of what recurs
_LARGEST_VOCABULARY = 1 << 21  # three token ids side by side are a 63-bit number
_LARGEST_FILE = 1 << 30
_CHUNK = 1 << 20  # phrases merged at a time, so that memory follows the distinct ones
_ARRAYS = {
    "occurrences": np.int64,
    "documents_with_token": np.int64,
    "phrases": np.int64,
    "documents_with_phrase": np.int64,
}


@dataclass(frozen=True, eq=False)
class CorpusStatistics:
    """Counts over N documents and a vocabulary of V tokens.

    Attributes:
        documents: N.
        occurrences: (V,), how often each token stands in all documents together.
        documents_with_token: (V,), in how many documents.
        phrases: (P,) ascending, the runs of three tokens that stand in at least two documents, each as one number.
        documents_with_phrase: (P,), in how many documents.
        opinion: (V,) float32, what is added to a token's score; None adds nothing.
    """

    documents: int
    occurrences: NDArray[np.int64]
    documents_with_token: NDArray[np.int64]
    phrases: NDArray[np.int64]
    documents_with_phrase: NDArray[np.int64]
    opinion: NDArray[np.float32] | None = None

    @classmethod
    def count(cls, documents: Iterable[Sequence[int]], vocabulary_size: int) -> CorpusStatistics:
        """Count over documents as token ids, without special tokens.

        Raises:
            InputError: fewer than 50 documents, or a vocabulary beyond 2,097,152.
        """
        if vocabulary_size > _LARGEST_VOCABULARY:
            raise InputError(f"a vocabulary of {vocabulary_size:,} is too large; up to {_LARGEST_VOCABULARY:,} will do")
        occurrences, having = np.zeros(vocabulary_size, np.int64), np.zeros(vocabulary_size, np.int64)
        phrases, counts = np.empty(0, np.int64), np.empty(0, np.int64)
        pending: list[NDArray[np.int64]] = []
        number = 0
        for document in documents:
            number += 1
            ids = np.asarray(document, np.int64)
            np.add.at(occurrences, ids, 1)
            having[np.unique(ids)] += 1
            pending.append(np.unique(_phrases(ids, vocabulary_size)))
            if sum(map(len, pending)) >= _CHUNK:
                phrases, counts = _merge(phrases, counts, pending)
                pending = []
        if number < FEWEST_DOCUMENTS:
            raise InputError(
                f"what a collection repeats cannot be told from {number} documents: expected at least "
                f"{FEWEST_DOCUMENTS}; leave adapt() out for fewer"
            )
        phrases, counts = _merge(phrases, counts, pending)
        often = counts > 1
        return cls(number, occurrences, having, phrases[often], counts[often])

    def features(self, ids: NDArray[np.int64], background: NDArray[np.float32]) -> NDArray[np.float32]:
        """The five numbers of every token.

        Args:
            ids: (B, L).
            background: (V,), each token's log-probability in text at large.

        Returns:
            (B, L, 5) float32, natural logarithms. A token or phrase that was not counted is taken to stand in one
            document, once.
        """
        count = np.maximum(self.occurrences[ids], 1)
        having = np.maximum(self.documents_with_token[ids], 1)
        excess = np.log(count / max(1, int(self.occurrences.sum()))) - background[ids]
        # In how many documents a token would stand that is thrown into them at random: N (1 - exp(-count / N)).
        by_chance = self.documents * -np.expm1(-count / self.documents)
        phrase = self._phrase(ids)
        share = phrase - np.log(self.documents)
        opinion = np.zeros(ids.shape) if self.opinion is None else self.opinion[ids]
        return np.stack([phrase, share, excess, np.log(by_chance / having), opinion], axis=-1).astype(np.float32)

    def _phrase(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, L): the logarithm of the document count of the most frequent phrase that each token is part of."""
        best = np.ones(ids.shape)
        if ids.shape[1] < 3 or not len(self.phrases):
            return np.log(best)
        keys = _phrases(ids, len(self.occurrences))  # (B, L - 2)
        place = np.searchsorted(self.phrases, keys).clip(max=len(self.phrases) - 1)
        found = np.where(self.phrases[place] == keys, self.documents_with_phrase[place], 1)
        for shift in range(3):
            inside = best[:, shift : shift + found.shape[1]]
            np.maximum(inside, found, out=inside)
        return np.log(best)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the counts and the opinion."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        write_atomically(path, self._to_bytes())

    def _to_bytes(self) -> bytes:
        arrays: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        if self.opinion is not None:
            arrays["opinion"] = np.ascontiguousarray(self.opinion)
        return save({**arrays, "documents": np.array([self.documents], np.int64)})

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None) -> CorpusStatistics:
        """Read what `save` wrote.

        Args:
            path: the file.
            fingerprint: of the counts that are expected; None takes any.

        Raises:
            BundleError: it is missing, damaged, contradicts itself or holds other counts.
        """
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise BundleError(f"{path} is larger than {_LARGEST_FILE} bytes: not a collection's counts")
            arrays = load(path.read_bytes())
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror})") from error
        except (SafetensorError, ValueError) as error:
            raise BundleError(f"{path} is damaged ({error}): adapt the encoder again") from error
        opinion = arrays.pop("opinion", None)
        expected = {**_ARRAYS, "documents": np.int64}
        if {name: array.dtype for name, array in arrays.items()} != {k: np.dtype(v) for k, v in expected.items()}:
            raise BundleError(f"{path} does not hold a collection's counts: adapt the encoder again")
        documents = arrays.pop("documents")
        found = cls(int(documents[0]) if documents.shape == (1,) else 0, **arrays, opinion=opinion)
        fits = (
            found.documents >= FEWEST_DOCUMENTS
            and all(array.ndim == 1 and (array >= 0).all() for array in arrays.values())
            and len(found.occurrences) == len(found.documents_with_token)
            and len(found.phrases) == len(found.documents_with_phrase)
            and bool((np.diff(found.phrases) > 0).all())
            and (opinion is None or _is_opinion(opinion, len(found.occurrences)))
        )
        if not fits:
            raise BundleError(f"{path} holds counts that contradict each other: adapt the encoder again")
        if fingerprint not in (None, found.fingerprint):
            raise BundleError(f"{path} is not the one that was saved here: adapt the encoder again and save it")
        return found


def _is_opinion(opinion: NDArray[Any], vocabulary_size: int) -> bool:
    return opinion.dtype == np.float32 and opinion.shape == (vocabulary_size,) and bool(np.isfinite(opinion).all())


def _phrases(ids: NDArray[np.int64], vocabulary_size: int) -> NDArray[np.int64]:
    """Every run of three ids along the last axis as one number: (..., L) -> (..., L - 2)."""
    result: NDArray[np.int64] = (ids[..., :-2] * vocabulary_size + ids[..., 1:-1]) * vocabulary_size + ids[..., 2:]
    return result


def _merge(
    phrases: NDArray[np.int64], counts: NDArray[np.int64], documents: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add documents' phrases, each listed once a document, to sorted phrases and their counts."""
    if not documents:
        return phrases, counts
    new, times = np.unique(np.concatenate(documents), return_counts=True)
    merged, place = np.unique(np.concatenate([phrases, new]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, place, np.concatenate([counts, times]))
    return merged, total
