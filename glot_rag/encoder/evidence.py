"""What a vector is made of, token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from glot_rag.denoise.denoiser import Denoised


@dataclass(frozen=True)
class TokenEvidence:
    """One token's part in a vector.

    Attributes:
        token: the token as the tokeniser writes it.
        span: its characters in the text, start and end; empty for special tokens and the prompt's.
        weight: its share of the vector, 0 to 1; all tokens' weights sum to 1.
        noise: the head's probability that it is noise; None for a pooling without trained scores.
    """

    token: str
    span: tuple[int, int]
    weight: float
    noise: float | None


@dataclass(frozen=True)
class Evidence:
    """What `GlotEncoder.explain` found.

    Attributes:
        text: the text.
        tokens: one entry a token that the encoder read, in order; what was denoised away has none.
        graph: (L, L) boolean, True where two tokens are joined; None for a pooling without a graph.
        denoised: what an encoder that denoises left of the text before reading it; None for the others.
    """

    text: str
    tokens: tuple[TokenEvidence, ...]
    graph: NDArray[np.bool_] | None
    denoised: Denoised | None = None


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
