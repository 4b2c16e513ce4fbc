"""What recurs in a corpus: its tokens and phrases, counted over the documents before any is encoded. No torch.

Navigation, cookie notices, footers, log formats: noise recurs from document to document, whatever each is about. Four
numbers say so of a token, and none of these needs a label or a model:

- phrase: in how many documents the most frequent run of three tokens around it stands;
- share: the same as a share of all documents;
- excess: how much more often it stands in this corpus than in text at large;
- burst: how much it gathers in few documents instead of being spread over all of them by chance (residual inverse
  document frequency, Church & Gale 1995, "Inverse Document Frequency (IDF): A Measure of Deviations from Poisson").

A fifth comes from a head that has weighed these against its own scores:

- token prior: the head's mean judgement of the token over the corpus (`glot_rag.denoise.fitting`).

Documents may come in groups: the pages of a host, the files of a folder, the mails of a sender. What recurs within a
group counts for the documents of that group, however rare it is in the corpus (`CorpusStatistics.features`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from glot_rag.denoise.arrays import read_arrays
from glot_rag.denoise.group_phrases import GROUP_ARRAYS, GroupPhrases, look_up
from glot_rag.errors import BundleError, InputError
from glot_rag.files import write_atomically
from glot_rag.fingerprint import fingerprint

COUNTED = ("phrase", "share", "excess", "burst")
FEATURES = (*COUNTED, "token_prior")
STATISTICS_FILE = "corpus_statistics.safetensors"
FEWEST_DOCUMENTS = 50  # below, little can be said of what recurs
MOST_COUNTED = 20_000  # documents that are counted at most, evenly spread
_LARGEST_VOCABULARY = 1 << 21  # three token ids side by side are a 63-bit number
_CHUNK = 1 << 20  # phrases merged at a time, so that memory follows the distinct ones
_COUNTS = ("occurrences", "documents_with_token", "phrases", "documents_with_phrase")


@dataclass(frozen=True, eq=False)
class CorpusStatistics:
    """Counts over N documents and a vocabulary of V tokens.

    Attributes:
        documents: N.
        occurrences: (V,), how often each token stands in all documents together.
        documents_with_token: (V,), in how many documents.
        phrases: (P,) ascending, the runs of three tokens that stand in at least two documents, each as one number.
        documents_with_phrase: (P,), in how many documents.
        by_group: the phrases that recur within groups; None where no groups were given.
        token_prior: (V,) float32, what is added to a token's score; None adds nothing.
    """

    documents: int
    occurrences: NDArray[np.int64]
    documents_with_token: NDArray[np.int64]
    phrases: NDArray[np.int64]
    documents_with_phrase: NDArray[np.int64]
    by_group: GroupPhrases | None = None
    token_prior: NDArray[np.float32] | None = None

    @classmethod
    def count(
        cls, documents: Iterable[Sequence[int]], vocabulary_size: int, groups: Sequence[str] | None = None
    ) -> CorpusStatistics:
        """Count over documents as token ids, without special tokens.

        Args:
            documents: token ids of each document.
            vocabulary_size: V.
            groups: the name of each document's group; None counts no groups.

        Raises:
            InputError: fewer than 50 documents, or a vocabulary beyond 2,097,152.
        """
        if vocabulary_size > _LARGEST_VOCABULARY:
            raise InputError(f"a vocabulary of {vocabulary_size:,} is too large; up to {_LARGEST_VOCABULARY:,} will do")
        occurrences, having = np.zeros(vocabulary_size, np.int64), np.zeros(vocabulary_size, np.int64)
        phrases, counts = np.empty(0, np.int64), np.empty(0, np.int64)
        pending: list[NDArray[np.int64]] = []
        of_documents: list[NDArray[np.int64]] = []
        number = 0
        for document in documents:
            number += 1
            ids = np.asarray(document, np.int64)
            np.add.at(occurrences, ids, 1)
            having[np.unique(ids)] += 1
            pending.append(np.unique(_phrases(ids, vocabulary_size)))
            if groups is not None:
                of_documents.append(pending[-1])
            if sum(map(len, pending)) >= _CHUNK:
                phrases, counts = _merge(phrases, counts, pending)
                pending = []
        if number < FEWEST_DOCUMENTS:
            raise InputError(
                f"what recurs in a corpus cannot be told from {number} documents: expected at least "
                f"{FEWEST_DOCUMENTS}; leave fit() out for fewer"
            )
        phrases, counts = _merge(phrases, counts, pending)
        often = counts > 1
        by_group = None if groups is None else GroupPhrases.count(of_documents, groups)
        return cls(number, occurrences, having, phrases[often], counts[often], by_group)

    def features(
        self, ids: NDArray[np.int64], background: NDArray[np.float32], groups: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """The five numbers of every token.

        Where a phrase recurs in a larger share of the text's group than of the corpus, it counts as if it stood in that
        share of the whole corpus: the classifier sees what it learned to weigh, whatever the size of the group.

        Args:
            ids: (B, L).
            background: (V,), each token's log-probability in text at large.
            groups: the name of each text's group, B of them; None looks at no group.

        Returns:
            (B, L, 5) float32, natural logarithms. A token or phrase that was not counted is taken to stand in one
            document, once.
        """
        count = np.maximum(self.occurrences[ids], 1)
        having = np.maximum(self.documents_with_token[ids], 1)
        excess = np.log(count / max(1, int(self.occurrences.sum()))) - background[ids]
        # In how many documents a token would stand that is thrown into them at random: N (1 - exp(-count / N)).
        by_chance = self.documents * -np.expm1(-count / self.documents)
        phrase = self._phrase(ids, groups)
        share = phrase - np.log(self.documents)
        prior = np.zeros(ids.shape) if self.token_prior is None else self.token_prior[ids]
        return np.stack([phrase, share, excess, np.log(by_chance / having), prior], axis=-1).astype(np.float32)

    def _phrase(self, ids: NDArray[np.int64], groups: Sequence[str] | None) -> NDArray[np.float64]:
        """(B, L): the logarithm of the document count of the most frequent phrase that each token is part of."""
        best = np.ones(ids.shape)
        if ids.shape[1] < 3:
            return np.log(best)
        keys = _phrases(ids, len(self.occurrences))  # (B, L - 2)
        found = look_up(keys, self.phrases, self.documents_with_phrase).astype(np.float64)
        if groups is not None and self.by_group is not None:
            for row, group in enumerate(groups):
                np.maximum(found[row], self.documents * self.by_group.share(keys[row], group), out=found[row])
        for shift in range(3):
            inside = best[:, shift : shift + found.shape[1]]
            np.maximum(inside, found, out=inside)
        return np.log(best)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the counts, and of whether there is a token prior.

        The values of the prior are left out: they follow from the head and the documents that were counted, and another
        processor may round one of them otherwise.
        """
        return fingerprint({**self._arrays(prior=False), "token_prior": None if self.token_prior is None else True})

    @cached_property
    def checksum(self) -> str:
        """Hash of all that `save` writes, by name and value."""
        return fingerprint(self._arrays())

    def _arrays(self, prior: bool = True) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _COUNTS}
        found["documents"] = np.array([self.documents], np.int64)
        if self.by_group is not None:
            found |= {name: getattr(self.by_group, name) for name in GROUP_ARRAYS}
        if prior and self.token_prior is not None:
            found["token_prior"] = self.token_prior
        return {name: np.ascontiguousarray(array) for name, array in found.items()}

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        write_atomically(path, save(self._arrays()))

    @classmethod
    def load(cls, path: Path) -> CorpusStatistics:
        """Read what `save` wrote.

        Raises:
            BundleError: it is missing, damaged, or contradicts itself.
        """
        again = "fit the encoder again and save it"
        arrays = read_arrays(path, "corpus statistics", again)
        prior = arrays.pop("token_prior", None)
        names = {*_COUNTS, "documents", *(GROUP_ARRAYS if "groups" in arrays else ())}
        if set(arrays) != names or any(array.dtype != np.int64 for array in arrays.values()):
            raise BundleError(f"{path} does not hold corpus statistics: {again}")
        documents = arrays["documents"]
        by_group = GroupPhrases(*(arrays[name] for name in GROUP_ARRAYS)) if "groups" in arrays else None
        found = cls(
            documents=int(documents[0]) if documents.shape == (1,) else 0,
            occurrences=arrays["occurrences"],
            documents_with_token=arrays["documents_with_token"],
            phrases=arrays["phrases"],
            documents_with_phrase=arrays["documents_with_phrase"],
            by_group=by_group,
            token_prior=prior,
        )
        if not found._fits():
            raise BundleError(f"{path} holds counts that contradict each other: {again}")
        return found

    def _fits(self) -> bool:
        prior = self.token_prior
        return (
            self.documents >= FEWEST_DOCUMENTS
            and all(getattr(self, name).ndim == 1 and (getattr(self, name) >= 0).all() for name in _COUNTS)
            and len(self.occurrences) == len(self.documents_with_token)
            and len(self.phrases) == len(self.documents_with_phrase)
            and bool((np.diff(self.phrases) > 0).all())
            and (self.by_group is None or self.by_group.fits())
            and (prior is None or (prior.dtype == np.float32 and prior.shape == self.occurrences.shape))
            and (prior is None or bool(np.isfinite(prior).all()))
        )


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
