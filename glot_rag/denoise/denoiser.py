"""Denoiser: documents without what trained heads take for noise. It gives text back, for any embedder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from glot_rag.denoise.block_noise import find_noisy_blocks
from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS
from glot_rag.denoise.denoised import Denoised, keep_blocks, keep_words, left_whole
from glot_rag.denoise.fitting import check_groups, fit_head
from glot_rag.denoise.recurrence import FEWEST, Recurrence
from glot_rag.denoise.storage import is_saved_denoiser, load_fitted_head, load_saved, save_denoiser
from glot_rag.denoise.word_noise import find_noisy_words
from glot_rag.documents.blocks import has_lines
from glot_rag.errors import InputError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.registry import (
    block_head_fingerprint,
    check_trained_over,
    find_head,
    freeze,
    freeze_block_head,
    pooling_fingerprint,
    shipped_block_head,
)
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_texts
from glot_rag.progress import bar

_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXTS = 256  # texts whose windows are batched together: memory does not grow with the corpus
_WORD_THRESHOLD = 0.5  # above, a word is more likely noise than signal

logger = logging.getLogger(__name__)


class Denoiser:
    """Drops what looks like noise from documents of any length. Calls are safe between threads.

    A text with lines (`glot_rag.documents.blocks.has_lines`) is read by the block head, its layout included. Lines and
    sentences whose noise probability is above the threshold are dropped whole; the least noisy one stays in any case.

    A text without lines is read by the word head, which drops single words; the surest `HeadConfig.min_keep_ratio` of
    them stay in any case. Without a word head such texts stay whole. Without a block head the word head reads them all.

    Args:
        backbone: the frozen transformer.
        head: a trained head over it, which scores words; None leaves texts without lines whole.
        classifier: the head's noise classifier, which `fit` needs.
        block_head: a trained block head over the same backbone; None looks at words alone.
        threshold: a block or word with a higher noise probability is dropped: lower drops more. None is each head's own
            (block heads have it in their settings, words 0.5).
        recurrence: what recurs in a corpus; `fit` counts it.

    Raises:
        BundleError: a head does not fit the backbone.
        InputError: no head at all, or a threshold that is no probability.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: GlotHead | AdaPool | None,
        classifier: NoiseClassifier | None = None,
        block_head: BlockGraphHead | None = None,
        *,
        threshold: float | None = None,
        recurrence: Recurrence | None = None,
    ) -> None:
        if head is None and block_head is None:
            raise InputError("a denoiser needs a head for words, a block head, or both; got neither")
        if head is not None and not isinstance(head, (GlotHead, AdaPool)):
            raise InputError(f"a denoiser needs a trained head that tells noise; got {type(head).__name__}")
        self._backbone = backbone
        self._head = None if head is None else freeze(head, backbone)
        self._classifier = classifier
        self._block_head = None if block_head is None else freeze_block_head(block_head, backbone)
        self._threshold = _check_threshold(threshold)
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
    ) -> Denoiser:
        """Load a denoiser, with a block head where one ships for the backbone.

        Args:
            name: a backbone ("minilm", a hub id, a directory), or a directory that `save` wrote.
            head: directory of a trained head for words; None takes the one that ships for the backbone.
            threshold: a block or word with a higher noise probability (0 to 1) is dropped: lower drops more. None is
                the saved denoiser's, or each head's own.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files.
            MissingExtraError: transformers or gguf is not installed.
            InputError: an argument that cannot be used.
        """
        if is_saved_denoiser(name):
            if head is not None:
                raise InputError(f"{name} is a saved denoiser, which has its heads: leave head= out")
            return cls.load(name, threshold=threshold, device=device, dtype=dtype)
        _check_threshold(threshold)
        found = find_head(os.fspath(name), "glot", head)
        assert found is not None
        loaded = load_fitted_head(found)
        backbone = Backbone.load(name, device=device, dtype=dtype)
        check_trained_over(loaded.details, found, backbone)
        block_head = shipped_block_head(os.fspath(name), backbone)
        return cls(backbone, loaded.head, loaded.classifier, block_head, threshold=threshold)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        backbone: Backbone | None = None,
        *,
        threshold: float | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Denoiser:
        """Read what `save` wrote.

        Args:
            path: the directory.
            backbone: the one that it was saved over, if it is loaded already; another one is not used.
            threshold: as in `from_pretrained`; None is the saved one.
            device: as in `from_pretrained`.
            dtype: as in `from_pretrained`.

        Raises:
            BundleError: damaged or unfitting files.
            InputError: a threshold that is no probability.
        """
        saved = load_saved(path)
        if backbone is None or backbone.fingerprint != saved.backbone_fingerprint:
            backbone = Backbone.load(saved.backbone, device=device, dtype=dtype, max_tokens=saved.max_tokens)
        check_trained_over({"backbone_fingerprint": saved.backbone_fingerprint}, Path(path), backbone)
        return cls(
            backbone,
            saved.head,
            saved.classifier,
            saved.block_head,
            threshold=saved.threshold if threshold is None else threshold,
            recurrence=saved.recurrence,
        )

    @property
    def backbone(self) -> Backbone:
        """The frozen transformer."""
        return self._backbone

    @property
    def head(self) -> GlotHead | AdaPool | None:
        """What drops words; its scores are adjusted once it is fitted. None for a denoiser of blocks alone."""
        return self._head

    @property
    def classifier(self) -> NoiseClassifier | None:
        """What `fit` weighs the words' corpus statistics with."""
        return self._classifier

    @property
    def block_head(self) -> BlockGraphHead | None:
        """What drops whole blocks; None for a denoiser of words alone."""
        return self._block_head

    @property
    def threshold(self) -> float | None:
        """The noise probability above which a block or word is dropped; None is each head's own."""
        return self._threshold

    @property
    def block_threshold(self) -> float:
        """The noise probability above which a block is dropped; 1 without a block head."""
        if self._block_head is None:
            return 1.0
        return self._block_head.config.noise_threshold if self._threshold is None else self._threshold

    @property
    def recurrence(self) -> Recurrence | None:
        """What recurs in the corpus that it is fitted to."""
        return self._recurrence

    @property
    def can_be_fitted(self) -> bool:
        """Whether `fit` has something to do: a block head that reads counts, or a noise classifier."""
        return self._classifier is not None or self._counts

    @property
    def fitted(self) -> bool:
        """Whether the denoiser knows what recurs in a corpus."""
        return self._recurrence is not None or (self._head is not None and self._head.adjustment is not None)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides what is kept. Not the dtype."""
        return fingerprint(
            {
                "backbone": self._backbone.fingerprint,
                "max_tokens": self._backbone.max_tokens,
                "head": None if self._head is None else pooling_fingerprint(self._head),
                "block_head": None if self._block_head is None else block_head_fingerprint(self._block_head),
                "threshold": self._threshold,
                "recurrence": None if self._recurrence is None else self._recurrence.fingerprint,
            }
        )

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

        def fit_words(
            head: GlotHead | AdaPool, classifier: NoiseClassifier, texts: list[str], groups: list[str] | None
        ) -> GlotHead | AdaPool:
            return fit_head(self._backbone, head, classifier, texts, groups, show_progress=show_progress)

        return self.fit_with(fit_words, texts, groups)

    def fit_with(self, fit_words: FitWords, texts: Sequence[str], groups: Sequence[str] | None = None) -> Denoiser:
        """`fit`, with a function that fits the word head, as others may have the same head fitted already."""
        if not self.can_be_fitted:
            raise UnsupportedError(
                "this denoiser has no noise classifier and no block head that reads counts, one of which fit() needs: "
                "use the shipped heads for minilm, or train a head with `glot-rag train`"
            )
        texts, names = check_texts(texts), check_groups(groups, len(texts))
        if self._counts and len(texts) < FEWEST:
            raise InputError(
                f"what recurs cannot be told from {len(texts)} documents: expected at least {FEWEST}; leave fit() out "
                "for fewer"
            )
        recurrence, head = None, self._head
        lined, flat = ([row for row, text in enumerate(texts) if self._by_blocks(text) is way] for way in (True, False))
        if self._counts and lined:
            recurrence = Recurrence.count(*_rows(texts, names, lined)).recurring()
        if head is not None and self._classifier is not None:
            if not lined or len(flat) >= FEWEST_DOCUMENTS:
                head = fit_words(head, self._classifier, *_rows(texts, names, flat))
            elif flat:
                logger.info("%d texts without lines are too few to fit the word head to", len(flat))
        return Denoiser(
            self._backbone, head, self._classifier, self._block_head, threshold=self._threshold, recurrence=recurrence
        )

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the heads, the noise classifier and what was counted into a directory, for `from_pretrained`.

        The backbone's files are not copied: its name and fingerprint are written down.

        Raises:
            InputError: the directory holds something else.
        """
        save_denoiser(self, path)

    def __repr__(self) -> str:
        heads = [each for each in ("blocks" * (self._block_head is not None), self._head and self._head.name) if each]
        return f"Denoiser({self._backbone.source.name!r}, heads={'+'.join(heads)!r}, fitted={self.fitted})"

    @property
    def _counts(self) -> bool:
        return self._block_head is not None and self._block_head.config.count_size > 0

    def _by_blocks(self, text: str) -> bool:
        """Whether the block head reads a text; else the word head does."""
        return self._block_head is not None and has_lines(text)

    def _denoise(self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None) -> list[Denoised]:
        found: dict[int, Denoised] = {}
        by_blocks = [self._by_blocks(text) for text in texts]
        for way, drop in ((True, self._drop_blocks), (False, self._drop_words)):
            rows = [row for row, each in enumerate(by_blocks) if each is way]
            if rows:
                found |= dict(zip(rows, drop(*_rows(texts, groups, rows), batch_tokens), strict=True))
        return [found[row] for row in range(len(texts))]

    def _drop_blocks(
        self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None
    ) -> list[Denoised]:
        assert self._block_head is not None
        found = find_noisy_blocks(
            self._backbone, self._block_head, list(map(_readable, texts)), groups, self._recurrence, batch_tokens
        )
        return [
            keep_blocks(text, each.spans, each.noise, self.block_threshold)
            for text, each in zip(texts, found, strict=True)
        ]

    def _drop_words(
        self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None
    ) -> list[Denoised]:
        head = self._head
        if head is None:
            return [left_whole(text) for text in texts]
        limit = _WORD_THRESHOLD if self._threshold is None else self._threshold
        found = find_noisy_words(self._backbone, head, list(map(_readable, texts)), groups, batch_tokens)
        least, smallest = head.config.min_keep_ratio, head.min_drop_ratio
        return [
            keep_words(text, each.spans, each.noise, limit, least, smallest)
            for text, each in zip(texts, found, strict=True)
        ]


FitWords = Callable[[GlotHead | AdaPool, NoiseClassifier, list[str], list[str] | None], GlotHead | AdaPool]


def _rows(
    texts: Sequence[str], groups: Sequence[str] | None, rows: Sequence[int]
) -> tuple[list[str], list[str] | None]:
    """Some of the texts and of the groups' names."""
    return [texts[row] for row in rows], None if groups is None else [groups[row] for row in rows]


def _readable(text: str) -> str:
    """The text with surrogates replaced, one character for one: spans are those of the text that was given."""
    return _SURROGATE.sub("\ufffd", text)


def _check_threshold(threshold: float | None) -> float | None:
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise InputError(f"threshold must be a probability, above 0 and below 1, or None; got {threshold!r}")
    return float(threshold)
