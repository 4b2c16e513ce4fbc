"""Denoiser: documents without the words that a trained head takes for noise. It gives text back, for any embedder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.denoise.classifier import FittedClassifier, NoiseClassifier
from glot_rag.denoise.fitting import check_groups, fit_head
from glot_rag.denoise.storage import FittedHead, load_fitted_head, save_fitted_head
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.readout import keep_tokens
from glot_rag.head.registry import check_trained_over, find_head, freeze, pooling_fingerprint
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_texts
from glot_rag.progress import bar

_WORD = re.compile(r"\S+")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LEAST = float(np.finfo(np.float32).min)
_TEXTS = 256  # texts whose windows are batched together: memory does not grow with the corpus

Span = tuple[int, int]


class DenoisedBlock(NamedTuple):
    """A block of a document: a line, or a sentence of a long one (`glot_rag.documents.blocks`).

    Attributes:
        text: the block, without the white space around it.
        start: its first character in the document.
        end: the character after its last one.
        noise: the probability that it is noise, 0 to 1: the mean over its words.
    """

    text: str
    start: int
    end: int
    noise: float


@dataclass(frozen=True)
class Denoised:
    """What is left of a document.

    Attributes:
        text: the runs of kept words, each as it stands in the document, spaces and line breaks included. Between two
            runs stands a line break if one was among what was dropped there, else a space. The document itself where
            every word is kept.
        spans: (start, end) of every run of kept words in the document, in order.
        kept: the share of the words that was kept, 0 to 1.
        blocks: every block of the document, kept or not, with the probability that it is noise.
    """

    text: str
    spans: tuple[Span, ...]
    kept: float
    blocks: tuple[DenoisedBlock, ...] = ()


class Denoiser:
    """Drops words that look like noise, in documents of any length. Calls are safe between threads.

    The head scores every token in windows over the whole document, through the backbone's layers up to the last one
    that it reads. A word's score is the mean of its tokens'. Words that are more likely noise than signal are dropped,
    but the surest `HeadConfig.min_keep_ratio` of a document's words stay in any case.

    Args:
        backbone: the frozen transformer.
        head: a trained head over it.
        classifier: the head's noise classifier, which `fit` needs.

    Raises:
        BundleError: the head does not fit the backbone.
    """

    def __init__(self, backbone: Backbone, head: GlotHead | AdaPool, classifier: NoiseClassifier | None = None) -> None:
        if not isinstance(head, (GlotHead, AdaPool)):
            raise InputError(f"a denoiser needs a trained head that tells noise; got {type(head).__name__}")
        self._backbone = backbone
        self._head = freeze(head, backbone)
        self._classifier = classifier

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "minilm",
        *,
        head: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Denoiser:
        """Load a denoiser.

        Args:
            name: a backbone ("minilm", a hub id, a directory), or a directory that `save` wrote.
            head: directory of a trained head; None takes the one that ships for the backbone.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files.
            MissingExtraError: transformers or gguf is not installed.
            InputError: an argument that cannot be used.
        """
        if (Path(name) / "head.safetensors").is_file():
            if head is not None:
                raise InputError(f"{name} is a saved denoiser, which has a head: leave head= out")
            return cls._of(Path(name), load_fitted_head(name), device, dtype)
        found = find_head(os.fspath(name), "glot", head)
        assert found is not None
        loaded = load_fitted_head(found)
        backbone = Backbone.load(name, device=device, dtype=dtype)
        check_trained_over(loaded.details, found, backbone)
        return cls(backbone, loaded.head, loaded.classifier)

    @classmethod
    def _of(cls, path: Path, loaded: FittedHead, device: str | None, dtype: str | None) -> Denoiser:
        name = loaded.details.get("backbone")
        if not isinstance(name, str):
            raise BundleError(f"{path} does not say which backbone its head is for: use from_pretrained(name, head=)")
        backbone = Backbone.load(name, device=device, dtype=dtype, max_tokens=loaded.details.get("max_tokens"))
        check_trained_over(loaded.details, path, backbone)
        return cls(backbone, loaded.head, loaded.classifier)

    @property
    def backbone(self) -> Backbone:
        """The frozen transformer."""
        return self._backbone

    @property
    def head(self) -> GlotHead | AdaPool:
        """The head; its scores are adjusted once the denoiser is fitted."""
        return self._head

    @property
    def classifier(self) -> NoiseClassifier | None:
        """What `fit` weighs corpus statistics with; None for a denoiser that cannot be fitted."""
        return self._classifier

    @property
    def fitted(self) -> bool:
        """Whether the denoiser knows what recurs in a corpus."""
        return self._head.adjustment is not None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides what is kept. Not the dtype."""
        return fingerprint(
            {
                "backbone": self._backbone.fingerprint,
                "max_tokens": self._backbone.max_tokens,
                "head": pooling_fingerprint(self._head),
            }
        )

    def fit(
        self, texts: Sequence[str], groups: Sequence[str] | None = None, *, show_progress: bool = False
    ) -> Denoiser:
        """A denoiser for one corpus: what recurs there from document to document is taken for noise.

        Args:
            texts: the documents that will be denoised, noise and all, at least 50. Up to 20,000 of them, evenly spread,
                are counted, and up to 1,000 are read. Later documents need not be among them.
            groups: the name of each document's group: its host, folder or sender. What recurs within a group counts for
                the group's documents, even where the group is small.
            show_progress: draw a progress bar on stderr.

        Returns:
            A new denoiser over the same backbone. It holds counts of tokens, no text.

        Raises:
            InputError: too few documents, not a list of strings, or another number of groups.
            UnsupportedError: the head has no noise classifier.
        """
        if self._classifier is None:
            raise UnsupportedError(
                "this head has no noise classifier, which fit() needs: use the shipped head for minilm, or train one "
                "with `glot-rag train`"
            )
        head = fit_head(self._backbone, self._head, self._classifier, texts, groups, show_progress=show_progress)
        return Denoiser(self._backbone, head, self._classifier)

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
                scored = self._score(texts[part], None if names is None else names[part], batch_tokens)
                out += [self._keep(text, words, scores) for text, words, scores in scored]
                progress.advance(task, len(texts[part]))
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head, its noise classifier and the corpus statistics into a directory, for `from_pretrained`.

        The backbone's files are not copied: its name and fingerprint are written down.

        Raises:
            InputError: the directory holds something else.
        """
        directory = Path(path)
        if directory.exists() and not (directory / "head.safetensors").is_file() and any(directory.iterdir()):
            raise InputError(f"{directory} is not empty and not a saved denoiser: choose another directory")
        details = {
            "backbone": self._backbone.source.name,
            "backbone_fingerprint": self._backbone.fingerprint,
            "max_tokens": self._backbone.max_tokens,
        }
        save_fitted_head(self._head, self._classifier, directory, details)

    def __repr__(self) -> str:
        return f"Denoiser({self._backbone.source.name!r}, head={self._head.name!r}, fitted={self.fitted})"

    @torch.inference_mode()
    def _score(
        self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None
    ) -> list[tuple[str, list[Span], NDArray[np.float32]]]:
        """Each text with its words' spans and scores: the mean of the tokens', the least number for a word without any.

        The mean, not the highest: a random string comes to pieces some of which are words.
        """
        backbone, head, adjustment = self._backbone, self._head.without_adjustment(), self._head.adjustment
        words = [[match.span() for match in _WORD.finditer(text)] for text in texts]
        starts = [np.array([start for start, _ in spans], np.int64) for spans in words]
        # One character for one, so that spans are those of the text that was given.
        readable = [_SURROGATE.sub("\ufffd", text) for text in texts]
        windows = [(row, window) for row, text in enumerate(readable) for window in backbone.tokenizer.windows(text)]
        sums, counts = ([np.zeros(len(spans)) for spans in words] for _ in range(2))
        for batch in backbone.pack([window.ids for _, window in windows], batch_tokens):
            states, mask = backbone.hidden_states(batch, head.layers)
            logits = head(torch.cat(states, dim=-1), mask).logits
            if adjustment is not None:
                names = None if groups is None else [groups[windows[row][0]] for row in batch.rows]
                assert isinstance(adjustment, FittedClassifier)
                logits = adjustment(logits, torch.from_numpy(batch.ids), mask, names)
            values = logits.float().cpu().numpy()
            for place, window_row in enumerate(batch.rows):
                row, window = windows[window_row]
                word = window.words(starts[row])
                np.add.at(sums[row], word[word >= 0], values[place, : len(word)][word >= 0])
                np.add.at(counts[row], word[word >= 0], 1)
        means = [
            np.divide(total, count, out=np.full(len(total), _LEAST), where=count > 0).astype(np.float32)
            for total, count in zip(sums, counts, strict=True)
        ]
        return list(zip(texts, words, means, strict=True))

    def _keep(self, text: str, words: list[Span], scores: NDArray[np.float32]) -> Denoised:
        if not words:
            return Denoised(text, (), 1.0)
        every = torch.ones(1, len(words), dtype=torch.bool)
        given: Tensor = torch.from_numpy(scores)[None]
        kept = keep_tokens(given, every, self._head.config.min_keep_ratio, self._head.min_drop_ratio)[0].numpy()
        spans = _runs(words, kept)
        clean = text if kept.all() else _joined(text, spans)
        return Denoised(clean, tuple(spans), float(kept.mean()), tuple(_blocks(text, words, scores)))


def _runs(words: Sequence[Span], kept: NDArray[np.bool_]) -> list[Span]:
    """(start, end) of every run of kept words."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    return [(words[first][0], words[end - 1][1]) for first, end in edges.reshape(-1, 2).tolist()]


def _joined(text: str, spans: Sequence[Span]) -> str:
    """The runs, with a line break between two of them if what was dropped there has one, else a space."""
    parts = [text[start:end] for start, end in spans[:1]]
    for (_, end), (start, stop) in pairwise(spans):
        parts += ["\n" if _LINE_BREAK.search(text, end, start) else " ", text[start:stop]]
    return "".join(parts)


def _blocks(text: str, words: Sequence[Span], scores: NDArray[np.float32]) -> Iterator[DenoisedBlock]:
    """The document's blocks, with the mean probability of noise of their words."""
    noise = 1 / (1 + np.exp(np.clip(scores, -30, 30).astype(np.float64)))
    starts = np.array([start for start, _ in words])
    for block in split_blocks(text):
        # The first word may begin before the block: text without spaces is cut within words.
        first, end = np.searchsorted(starts, block.start, side="right") - 1, np.searchsorted(starts, block.end)
        yield DenoisedBlock(text[block.start : block.end], block.start, block.end, float(noise[first:end].mean()))
