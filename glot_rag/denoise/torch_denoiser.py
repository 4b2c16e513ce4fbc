"""TorchDenoiser: a denoiser over a frozen backbone and its heads, which can be fitted to a corpus."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from glot_rag.denoise.classifier import NoiseClassifier
from glot_rag.denoise.corpus_statistics import FEWEST_DOCUMENTS
from glot_rag.denoise.denoiser import Denoiser, rows_of
from glot_rag.denoise.fitting import fit_head
from glot_rag.denoise.recurrence import FEWEST, Recurrence
from glot_rag.denoise.storage import is_saved_denoiser, load_fitted_head, load_saved, save_denoiser
from glot_rag.denoise.word_scorer import TorchWordScorer
from glot_rag.errors import InputError, ModelNotFoundError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.registry import (
    block_head_fingerprint,
    block_head_for,
    check_trained_over,
    find_head,
    freeze,
    freeze_block_head,
    pooling_fingerprint,
    ships_block_head,
)
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_groups, check_texts

logger = logging.getLogger(__name__)


class TorchDenoiser(Denoiser):
    """A `Denoiser` that runs torch.

    Args:
        backbone: the frozen transformer.
        head: a trained head over it, which scores words; None leaves texts without lines whole.
        classifier: the head's noise classifier, which `fit` needs.
        block_head: a trained block head over the same backbone; None looks at words alone.
        threshold: as in `Denoiser`.
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
        if head is not None and not isinstance(head, (GlotHead, AdaPool)):
            raise InputError(f"a denoiser needs a trained head that tells noise; got {type(head).__name__}")
        self._backbone = backbone
        self._head = None if head is None else freeze(head, backbone)
        self._classifier = classifier
        self._block_head = None if block_head is None else freeze_block_head(block_head, backbone)
        words = None if self._head is None else TorchWordScorer(self._head)
        super().__init__(backbone, words, self._block_head, threshold=threshold, recurrence=recurrence)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        backbone: Backbone | None = None,
        *,
        threshold: float | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> TorchDenoiser:
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

    def with_words(self, head: GlotHead | AdaPool, classifier: NoiseClassifier | None) -> TorchDenoiser:
        """The same denoiser with another head for words; the backbone is the one that this one runs."""
        return TorchDenoiser(
            self._backbone,
            head,
            classifier,
            self._block_head,
            threshold=self._threshold,
            recurrence=self._recurrence,
        )

    def fit(
        self, texts: Sequence[str], groups: Sequence[str] | None = None, *, show_progress: bool = False
    ) -> TorchDenoiser:
        """A denoiser for one corpus, over the same backbone: see `Denoiser.fit`."""

        def fit_words(
            head: GlotHead | AdaPool, classifier: NoiseClassifier, texts: list[str], groups: list[str] | None
        ) -> GlotHead | AdaPool:
            return fit_head(self._backbone, head, classifier, texts, groups, show_progress=show_progress)

        return self.fit_with(fit_words, texts, groups)

    def fit_with(self, fit_words: FitWords, texts: Sequence[str], groups: Sequence[str] | None = None) -> TorchDenoiser:
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
        flat = self.flat(texts)
        counted, lined = self.count(texts, names), len(texts) - len(flat)
        return self.fit_counted(counted, lined, *rows_of(texts, names, flat), fit_words=fit_words)

    def count(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> Recurrence | None:
        """What `fit` counts of texts with lines. Counts of parts of a corpus are merged with `Recurrence.merge`.

        Returns:
            None where the block head reads no counts.
        """
        if not self._counts:
            return None
        lined = [row for row, text in enumerate(texts) if self._by_blocks(text)]
        return Recurrence.count(*rows_of(texts, groups, lined))

    def fit_counted(
        self,
        counted: Recurrence | None,
        lined: int,
        flat: Sequence[str],
        groups: Sequence[str] | None = None,
        *,
        fit_words: FitWords | None = None,
        show_progress: bool = False,
    ) -> TorchDenoiser:
        """The end of `fit`, for a corpus that was counted in parts.

        Args:
            counted: what `count` gave over all parts, merged.
            lined: how many texts have lines.
            flat: the texts that the word head reads (`flat`), or up to 20,000 of them, evenly spread.
            groups: the names of their groups.
            fit_words: fits the word head; None does it here.
            show_progress: draw a progress bar on stderr.
        """
        recurrence = counted.recurring() if counted is not None and lined else None
        head = self._head
        if head is not None and self._classifier is not None:
            texts, names = list(flat), None if groups is None else list(groups)
            if fits_words(len(flat), lined):
                if fit_words is None:
                    head = fit_head(self._backbone, head, self._classifier, texts, names, show_progress=show_progress)
                else:
                    head = fit_words(head, self._classifier, texts, names)
            elif flat:
                logger.info("%d texts without lines are too few to fit the word head to", len(flat))
        return TorchDenoiser(
            self._backbone, head, self._classifier, self._block_head, threshold=self._threshold, recurrence=recurrence
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the heads, the noise classifier and what was counted into a directory, for `from_pretrained`.

        The backbone's files are not copied: its name and fingerprint are written down.

        Raises:
            InputError: the directory holds something else.
        """
        save_denoiser(self, path)

    def __repr__(self) -> str:
        heads = [each for each in ("blocks" * (self._block_head is not None), self._head and self._head.name) if each]
        return f"TorchDenoiser({self._backbone.source.name!r}, heads={'+'.join(heads)!r}, fitted={self.fitted})"

    @property
    def _counts(self) -> bool:
        return self._block_head is not None and self._block_head.config.count_size > 0


def fits_words(flat: int, lined: int) -> bool:
    """Whether a head that reads words is fitted to so many texts without lines, beside so many with lines."""
    return not lined or flat >= FEWEST_DOCUMENTS


FitWords = Callable[[GlotHead | AdaPool, NoiseClassifier, list[str], list[str] | None], GlotHead | AdaPool]


def load(
    name: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str] | None,
    threshold: float | None,
    device: str | None,
    dtype: str | None,
) -> TorchDenoiser:
    """Load a denoiser for `Denoiser.from_pretrained`, whose arguments and errors these are."""
    if is_saved_denoiser(name):
        if head is not None:
            raise InputError(f"{name} is a saved denoiser, which has its heads: leave head= out")
        return TorchDenoiser.load(name, threshold=threshold, device=device, dtype=dtype)
    found: Path | None = None
    try:  # a wrong name is told before a model is loaded
        found = find_head(os.fspath(name), "glot", head)
    except ModelNotFoundError:
        if not ships_block_head(os.fspath(name)):
            raise
    loaded = None if found is None else load_fitted_head(found)
    backbone = Backbone.load(name, device=device, dtype=dtype)
    block_head = block_head_for(os.fspath(name), found, backbone)
    if loaded is None or found is None:
        return TorchDenoiser(backbone, None, None, block_head, threshold=threshold)
    check_trained_over(loaded.details, found, backbone)
    return TorchDenoiser(backbone, loaded.head, loaded.classifier, block_head, threshold=threshold)
