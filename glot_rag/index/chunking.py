"""Documents of files -> the chunks that an index stores: without noise, cut, with their places in the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from glot_rag.documents.chunks import TokenSpans, chunk_document
from glot_rag.documents.clean import CleanDocument
from glot_rag.documents.document import Document
from glot_rag.documents.groups import groups_of
from glot_rag.documents.loaders import LOADERS
from glot_rag.documents.loaders.text import load_code, load_text

if TYPE_CHECKING:
    from glot_rag.denoise.denoised import Denoised

# A chunk whose words are noise with this probability is left out: the denoiser keeps something of every document, even
# of a page of links. It has to be sure, as a document of a single chunk is gone with it.
MOSTLY_NOISE = 0.9
NEARLY_WHOLE = 0.1  # a file of which less is kept is named


class DropsNoise(Protocol):
    """A `Denoiser`, or what stands for one."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what is kept."""

    def denoise(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> list[Denoised]:
        """See `Denoiser.denoise`."""


@dataclass(frozen=True)
class ChunkOptions:
    """How documents become chunks: see `documents.chunks.chunk_document`.

    Args:
        max_tokens: Tokens that a chunk may have.
        overlap: Tokens that it repeats from the one before, at most.
        prefix: Embed the title and the headings above a chunk in front of it; they are not stored with its text.
        keep_noise: Store chunks that are mostly noise, too.
    """

    max_tokens: int
    overlap: int = 32
    prefix: bool = False
    keep_noise: bool = False


@dataclass
class NoiseReport:
    """What was dropped as noise.

    Attributes:
        words: Words that were read; white space separates them.
        words_dropped: Of them.
        blocks: Blocks (lines, sentences) that were read.
        blocks_dropped: Those of which nothing was kept.
        chunks_dropped: Chunks of what was kept that are mostly noise, and were left out.
        nearly_whole: Files of which hardly anything was kept, with the share.
    """

    words: int = 0
    words_dropped: int = 0
    blocks: int = 0
    blocks_dropped: int = 0
    chunks_dropped: int = 0
    nearly_whole: list[tuple[str, float]] = field(default_factory=list)

    def lines(self, most: int = 10) -> list[str]:
        """The report for people."""
        if not self.words:
            return []
        shown = [
            f"noise: {self.words_dropped:,} of {self.words:,} words ({self.words_dropped / self.words:.0%}) and "
            f"{self.blocks_dropped:,} of {self.blocks:,} blocks were dropped"
        ]
        if self.chunks_dropped:
            shown.append(f"{self.chunks_dropped:,} chunks are mostly noise and were left out; --keep-noise keeps them")
        if self.nearly_whole:
            shown.append(f"{len(self.nearly_whole):,} files were dropped nearly whole:")
            shown += [f"  {file}: {kept:.0%} of its words kept" for file, kept in self.nearly_whole[:most]]
            shown += [f"  … and {len(self.nearly_whole) - most:,} more"] * (len(self.nearly_whole) > most)
        return shown


class StoredChunk(NamedTuple):
    """A chunk as the index stores it (without its id and the file's hash), and the text that is embedded."""

    text: str
    metadata: dict[str, Any]
    embedded: str


class Chunker:
    """Makes chunks of documents.

    Args:
        token_spans: Tells where the tokens of a text stand: `GlotEncoder.token_spans`.
        options: How to cut.
        denoiser: Drops the noise first; None keeps all.
    """

    def __init__(self, token_spans: TokenSpans, options: ChunkOptions, denoiser: DropsNoise | None = None) -> None:
        self._token_spans = token_spans
        self.options = options
        self._denoiser = denoiser
        self.settings = f"{options} {'' if denoiser is None else denoiser.fingerprint}"

    def denoise(self, documents: Sequence[Document]) -> list[Denoised | None]:
        """What is kept of each document; None for all of it."""
        if self._denoiser is None:
            return [None] * len(documents)
        groups = groups_of([document.metadata for document in documents])
        return list(self._denoiser.denoise([document.text for document in documents], groups))

    def cut(
        self, document: Document, denoised: Denoised | None, file: str, noise: NoiseReport
    ) -> Iterator[StoredChunk]:
        """The chunks of a document.

        Args:
            document: Of a file.
            denoised: What is kept of it; None for all of it.
            file: Its path.
            noise: Counts what was dropped.
        """
        options = self.options
        clean, parts = CleanDocument.whole(document), None
        if denoised is not None:
            if denoised.text != document.text:
                clean = CleanDocument(document, denoised.spans)
            parts = _NoisyParts(denoised)
            _count(noise, document, denoised, parts)
        plain = document.id == file and LOADERS.get(PurePosixPath(file).suffix.lower()) in (load_text, load_code)
        text = document.text
        line, counted = 1, 0
        for chunk in chunk_document(
            clean.document,
            self._token_spans,
            max_tokens=options.max_tokens,
            overlap=options.overlap,
            prefix=options.prefix,
        ):
            start, end = clean.in_original(chunk.start, chunk.end)
            if parts is not None and not options.keep_noise and parts.expected(start, end) > MOSTLY_NOISE:
                noise.chunks_dropped += 1
                continue
            metadata = _metadata(document, file, start, end)
            metadata["headings"] = list(chunk.headings)
            if denoised is not None:
                metadata["kept"] = round(denoised.kept, 4)
            if plain:
                line += text.count("\n", counted, start) - text.count("\n", start, counted)
                counted = start
                metadata["lines"] = [line, line + text.count("\n", start, end)]
            yield StoredChunk(chunk.text, metadata, chunk.embedded)


def _metadata(document: Document, file: str, start: int, end: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {**document.metadata, "file": file, "start": start, "end": end}
    if document.id != document.source:
        metadata["document"] = document.id
    page_starts = metadata.pop("page_starts", None)
    if page_starts:
        metadata["page"] = bisect_right(page_starts, start)
    return metadata


def _count(noise: NoiseReport, document: Document, denoised: Denoised, parts: _NoisyParts) -> None:
    words = len(document.text.split())
    noise.words += words
    noise.words_dropped += words - round(words * denoised.kept)
    noise.blocks += len(denoised.blocks)
    noise.blocks_dropped += parts.dropped


class _NoisyParts:
    """How likely the kept parts of a document are noise."""

    def __init__(self, denoised: Denoised) -> None:
        spans = np.array(denoised.spans, np.int64).reshape(-1, 2)
        self._starts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
        self._ends = spans[:, 1]
        self._before = np.concatenate([[0], np.cumsum(lengths)])
        self._blocks = np.array([(block.start, block.end) for block in denoised.blocks], np.int64).reshape(-1, 2)
        kept = self._kept(self._blocks[:, 1]) - self._kept(self._blocks[:, 0])
        self.dropped = int((kept == 0).sum())
        # A block that has lost words was judged word by word: what is left of it is none.
        whole = kept == self._blocks[:, 1] - self._blocks[:, 0]
        self._noise = np.array([block.noise for block in denoised.blocks]) * whole

    def expected(self, start: int, end: int) -> float:
        """The share of the kept characters between two places that is noise, as the blocks' probabilities have it."""
        first = int(np.searchsorted(self._blocks[:, 1], start, side="right"))
        last = int(np.searchsorted(self._blocks[:, 0], end))
        edges = self._blocks[first:last].clip(start, end)
        kept = self._kept(edges[:, 1]) - self._kept(edges[:, 0])
        return float((self._noise[first:last] * kept).sum() / max(kept.sum(), 1))

    def _kept(self, places: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Kept characters before each place."""
        span = np.searchsorted(self._starts, places, side="right")
        inside = np.minimum(places, self._ends[span - 1]) - self._starts[span - 1] if len(self._ends) else 0
        return np.where(span > 0, self._before[span - 1] + inside, 0)
