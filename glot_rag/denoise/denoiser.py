"""Denoiser: documents without what trained heads take for noise. It gives text back, for any embedder. No torch."""

from __future__ import annotations

import importlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glot_rag.denoise.block_noise import NoisyBlocks, find_noisy_blocks
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.denoise.denoised import Denoised, keep_blocks, keep_words, left_whole
from glot_rag.denoise.networks import BlockScorer, Networks, StateReader, WordScorer
from glot_rag.denoise.recurrence import Recurrence
from glot_rag.denoise.word_noise import find_noisy_words
from glot_rag.documents.blocks import has_lines
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.models.tokenizer import check_groups, check_texts
from glot_rag.progress import bar

if TYPE_CHECKING:
    from typing_extensions import Self

EXPORTED_RECORD = "onnx_denoiser.json"  # the file that makes a directory an exported denoiser
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXTS = 256  # texts whose windows are batched together: memory does not grow with the corpus
_WORD_THRESHOLD = 0.5  # above, a word is more likely noise than signal


class Denoiser(ABC):
    """Drops what looks like noise from documents of any length. Calls are safe between threads.

    Make one with `from_pretrained`; a `TorchDenoiser` runs torch, an `OnnxDenoiser` an exported one without it.

    A text with lines (`glot_rag.documents.blocks.has_lines`) is read by the block head, its layout included. Lines and
    sentences whose noise probability is above the threshold are dropped whole; the least noisy one stays in any case.
    Unless a threshold is asked for, each document has its own: what is left of it then has the best F1 to be expected.

    A text without lines is read by the word head, which drops single words; the surest `HeadConfig.min_keep_ratio` of
    them stay in any case. Without a word head such texts stay whole. Without a block head the word head reads them all.

    Args:
        reader: runs the backbone's lower layers.
        words: runs the word head; None leaves texts without lines whole.
        blocks: runs the block head; None looks at words alone.
        threshold: a block or word with a higher noise probability is dropped: lower drops more. None is each
            document's own for blocks (`glot_rag.denoise.block_threshold`), 0.5 for words.
        recurrence: what recurs in a corpus; `fit` counts it.

    Raises:
        InputError: no head at all, or a threshold that is no probability.
    """

    def __init__(
        self,
        reader: StateReader,
        words: WordScorer | None,
        blocks: BlockScorer | None,
        *,
        threshold: float | None = None,
        recurrence: Recurrence | None = None,
    ) -> None:
        if words is None and blocks is None:
            raise InputError("a denoiser needs a head for words, a block head, or both; got neither")
        self._reader = reader
        self._words = words
        self._blocks = blocks
        self._threshold = check_threshold(threshold)
        self._recurrence = recurrence

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "minilm",
        *,
        head: str | os.PathLike[str] | None = None,
        threshold: float | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Load a denoiser, with a block head where one ships for the backbone.

        Args:
            name: a backbone ("minilm", a hub id, a directory), a directory that `save` wrote, or an exported denoiser,
                which needs no torch and has the settings below built in, but for the threshold.
            head: directory of a trained head for words; None takes the one that ships for the backbone.
            threshold: a block or word with a higher noise probability (0 to 1) is dropped: lower drops more. None is
                the saved denoiser's, or each head's own.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files.
            MissingExtraError: what runs the denoiser is not installed.
            InputError: an argument that cannot be used.
        """
        check_threshold(threshold)
        # Found by name: what runs exported denoisers is built on this room, so this room cannot import it.
        runner = "onnx.denoiser" if is_exported(name) else "denoise.torch_denoiser"
        try:
            module = importlib.import_module(f"glot_rag.{runner}")
        except ModuleNotFoundError as error:
            if error.name in ("torch", "transformers", "torch_geometric"):
                raise MissingExtraError(error.name, "torch") from error
            raise
        found: Denoiser = module.load(name, head=head, threshold=threshold, device=device, dtype=dtype)
        if not isinstance(found, cls):
            raise InputError(
                f"{os.fspath(name)!r} makes a {type(found).__name__}, not a {cls.__name__}: use "
                "Denoiser.from_pretrained, which loads either"
            )
        return found

    @property
    def networks(self) -> Networks:
        """What runs its networks."""
        return Networks(self._reader, self._words, self._blocks)

    @property
    def threshold(self) -> float | None:
        """The noise probability above which a block or word is dropped; None is each document's own."""
        return self._threshold

    @property
    def block_threshold(self) -> float:
        """The noise probability that every dropped block exceeds; 1 without a block head."""
        if self._blocks is None:
            return 1.0
        return self._blocks.noise_threshold if self._threshold is None else self._threshold

    @property
    def recurrence(self) -> Recurrence | None:
        """What recurs in the corpus that it is fitted to."""
        return self._recurrence

    @property
    def drops_words(self) -> bool:
        """Whether single words are dropped from texts without lines."""
        return self._words is not None

    @property
    @abstractmethod
    def can_be_fitted(self) -> bool:
        """Whether `fit` has something to do: a block head that reads counts, or a noise classifier."""

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether the denoiser knows what recurs in a corpus."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that decides what is kept. Not the dtype, nor what runs it."""

    @abstractmethod
    def fit(
        self, texts: Sequence[str], groups: Sequence[str] | None = None, *, show_progress: bool = False
    ) -> Denoiser:
        """A denoiser for one corpus: what recurs there from document to document is taken for noise.

        For the block head, blocks and runs of three words are counted within each group, of three documents or more,
        and over the whole corpus where there are no groups: see `Recurrence`. For the word head, which reads texts
        without lines alone, tokens are counted and up to 1,000 of these texts are read, if there are 50 of them.

        Args:
            texts: the documents that will be denoised, noise and all. Later documents need not be among them.
            groups: the name of each document's group: its host, folder or sender. What recurs within a group counts for
                the group's documents, even where the group is small.
            show_progress: draw a progress bar on stderr.

        Returns:
            A new denoiser over the same backbone. It holds counts, no text.

        Raises:
            InputError: too few documents, not a list of strings, or another number of groups.
            UnsupportedError: there is neither a block head that reads counts nor a noise classifier.
        """

    def denoise(
        self,
        texts: Sequence[str],
        groups: Sequence[str] | None = None,
        *,
        show_progress: bool = False,
        batch_tokens: int | None = None,
    ) -> list[Denoised]:
        """Drop the noise from documents.

        Args:
            texts: N strings.
            groups: the name of each document's group, as for `fit`; a group that `fit` has not seen has no effect.
            show_progress: draw a progress bar on stderr.
            batch_tokens: tokens a batch may hold, padding included; None is `Backbone.batch_tokens`.

        Returns:
            One entry a document.

        Raises:
            InputError: not a list of strings, or another number of groups.
        """
        check_texts(texts)
        names = check_groups(groups, len(texts))
        out: list[Denoised] = []
        with bar(disable=not show_progress) as progress:
            task = progress.add_task("denoising", total=len(texts))
            for start in range(0, len(texts), _TEXTS):
                part = slice(start, start + _TEXTS)
                out += self._denoise(texts[part], None if names is None else names[part], batch_tokens)
                progress.advance(task, len(texts[part]))
        return out

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the denoiser into a directory, for `from_pretrained`.

        Raises:
            InputError: the directory holds something else.
        """

    def flat(self, texts: Sequence[str]) -> list[int]:
        """Which of the texts the block head does not read: those without lines, or all if there is none."""
        return [row for row, text in enumerate(texts) if not self._by_blocks(text)]

    def _by_blocks(self, text: str) -> bool:
        """Whether the block head reads a text; else the word head does."""
        return self._blocks is not None and has_lines(text)

    def _denoise(self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None) -> list[Denoised]:
        found: dict[int, Denoised] = {}
        by_blocks = [self._by_blocks(text) for text in texts]
        for way, drop in ((True, self._drop_blocks), (False, self._drop_words)):
            rows = [row for row, each in enumerate(by_blocks) if each is way]
            if rows:
                found |= dict(zip(rows, drop(*rows_of(texts, groups, rows), batch_tokens), strict=True))
        return [found[row] for row in range(len(texts))]

    def _drop_blocks(
        self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None
    ) -> list[Denoised]:
        assert self._blocks is not None
        found = find_noisy_blocks(
            self._reader, self._blocks, list(map(_readable, texts)), groups, self._recurrence, batch_tokens
        )
        return [
            keep_blocks(text, each.spans, each.noise, self._limit(text, each))
            for text, each in zip(texts, found, strict=True)
        ]

    def _limit(self, text: str, found: NoisyBlocks) -> float:
        """The threshold that was asked for, or the document's own."""
        if self._threshold is not None:
            return self._threshold
        words = np.array([len(text[start:end].split()) for start, end in found.spans])
        return max(self.block_threshold, best_threshold(found.noise, words))

    def _drop_words(
        self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None
    ) -> list[Denoised]:
        head = self._words
        if head is None:
            return [left_whole(text) for text in texts]
        limit = _WORD_THRESHOLD if self._threshold is None else self._threshold
        found = find_noisy_words(self._reader, head, list(map(_readable, texts)), groups, batch_tokens)
        return [
            keep_words(text, each.spans, each.noise, limit, head.min_keep_ratio, head.min_drop_ratio)
            for text, each in zip(texts, found, strict=True)
        ]


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a directory holds an exported denoiser."""
    return (Path(path) / EXPORTED_RECORD).is_file()


def rows_of(
    texts: Sequence[str], groups: Sequence[str] | None, rows: Sequence[int]
) -> tuple[list[str], list[str] | None]:
    """Some of the texts and of the groups' names."""
    return [texts[row] for row in rows], None if groups is None else [groups[row] for row in rows]


def _readable(text: str) -> str:
    """The text with surrogates replaced, one character for one: spans are those of the text that was given."""
    return _SURROGATE.sub("\ufffd", text)


def check_threshold(threshold: float | None) -> float | None:
    """Return the threshold.

    Raises:
        InputError: it is no probability.
    """
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise InputError(f"threshold must be a probability, above 0 and below 1, or None; got {threshold!r}")
    return float(threshold)
