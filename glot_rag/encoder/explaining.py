"""One text -> evidence, whatever runs the model: how its windows are read comes from outside. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glot_rag.denoise.block_evidence import BlockEvidence, block_evidence
from glot_rag.denoise.denoiser import Denoiser
from glot_rag.documents.blocks import has_lines, split_blocks
from glot_rag.embedder import Vectors
from glot_rag.encoder.evidence import Evidence, ReadTokens, character_places, dropped_parts, token_evidence
from glot_rag.models.tokenizer import Tokenizer, check_texts

_SIMILARITY = 0.5  # of blocks that are joined; an exported block head does not say its own (`BlockGraphConfig`)


class ReadWindow(NamedTuple):
    """What the L tokens of one window gave.

    Attributes:
        weights: (L,), their shares of its vector.
        noise: (L,), their noise probabilities; None for a pooling without trained scores.
        parts: (L, O), what each adds to the vector before that is scaled to norm 1.
        graph: (L, L) boolean, which tokens are joined; None where there is no graph, or it is not known.
    """

    weights: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    parts: NDArray[np.float32]
    graph: NDArray[np.bool_] | None = None


class Explains(Protocol):
    """What is asked of an encoder."""

    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102
    @property
    def document_prompt(self) -> str: ...  # noqa: D102
    @property
    def denoiser(self) -> Denoiser | None: ...  # noqa: D102
    @property
    def whole(self) -> bool: ...  # noqa: D102
    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...  # noqa: D102


def explain(
    encoder: Explains,
    reader: Callable[[str], Callable[[Sequence[int]], ReadWindow]],
    text: str,
    query: str | None = None,
) -> Evidence:
    """See `GlotEncoder.explain`.

    Args:
        encoder: whose evidence it is.
        reader: what is left of the document -> what runs the model over the ids of one of its windows.
        text: the document.
        query: what it is held against.
    """
    (clean,) = check_texts([text])
    query_vector = None if query is None else encoder.encode_queries([query])[0]
    denoiser, prompt, tokenizer = encoder.denoiser, encoder.document_prompt, encoder.tokenizer
    denoised = None if denoiser is None else denoiser.denoise([clean])[0]
    left = clean if denoised is None else denoised.text
    read_text, read_window = prompt + left, reader(left)
    windows = tokenizer.in_full_with_offsets(read_text) if encoder.whole else tokenizer.with_offsets([read_text])
    found = [read_window(window.ids) for window in windows]
    # A document is the mean of its windows, each weighted by its tokens.
    shares = np.array([len(window.ids) for window in windows]) / sum(len(window.ids) for window in windows)
    read = ReadTokens(
        [token for window in windows for token in window.tokens],
        [span for window in windows for span in window.spans],
        np.concatenate([share * each.weights for share, each in zip(shares, found, strict=True)]),
        None if found[0].noise is None else np.concatenate([each.noise for each in found if each.noise is not None]),
        np.concatenate([share * each.parts for share, each in zip(shares, found, strict=True)]),
    )
    evidence, score = token_evidence(read, character_places(clean, denoised, len(prompt)), query_vector)
    blocks = _blocks(denoiser, clean)
    return Evidence(
        text=clean,
        tokens=evidence,
        graph=_graph(found),
        denoised=denoised,
        query=query,
        score=score,
        dropped=() if denoised is None else dropped_parts(clean, denoised, () if blocks is None else blocks.reasons),
        blocks=blocks,
    )


def _graph(windows: Sequence[ReadWindow]) -> NDArray[np.bool_] | None:
    """(L, L): tokens of different windows are not joined."""
    places = np.cumsum([0, *(len(each.weights) for each in windows)])
    graph = np.zeros((places[-1], places[-1]), np.bool_)
    for each, start, end in zip(windows, places[:-1], places[1:], strict=True):
        if each.graph is None:
            return None
        graph[start:end, start:end] = each.graph
    return graph


def _blocks(denoiser: Denoiser | None, text: str) -> BlockEvidence | None:
    if denoiser is None or denoiser.networks.blocks is None or not has_lines(text):
        return None
    reader, _, head = denoiser.networks
    assert head is not None
    counts = None if denoiser.recurrence is None else denoiser.recurrence.look_up(text, split_blocks(text)).features
    return block_evidence(
        reader,
        head,
        text,
        threshold=denoiser.block_threshold,
        similarity_threshold=getattr(getattr(head, "config", None), "block_threshold", _SIMILARITY),
        counts=counts,
    )
