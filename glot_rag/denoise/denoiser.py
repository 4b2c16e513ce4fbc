"""Denoiser: documents without what trained heads take for noise. It gives text back, for any embedder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glot_rag.denoise.block_noise import NoisyBlocks, find_noisy_blocks
from glot_rag.denoise.classifier import FittedClassifier, NoiseClassifier
from glot_rag.denoise.fitting import check_groups, fit_head
from glot_rag.denoise.storage import FittedHead, load_fitted_head, save_fitted_head
from glot_rag.documents.blocks import split_blocks
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.fingerprint import fingerprint
from glot_rag.head import AdaPool, GlotHead
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.readout import keep_tokens
from glot_rag.head.registry import (
    block_head_fingerprint,
    check_trained_over,
    find_head,
    freeze,
    freeze_block_head,
    pooling_fingerprint,
    saved_block_head,
    shipped_block_head,
)
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
        noise: the probability that it is noise, 0 to 1: the block head's; without one, the mean over its words.
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
    """Drops blocks and words that look like noise, in documents of any length. Calls are safe between threads.

    A denoiser with a block head lets it go first. It reads the whole document, its layout included, and drops the lines
    and sentences whose noise probability is above its threshold; the least noisy one stays in any case. Single words
    then go only where no block went, and everywhere once the denoiser is fitted.

    The word head scores every token in windows over the whole text, through the backbone's layers up to the last one
    that it reads. A word's score is the mean of its tokens'. Words that are more likely noise than signal are dropped,
    but the surest `HeadConfig.min_keep_ratio` of the words stay in any case.

    Args:
        backbone: the frozen transformer.
        head: a trained head over it, which scores words.
        classifier: the head's noise classifier, which `fit` needs.
        block_head: a trained block head over the same backbone; None looks at words alone.

    Raises:
        BundleError: a head does not fit the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: GlotHead | AdaPool,
        classifier: NoiseClassifier | None = None,
        block_head: BlockGraphHead | None = None,
    ) -> None:
        if not isinstance(head, (GlotHead, AdaPool)):
            raise InputError(f"a denoiser needs a trained head that tells noise; got {type(head).__name__}")
        self._backbone = backbone
        self._head = freeze(head, backbone)
        self._classifier = classifier
        self._block_head = None if block_head is None else freeze_block_head(block_head, backbone)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "minilm",
        *,
        head: str | os.PathLike[str] | None = None,
        blocks: bool = False,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Denoiser:
        """Load a denoiser.

        Args:
            name: a backbone ("minilm", a hub id, a directory), or a directory that `save` wrote.
            head: directory of a trained head; None takes the one that ships for the backbone.
            blocks: drop whole lines and sentences first, by the block head that ships for the backbone: for web pages,
                manuals and mail with their line breaks. A directory that `save` wrote has its own choice.
            device: "cpu", "cuda", …; None chooses.
            dtype: "float32", "float16" or "bfloat16"; None chooses.

        Raises:
            ModelNotFoundError: no such backbone, or no trained head for it.
            BundleError: damaged or unfitting files.
            MissingExtraError: transformers or gguf is not installed.
            InputError: an argument that cannot be used.
        """
        if (Path(name) / "head.safetensors").is_file():
            if head is not None or blocks:
                raise InputError(f"{name} is a saved denoiser, which has its heads: leave head= and blocks= out")
            return cls._of(Path(name), load_fitted_head(name), device, dtype)
        found = find_head(os.fspath(name), "glot", head)
        assert found is not None
        loaded = load_fitted_head(found)
        backbone = Backbone.load(name, device=device, dtype=dtype)
        check_trained_over(loaded.details, found, backbone)
        block_head = shipped_block_head(os.fspath(name), backbone) if blocks else None
        return cls(backbone, loaded.head, loaded.classifier, block_head)

    @classmethod
    def _of(cls, path: Path, loaded: FittedHead, device: str | None, dtype: str | None) -> Denoiser:
        name = loaded.details.get("backbone")
        if not isinstance(name, str):
            raise BundleError(f"{path} does not say which backbone its head is for: use from_pretrained(name, head=)")
        backbone = Backbone.load(name, device=device, dtype=dtype, max_tokens=loaded.details.get("max_tokens"))
        check_trained_over(loaded.details, path, backbone)
        return cls(backbone, loaded.head, loaded.classifier, saved_block_head(path, backbone))

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
    def block_head(self) -> BlockGraphHead | None:
        """What drops whole blocks; None for a denoiser that looks at words alone."""
        return self._block_head

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
                "block_head": None if self._block_head is None else block_head_fingerprint(self._block_head),
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
        return Denoiser(self._backbone, head, self._classifier, self._block_head)

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
        """Write the heads, the noise classifier and the corpus statistics into a directory, for `from_pretrained`.

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
        save_fitted_head(self._head, self._classifier, directory, details, self._block_head)

    def __repr__(self) -> str:
        return f"Denoiser({self._backbone.source.name!r}, head={self._head.name!r}, fitted={self.fitted})"

    def _denoise(self, texts: Sequence[str], groups: Sequence[str] | None, batch_tokens: int | None) -> list[Denoised]:
        """First the block head, then the word head."""
        if self._block_head is None:
            return [self._keep(*each) for each in self._score(texts, groups, batch_tokens)]
        readable = [_readable(text) for text in texts]
        found = find_noisy_blocks(self._backbone, self._block_head, readable, batch_tokens)
        limit = self._block_head.config.noise_threshold
        without = [_without_blocks(text, each, limit) for text, each in zip(texts, found, strict=True)]
        # On real pages the word head, unfitted, takes content away from what the block head has left.
        rows = [row for row, each in enumerate(without) if self.fitted or each.text == texts[row]]
        names = None if groups is None else [groups[row] for row in rows]
        scored = self._score([without[row].text for row in rows], names, batch_tokens)
        for row, each in zip(rows, scored, strict=True):
            without[row] = _put_back(self._keep(*each), without[row], texts[row])
        return without

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
        readable = [_readable(text) for text in texts]
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


def _readable(text: str) -> str:
    """The text with surrogates replaced, one character for one: spans are those of the text that was given."""
    return _SURROGATE.sub("\ufffd", text)


def _without_blocks(text: str, found: NoisyBlocks, limit: float) -> Denoised:
    """The text without the blocks whose noise is above the limit; the least noisy one stays."""
    blocks = tuple(
        DenoisedBlock(text[start:end], start, end, float(noise))
        for (start, end), noise in zip(found.spans, found.noise, strict=True)
    )
    if not blocks:
        return Denoised(text, (), 1.0)
    kept = found.noise <= max(limit, float(found.noise.min()))
    spans = _runs(found.spans, kept)
    if kept.all():
        return Denoised(text, tuple(spans), 1.0, blocks)
    clean = _joined(text, spans)
    return Denoised(clean, tuple(spans), _share(clean, text), blocks)


def _share(clean: str, text: str) -> float:
    """The share of the words that was kept. Blocks may end within a word, of which then two can be left."""
    return min(1.0, len(_WORD.findall(clean)) / len(_WORD.findall(text)))


def _put_back(words: Denoised, blocks: Denoised, text: str) -> Denoised:
    """What the word head kept of a text that the block head had been through, with places in the document.

    Args:
        words: what the word head made of `blocks.text`.
        blocks: what the block head made of the document.
        text: the document.
    """
    if blocks.text == text:
        return replace(words, blocks=blocks.blocks)
    # Between the kept runs of the document stands one character in the clean text.
    begins = np.cumsum([0, *(end - start + 1 for start, end in blocks.spans[:-1])])
    spans = []
    for start, end in words.spans:
        first, last = (np.searchsorted(begins, [start, end - 1], side="right") - 1).tolist()
        for run in range(first, last + 1):
            origin, until = blocks.spans[run]
            moved = origin - int(begins[run])
            spans.append((max(start + moved, origin), min(end + moved, until)))
    return Denoised(words.text, tuple(spans), _share(words.text, text), blocks.blocks)


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
