"""Late chunking, against states that are pooled by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from glot_rag import TorchEncoder
from glot_rag.errors import InputError
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import TokenBatch

TEXT = "The wing was tested at low speed. Accept all cookies! The flow separates near the leading edge."
SPANS = [(0, 33), (34, 53), (54, len(TEXT))]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def states_of(backbone: Backbone, text: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    (tokenised,) = backbone.tokenizer.with_offsets([text])
    batch = TokenBatch(np.zeros(1, np.int64), np.array([tokenised.ids]), np.ones((1, len(tokenised.ids)), np.bool_))
    (states,), _ = backbone.hidden_states(batch)
    return states[0].numpy(), tokenised.spans


@pytest.fixture(scope="module")
def mean(minilm: Backbone) -> TorchEncoder:
    return TorchEncoder(minilm, BaselinePooling("mean", 384))


def test_mean_pooled_chunks_by_hand(mean: TorchEncoder) -> None:
    states, spans = states_of(mean.backbone, TEXT)
    chunks = [[i for i, (a, b) in enumerate(spans) if start <= a < b <= end] for start, end in SPANS]
    assert [len(chunk) for chunk in chunks] == [8, 4, 8]
    expected = unit(np.stack([states[chunk].mean(0) for chunk in chunks]))
    np.testing.assert_allclose(mean.encode_chunks(TEXT, SPANS), expected, atol=1e-6)


def test_a_prompt_is_seen_and_in_no_chunk(mean: TorchEncoder) -> None:
    prompted = TorchEncoder(mean.backbone, mean.pooling, document_prompt="passage: ")
    shifted = [(start + 9, end + 9) for start, end in SPANS]
    expected = mean.encode_chunks("passage: " + TEXT, shifted)
    np.testing.assert_allclose(prompted.encode_chunks(TEXT, SPANS), expected, atol=1e-6)


def test_a_chunk_of_several_windows_is_the_mean_over_all_its_tokens(minilm: Backbone, mean: TorchEncoder) -> None:
    words = (TEXT + " ") * 30
    windows = minilm.tokenizer.windows(words)
    assert len(windows) > 2
    best: dict[tuple[int, int], tuple[int, np.ndarray]] = {}  # token -> how far from its window's edge, its state
    for window in windows:
        batch = TokenBatch(np.zeros(1, np.int64), np.array([window.ids]), np.ones((1, len(window.ids)), np.bool_))
        (states,), _ = minilm.hidden_states(batch)
        real = [span for span in window.spans if span[1] > span[0]]
        for span, state in zip(window.spans, states[0].numpy(), strict=True):
            context = min(span[0] - real[0][0], real[-1][1] - span[1])
            if span[1] > span[0] and context >= best.get(span, (-1,))[0]:
                best[span] = (context, state)
    spans = [(0, len(words)), (0, 1000), (1000, len(words))]
    expected = unit(np.stack([np.mean([v for (_, e), (_, v) in best.items() if a < e <= b], axis=0) for a, b in spans]))
    # Which of two windows has the token in the very middle is a matter of taste.
    assert ((mean.encode_chunks(words, spans) * expected).sum(1) > 0.99999).all()


def test_long_texts_need_no_more_than_a_window(mean: TorchEncoder) -> None:
    long = " ".join(f"word{i % 97}" for i in range(4_000))
    spans = [(i * 1000, (i + 1) * 1000) for i in range(len(long) // 1000)]
    vectors = mean.encode_chunks(long, spans, batch_tokens=1024)
    assert vectors.shape == (len(spans), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("form", ["residual", "paper", "drop", "drop-some"])
def test_heads_read_the_chunks_own_tokens(
    minilm: Backbone, make_head: Callable[..., torch.nn.Module], form: str
) -> None:
    settings: dict[str, Any] = {"form": form}
    if form.startswith("drop"):
        settings = {"form": "drop", "layers": (2,), "mix_weight": 1.0 if form == "drop" else 0.4}
    encoder = TorchEncoder(minilm, make_head(**settings), document_prompt="a: ")
    alone = np.concatenate([encoder.encode_chunks(TEXT, [span]) for span in SPANS])
    together = encoder.encode_chunks(TEXT, SPANS)
    assert together.shape == (3, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    # What is in one chunk has no part in another's vector, except through the backbone.
    cosines = (alone * together).sum(1)
    assert (cosines > (0.9 if "drop" in form else 0.99999)).all()


def test_the_drop_form_keeps_something_of_every_chunk(
    minilm: Backbone, make_head: Callable[..., torch.nn.Module]
) -> None:
    head = make_head(form="drop", layers=(2,), min_keep_ratio=0.0)
    last = head.score_layer[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-5.0)  # everything is noise
    vectors = TorchEncoder(minilm, head).encode_chunks(TEXT, SPANS)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_spans_that_cannot_be_used(mean: TorchEncoder) -> None:
    for spans in ([(0, 10_000)], [(5, 5)], [(-1, 4)]):
        with pytest.raises(InputError, match="does not lie in a text of 95 characters"):
            mean.encode_chunks(TEXT, spans)
    with pytest.raises(InputError, match=r"chunk \(4, 7\) holds no token: '   '; leave such chunks out"):
        mean.encode_chunks("some   space", [(0, 4), (4, 7)])
    with pytest.raises(InputError, match=r"expected chunks as \(first character, end\), got \[1, 2\]"):
        mean.encode_chunks(TEXT, [1, 2])  # type: ignore[list-item]
    with pytest.raises(InputError, match="surrogate pairs"):
        mean.encode_chunks("a \ud83d\ude00 b", [(0, 2)])
    assert mean.encode_chunks(TEXT, []).shape == (0, 384)
