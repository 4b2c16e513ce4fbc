"""What a vector is made of, token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    """`GlotEncoder.explain`'s answer.

    Attributes:
        text: the text, as it was tokenised.
        tokens: one entry a token, in order.
        graph: (L, L) boolean, True where two tokens are joined; None for a pooling without a graph.
    """

    text: str
    tokens: tuple[TokenEvidence, ...]
    graph: NDArray[np.bool_] | None
