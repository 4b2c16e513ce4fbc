"""What a vector is made of, token by token, and what was dropped before it was made. No torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glot_rag.documents.blocks import split_blocks

if TYPE_CHECKING:
    import os

    from glot_rag.denoise.block_evidence import BlockEvidence
    from glot_rag.denoise.denoised import Denoised
    from glot_rag.embedder import Vectors


@dataclass(frozen=True)
class TokenEvidence:
    """One token's part in a vector.

    Attributes:
        token: the token as the tokeniser writes it.
        span: its characters in the text, start and end; empty for special tokens and the prompt's.
        weight: its share of the vector, 0 to 1; all tokens' weights sum to 1.
        noise: the head's probability that it is noise; None for a pooling without trained scores.
        contribution: its part of the score, which may be negative; None where no query was given.
    """

    token: str
    span: tuple[int, int]
    weight: float
    noise: float | None
    contribution: float | None = None


class BestSpan(NamedTuple):
    """A line or sentence of a text, with its tokens' part of the score.

    Attributes:
        start: its first character.
        end: the character after its last one.
        score: the sum of its tokens' contributions.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class DroppedPart:
    """A block of the document, or a part of one, that was dropped before the text was read.

    Attributes:
        start: its first character.
        end: the character after its last one.
        noise: the noise probability of its block, 0 to 1.
        reason: why, in a few words.
    """

    start: int
    end: int
    noise: float
    reason: str


@dataclass(frozen=True)
class Evidence:
    """What `GlotEncoder.explain` found. A notebook shows it as a heat map over the text.

    Attributes:
        text: the text.
        tokens: one entry a token that the encoder read, in order; what was denoised away has none.
        graph: (L, L) boolean, True where two tokens are joined; None for a pooling without a graph.
        denoised: what an encoder that denoises left of the text before reading it; None for the others.
        query: what the text was held against; None for no query.
        score: the cosine of the query's and the document's vector; None for no query.
        dropped: what was denoised away, in order, and why.
        blocks: the graph of the text's lines and sentences; None without a block head.
    """

    text: str
    tokens: tuple[TokenEvidence, ...]
    graph: NDArray[np.bool_] | None
    denoised: Denoised | None = None
    query: str | None = None
    score: float | None = None
    dropped: tuple[DroppedPart, ...] = ()
    blocks: BlockEvidence | None = None

    @property
    def rest(self) -> float | None:
        """What special tokens and the prompt add to the score: the text's tokens' contributions + rest = score."""
        if self.query is None:
            return None
        return sum(each.contribution or 0.0 for each in self.tokens if each.span[0] == each.span[1])

    def best_spans(self, k: int = 3) -> list[BestSpan]:
        """The lines or sentences that add most to the score, best first; only such as add to it.

        Args:
            k: how many at most.

        Returns:
            None of them overlaps another. Empty where no query was given.
        """
        blocks = split_blocks(self.text)
        starts = [block.start for block in blocks]
        sums = [0.0] * len(blocks)
        for each in self.tokens:
            place = bisect_right(starts, each.span[1] - 1) - 1
            if each.contribution is not None and each.span[1] > each.span[0] and place >= 0:
                sums[place] += each.contribution
        best = sorted(range(len(blocks)), key=lambda number: -sums[number])[:k]
        return [BestSpan(blocks[n].start, blocks[n].end, sums[n]) for n in best if sums[n] > 0]

    def to_html(self, mean: Evidence | None = None) -> str:
        """A page of its own: no script from elsewhere, no font, no request.

        Args:
            mean: mean pooling's evidence for the same text and query, to stand beside this one.

        Raises:
            MissingExtraError: jinja2 is not installed.
        """
        from glot_rag.encoder.evidence_page import page

        return page(self, mean)

    def save_html(self, path: str | os.PathLike[str], mean: Evidence | None = None) -> None:
        """Write `to_html` into a file."""
        Path(path).write_text(self.to_html(mean), encoding="utf-8")

    def _repr_html_(self) -> str:
        from glot_rag.encoder.evidence_page import fragment

        return fragment(self)


class ReadTokens(NamedTuple):
    """The tokens of a text as an encoder read them: what its evidence is made from.

    Attributes:
        tokens: L of them, as the tokeniser writes them.
        spans: the characters of each in what was read, the prompt included.
        weights: (L,), the share of each in the vector.
        noise: (L,), the noise probability of each; None for a pooling without trained scores.
        parts: (L, D), what each adds to the vector before that is scaled to norm 1.
    """

    tokens: Sequence[str]
    spans: Sequence[tuple[int, int]]
    weights: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    parts: Vectors


def token_evidence(
    read: ReadTokens, place: Callable[[int, int], tuple[int, int]], query: Vectors | None
) -> tuple[tuple[TokenEvidence, ...], float | None]:
    """The evidence of each token, and the score.

    Args:
        read: the tokens.
        place: from (start, end) in what was read to (start, end) in the text (`character_places`).
        query: (D,), of norm 1; None for no query.
    """
    contributions: list[float | None] = [None] * len(read.tokens)
    score = None
    if query is not None:
        parts = read.parts.astype(np.float64)
        found = parts @ query.astype(np.float64) / max(float(np.linalg.norm(parts.sum(axis=0))), 1e-12)
        contributions, score = [*found.tolist()], float(found.sum())
    noise = [None] * len(read.tokens) if read.noise is None else read.noise.tolist()
    rows = zip(read.tokens, read.spans, read.weights.tolist(), noise, contributions, strict=True)
    return tuple(TokenEvidence(token, place(*span), *rest) for token, span, *rest in rows), score


def dropped_parts(text: str, denoised: Denoised, reasons: Sequence[str] = ()) -> tuple[DroppedPart, ...]:
    """What is not among the kept spans, block by block.

    Args:
        text: the document.
        denoised: what was left of it.
        reasons: why each of its blocks would be dropped; a part of a block is dropped for its words.
    """
    found = []
    ends = [end for _, end in denoised.spans]
    for number, block in enumerate(denoised.blocks):
        at = block.start
        kept = list(denoised.spans[bisect_right(ends, block.start) :])
        for start, end in [*kept, (block.end, block.end)]:
            until = min(start, block.end)
            if text[at:until].strip():
                whole = until - at == block.end - block.start
                reason = reasons[number] if whole and reasons else "its words score as noise"
                left = at + len(text[at:until]) - len(text[at:until].lstrip())
                found.append(DroppedPart(left, left + len(text[at:until].strip()), block.noise, reason))
            at = max(at, end)
            if at >= block.end:
                break
    return tuple(found)


def character_places(text: str, denoised: Denoised | None, prompt: int) -> Callable[[int, int], tuple[int, int]]:
    """Where characters of what the encoder read stand in the text.

    Args:
        text: the document.
        denoised: what was left of it; None if it was read as it is.
        prompt: the number of characters that were put before it.

    Returns:
        A function from (start, end) in what was read to (start, end) in the text; (0, 0) for the prompt's characters
        and for no characters.
    """
    places = list(range(len(text)))
    if denoised is not None and denoised.text != text:
        places = []
        for start, end in denoised.spans:
            # The character that joins two runs stands for the white space before the second one.
            places += [*([start - 1] if places else []), *range(start, end)]

    def place(start: int, end: int) -> tuple[int, int]:
        first, last = max(0, start - prompt), end - prompt - 1
        return (places[first], places[last] + 1) if first <= last else (0, 0)

    return place
