"""How documents are read once their noise is dropped, whatever runs the model. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from glot_rag.denoise.denoiser import Denoiser
from glot_rag.documents.blocks import has_lines
from glot_rag.embedder import Vectors
from glot_rag.models.tokenizer import check_texts


def is_read_as_query(text: str, *, whole: bool, words_dropped: bool) -> bool:
    """Whether the queries' pooling reads what is left of a document: there is no noise left to find.

    So it is for texts with lines, and for all where single words were dropped. Else the documents' pooling reads.

    Args:
        text: what is left.
        whole: whether the encoder reads what a denoiser leaves.
        words_dropped: whether the denoiser drops single words from texts without lines.
    """
    return whole and (words_dropped or has_lines(text))


def encode_left(
    denoiser: Denoiser | None,
    texts: Sequence[str],
    as_query: Callable[[str], bool],
    encode: Callable[[list[str], bool], Vectors],
    *,
    show_progress: bool = False,
    batch_tokens: int | None = None,
) -> Vectors:
    """Denoise documents, and embed what is left of each by the pooling that reads it.

    Args:
        denoiser: None takes the documents as they are.
        texts: N strings.
        as_query: whether the queries' pooling reads what is left of a document.
        encode: embeds texts, with the queries' pooling where its second argument is True, else with the documents'.
        show_progress: draw a progress bar on stderr while denoising.
        batch_tokens: tokens a batch of the denoiser may hold; None chooses.

    Returns:
        (N, D) float32, in the order of the documents.

    Raises:
        InputError: not a list of strings.
    """
    left = texts
    if denoiser is not None:
        denoised = denoiser.denoise(texts, show_progress=show_progress, batch_tokens=batch_tokens)
        left = [each.text for each in denoised]
    ways = np.array([as_query(text) for text in check_texts(left)], np.bool_)
    rows = {way: np.flatnonzero(ways == way) for way in sorted(set(ways.tolist())) or [False]}
    parts = {way: encode([left[row] for row in chosen.tolist()], way) for way, chosen in rows.items()}
    vectors = np.zeros((len(left), next(iter(parts.values())).shape[1]), np.float32)
    for way, chosen in rows.items():
        vectors[chosen] = parts[way]
    return vectors
