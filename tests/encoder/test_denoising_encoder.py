"""What an encoder does by default with documents that have noisy lines, and with documents of any length."""

from __future__ import annotations

import numpy as np
import pytest

from glot_rag import TorchEncoder
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone

MENU = "Home\nNews\nSport\nLog in\nSubscribe\nSearch\n"
ARTICLE = (
    "The city council voted on Tuesday to rebuild the old stone bridge across the river after a long debate.\n"
    "Engineers had warned that the arches, which were built in 1871, could no longer carry heavy lorries.\n"
    "Work is to begin in spring and will take about two years, during which a ferry will run every ten minutes."
)
NOISE = "accept all cookies sign in share tweet subscribe newsletter privacy policy terms of use copyright login"
FLAT = ["A kettle boils a litre of water.", "Title\nIts text, in one line. And another sentence.", "", "word " * 400]


@pytest.fixture(scope="module")
def encoder() -> TorchEncoder:
    return TorchEncoder.from_pretrained("minilm", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def plain() -> TorchEncoder:
    return TorchEncoder.from_pretrained("minilm", dtype="float32", device="cpu", denoise=False)


def test_the_shipped_head_says_that_noisy_lines_go(encoder: TorchEncoder, plain: TorchEncoder) -> None:
    assert encoder.denoiser is not None
    assert encoder.denoiser.head is None
    assert plain.denoiser is None
    assert encoder.fingerprint != plain.fingerprint
    for pooling in ("mean", "adapool"):
        assert encoder.with_pooling(pooling).denoiser is None
    # Another pooling is another encoder: nobody asked that one to denoise.
    assert encoder.with_pooling("mean").with_pooling("glot").fingerprint == plain.fingerprint
    page, article = encoder.encode_documents([MENU + ARTICLE, ARTICLE])
    np.testing.assert_allclose(page, article, atol=1e-5)
    np.testing.assert_allclose(article, encoder.encode_queries([ARTICLE])[0], atol=1e-5)


def test_texts_without_lines_and_queries_come_out_as_without_a_denoiser(
    encoder: TorchEncoder, plain: TorchEncoder
) -> None:
    short = [*FLAT[:3], f"{ARTICLE.splitlines()[0]} {NOISE}"]
    np.testing.assert_array_equal(encoder.encode_documents(short), plain.encode_documents(short))
    np.testing.assert_array_equal(encoder.encode_queries([MENU, *FLAT]), plain.encode_queries([MENU, *FLAT]))


@pytest.mark.parametrize("denoise", [None, True])
def test_what_is_left_has_the_same_vector_without_the_denoiser(denoise: bool | None, minilm: Backbone) -> None:
    encoder = TorchEncoder.from_pretrained("minilm", dtype="float32", device="cpu", denoise=denoise)
    assert encoder.denoiser is not None
    texts = [MENU + ARTICLE, *FLAT, f"{ARTICLE.splitlines()[0]} {NOISE}"]
    clean = [each.text for each in encoder.denoiser.denoise(texts)]
    vectors = encoder.encode_documents(texts)
    np.testing.assert_allclose(vectors, encoder.without_denoiser().encode_documents(clean), atol=1e-5)
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384), whole=True)
    read_as_query = [0] if denoise is None else range(len(texts))  # with no words dropped, only what has lines
    for row in read_as_query:
        np.testing.assert_allclose(vectors[row], mean.encode_documents([clean[row]])[0], atol=1e-5)


def test_fitting_to_pages_leaves_the_word_head_alone(encoder: TorchEncoder) -> None:
    """It learns from texts without lines: what does not recur on a page is not signal for that."""
    pages = [MENU + ARTICLE.replace("Tuesday", f"day {number}") for number in range(60)]
    fitted = encoder.fit(pages)
    assert fitted.fitted
    assert fitted.denoiser is not None
    assert fitted.denoiser.recurrence is not None
    assert fitted.pooling.adjustment is None  # type: ignore[union-attr]
    flat = [f"{ARTICLE.splitlines()[number % 3]} {NOISE} {number}" for number in range(60)]
    adjusted = encoder.fit(flat)
    assert adjusted.pooling.adjustment is not None  # type: ignore[union-attr]


def test_one_vector_of_all_windows(minilm: Backbone) -> None:
    text = " ".join(f"word{number} and another" for number in range(200))
    whole = TorchEncoder(minilm, BaselinePooling("mean", 384), whole=True)
    cut = TorchEncoder(minilm, BaselinePooling("mean", 384))
    windows = minilm.tokenizer.in_full([text])[0]
    assert len(windows) > 2
    total = np.zeros(384)
    for ids in windows:
        for batch in minilm.pack([ids]):
            total += minilm.states(batch, (-1,))[0].sum(0)
    got = whole.encode_documents(["short", text])
    np.testing.assert_allclose(got[1], total / np.linalg.norm(total), atol=1e-5)
    np.testing.assert_allclose(got[0], cut.encode_documents(["short"])[0], atol=1e-6)
    assert got[1] @ cut.encode_documents([text])[0] < 0.9999
    assert whole.fingerprint != cut.fingerprint


def test_evidence_of_a_long_document_adds_up_to_its_vector(encoder: TorchEncoder) -> None:
    text = MENU + "\n".join(ARTICLE.replace("Tuesday", f"day {number}") for number in range(8))
    query = "When will the bridge be rebuilt?"
    evidence = encoder.explain(text, query)
    assert len(evidence.tokens) > encoder.max_tokens
    assert sum(token.weight for token in evidence.tokens) == pytest.approx(1, abs=1e-5)
    score = float(encoder.encode_documents([text])[0] @ encoder.encode_queries([query])[0])
    assert evidence.score == pytest.approx(score, abs=1e-5)
    assert evidence.graph is not None
    assert evidence.graph.shape == (len(evidence.tokens),) * 2
    for token in evidence.tokens:
        if token.span[1] > token.span[0]:
            assert text[slice(*token.span)].lower() == token.token.removeprefix("##")
