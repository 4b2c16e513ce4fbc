"""Denoiser: what is dropped, what is kept, what stands between, and what an encoder makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from glot_rag import TorchDenoiser, TorchEncoder
from glot_rag.denoise import denoiser as module
from glot_rag.denoise.denoised import WORD
from glot_rag.denoise.word_noise import NoisyWords
from glot_rag.encoder.together import encode_documents_together
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.head import BaselinePooling, GlotHead
from glot_rag.head.readout import keep_tokens
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED

MakeHead = Callable[..., GlotHead]
# A head that takes every word in capitals for noise, whatever the tokens.
TEXT = "HOME ABOUT\nThe  wing has\ta finite span. BUY NOW\n\n  It lies in a SALE slipstream.\r\nCONTACT"


@pytest.fixture
def head(make_head: MakeHead) -> GlotHead:
    return make_head(layers=(2,), form="drop", convolution="transformer", norm="layer", hidden_size=16, scale=2.0)


def denoising(minilm: Backbone, head: GlotHead) -> TorchEncoder:
    return TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384), denoiser=TorchDenoiser(minilm, head))


@pytest.fixture
def capitals(minilm: Backbone, head: GlotHead, monkeypatch: pytest.MonkeyPatch) -> TorchDenoiser:
    """A denoiser whose scores are -3 for words in capitals and 3 for all others."""

    def find(backbone: object, head: object, texts: list[str], *rest: object) -> list[NoisyWords]:
        words = [[match.span() for match in WORD.finditer(text)] for text in texts]
        noise = 1 / (1 + np.exp([3.0, -3.0]))  # of a word that is signal, of one that is noise
        return [
            NoisyWords(spans, np.array([noise[int(text[a:b].isupper())] for a, b in spans], np.float32))
            for text, spans in zip(texts, words, strict=True)
        ]

    monkeypatch.setattr(module, "find_noisy_words", find)
    return TorchDenoiser(minilm, head)


def test_what_stays_by_hand() -> None:
    logits = torch.tensor([[3.0, -1.0, 2.0, -2.0, -3.0], [-1.0, -2.0, -3.0, -4.0, 9.0], [1.0, 0.0, 2.0, 3.0, 4.0]])
    mask = torch.tensor([[True] * 5, [True] * 4 + [False], [True] * 5])

    def stays(least: float) -> list[list[bool]]:
        kept: list[list[bool]] = keep_tokens(logits, mask, least).tolist()
        return kept

    assert stays(0.5) == [
        [True, True, True, False, False],  # two are signal; three of five is the least
        [True, True, False, False, False],  # none is; the surest half
        [True] * 5,  # all are
    ]
    assert stays(0.0)[1] == [True, False, False, False, False]  # never nothing
    assert stays(1.0)[1] == [True] * 4 + [False]


def test_kept_words_keep_their_layout(capitals: TorchDenoiser) -> None:
    (denoised,) = capitals.denoise([TEXT])
    pieces = ["The  wing has\ta finite span.", "It lies in", "slipstream."]
    assert [TEXT[start:end] for start, end in denoised.spans] == [
        "The  wing has\ta finite span.",
        "It lies in a",  # "a" is no capital
        "slipstream.",
    ]
    # A line break was dropped before "It", none before "slipstream.".
    assert denoised.text == f"{pieces[0]}\nIt lies in a {pieces[2]}"
    assert denoised.kept == pytest.approx(11 / 17)


def test_blocks_are_the_lines_with_their_noise(capitals: TorchDenoiser) -> None:
    (denoised,) = capitals.denoise([TEXT])
    assert [block.text for block in denoised.blocks] == [
        "HOME ABOUT",
        "The  wing has\ta finite span. BUY NOW",
        "It lies in a SALE slipstream.",
        "CONTACT",
    ]
    assert all(TEXT[block.start : block.end] == block.text for block in denoised.blocks)
    noise, signal = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))
    expected = [noise, (6 * signal + 2 * noise) / 8, (5 * signal + noise) / 6, noise]
    assert [block.noise for block in denoised.blocks] == pytest.approx(expected)


def test_blocks_of_text_without_lines_are_its_sentences(capitals: TorchDenoiser) -> None:
    text = "The kettle boils. BUY NOW AND SAVE! 水が沸く。三分です。"
    (denoised,) = capitals.denoise([text])
    assert [block.text for block in denoised.blocks] == [
        "The kettle boils.",
        "BUY NOW AND SAVE!",
        "水が沸く。",
        "三分です。",
    ]
    noise, signal = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))
    assert [block.noise for block in denoised.blocks] == pytest.approx([signal, noise, signal, signal])


def test_spans_are_where_the_kept_words_stand(minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]) -> None:
    texts = [" \n".join(text.split()) + "  \n" for _, text in prose[:30]]
    kept_shares = []
    for text, denoised in zip(texts, TorchDenoiser(minilm, head).denoise(texts), strict=True):
        pieces = [text[start:end] for start, end in denoised.spans]
        assert "\n".join(pieces).split() == denoised.text.split()
        assert all(piece == piece.strip() for piece in pieces)
        assert denoised.kept == pytest.approx(len(denoised.text.split()) / len(text.split()))
        kept_shares.append(denoised.kept)
    assert 0.1 - 1e-9 <= min(kept_shares) < 0.7


def test_a_text_that_keeps_all_is_as_it_was(minilm: Backbone, make_head: MakeHead) -> None:
    head = make_head(layers=(2,), form="drop", min_keep_ratio=1.0)
    text = "  two   spaces\n\tand a tab "
    (denoised,) = TorchDenoiser(minilm, head).denoise([text])
    assert denoised.text == text
    assert denoised.spans == ((2, len(text) - 1),)
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    assert np.array_equal(denoising(minilm, head).encode_documents([text]), mean.encode_documents([text]))


@pytest.mark.parametrize("text", ["", "   ", "\0", "🙂 🙂", "\ud800 lone", "a" * 5000])
def test_odd_texts(text: str, minilm: Backbone, head: GlotHead) -> None:
    vectors = denoising(minilm, head).encode_documents([text, "another text"])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_spans_count_the_characters_that_were_given(capitals: TorchDenoiser, minilm: Backbone, head: GlotHead) -> None:
    """A surrogate pair is two characters of the text, though the tokeniser reads one."""
    text = "\ud83d\ude00 a kettle NOISE boils"
    (denoised,) = capitals.denoise([text])
    assert [text[start:end] for start, end in denoised.spans] == ["\ud83d\ude00 a kettle", "boils"]
    (scored,) = TorchDenoiser(minilm, head).denoise([text])
    assert scored.blocks[0].text == text


def test_the_whole_of_a_long_text_is_looked_at(
    minilm: Backbone, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far after the 256th token, marked words are kept when the head's scores say so."""

    def forward(self: GlotHead, states: Tensor, mask: Tensor, ids: Tensor | None = None) -> object:
        pooled = original(self, states, mask)
        return pooled._replace(logits=scores.pop(0))

    original = GlotHead.forward
    text = " ".join(["noise"] * 1200 + ["aerofoil"] * 40)
    windows = minilm.tokenizer.windows(text)
    assert len(windows) > 4
    is_signal = [
        torch.tensor([1.0 if start < end and text[start:end] != "noise" else -1.0 for start, end in window.spans])
        for window in windows
    ]
    rows = sorted(range(len(windows)), key=lambda row: -len(windows[row].ids))
    longest = max(len(each) for each in is_signal)
    padded = [torch.nn.functional.pad(is_signal[row], (0, longest - len(is_signal[row])), value=-1.0) for row in rows]
    scores = [torch.stack(padded)]
    monkeypatch.setattr(GlotHead, "forward", forward)
    head = make_head(layers=(2,), form="drop", hidden_size=16, min_keep_ratio=0.01)
    (denoised,) = TorchDenoiser(minilm, head).denoise([text])
    assert set(denoised.text.split()) == {"aerofoil"}
    assert len(denoised.text.split()) == 40


def test_a_text_does_not_depend_on_its_neighbours(
    minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]
) -> None:
    denoiser = TorchDenoiser(minilm, head)
    texts = [text for _, text in prose[:12]]
    together = denoiser.denoise(texts)
    assert [denoiser.denoise([text])[0].kept for text in texts] == pytest.approx([each.kept for each in together])


def test_denoised_and_plain_side_by_side(minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]) -> None:
    texts = [text for _, text in prose[:8]]
    plain = TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384))
    encoders = {"denoised": denoising(minilm, head), "plain": plain}
    together = encode_documents_together(encoders, texts)
    assert list(together) == ["denoised", "plain"]
    for name, encoder in encoders.items():
        assert np.allclose(together[name], encoder.encode_documents(texts), atol=1e-5)
    assert encoders["denoised"].fingerprint != plain.fingerprint
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    kept = [each.text for each in TorchDenoiser(minilm, head).denoise(texts)]
    assert np.allclose(together["denoised"], mean.encode_documents(kept), atol=1e-5)
    assert [each.text for each in plain.denoise(texts)] == kept


def test_any_embedder_can_have_its_documents_denoised(minilm: Backbone, head: GlotHead) -> None:
    """A fixed pooling has no scores of its own: `denoise=True` takes the shipped head's."""
    with pytest.raises(UnsupportedError, match=r"has no denoise\(\).*Denoiser.from_pretrained\(\), which serves any"):
        TorchEncoder(minilm, BaselinePooling("mean", 384)).denoise(["a"])
    with pytest.raises(InputError, match="needs a trained head that tells noise; got BaselinePooling"):
        TorchDenoiser(minilm, BaselinePooling("mean", 384))  # type: ignore[arg-type]
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    shipped = TorchDenoiser.from_pretrained("minilm", dtype="float32")
    noisy = "Home > News | Sign in Accept cookies Menu " * 3 + "The Danube flows through ten countries."
    with_shipped = mean.with_pooling("mean", denoise=True)
    assert "fit" in with_shipped.capabilities
    (clean,) = shipped.denoise([noisy])
    assert clean.kept < 1
    np.testing.assert_allclose(with_shipped.encode_documents([noisy]), mean.encode_documents([clean.text]), atol=1e-6)
    assert with_shipped.fingerprint == mean.with_pooling("mean", denoise=shipped).fingerprint


def test_a_saved_encoder_denoises_again(minilm: Backbone, head: GlotHead, tmp_path: Path) -> None:
    encoder = denoising(minilm, head)
    encoder.save(tmp_path / "saved")
    again = TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.denoiser is not None
    assert again.fingerprint == encoder.fingerprint
    assert TorchEncoder.from_pretrained(tmp_path / "saved", dtype="float32", denoise=False).denoiser is None
    # Another pooling is another encoder: nobody asked that one to denoise.
    mean = TorchEncoder.from_pretrained(tmp_path / "saved", pooling="mean", dtype="float32")
    assert mean.denoiser is None
    assert mean.fingerprint == TorchEncoder(minilm, BaselinePooling("mean", 384)).fingerprint
    # A denoiser with another head than the pooling's has a folder of its own.
    other = TorchEncoder(minilm, BaselinePooling("mean", 384), denoiser=TorchDenoiser(minilm, head))
    other.save(tmp_path / "other")
    loaded = TorchEncoder.from_pretrained(tmp_path / "other", dtype="float32")
    assert loaded.fingerprint == other.fingerprint
    assert loaded.denoiser is not None
    assert loaded.denoiser.backbone is loaded.backbone


def test_a_saved_denoiser(pages: list[str], tmp_path: Path) -> None:
    denoiser = TorchDenoiser.from_pretrained("minilm", dtype="float32")
    assert repr(denoiser) == "TorchDenoiser('minilm', heads='blocks+glot', fitted=False)"
    fitted = denoiser.fit(pages)
    assert fitted.fingerprint != denoiser.fingerprint
    fitted.save(tmp_path / "saved")
    again = TorchDenoiser.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == fitted.fingerprint
    assert again.fitted
    assert again.denoise(pages[:2]) == fitted.denoise(pages[:2])
    with pytest.raises(InputError, match="is a saved denoiser, which has its heads: leave head= out"):
        TorchDenoiser.from_pretrained(tmp_path / "saved", head=PRETRAINED / "minilm")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and not a saved denoiser"):
        denoiser.save(tmp_path / "full")


def test_a_denoiser_without_a_classifier_cannot_be_fitted(minilm: Backbone, head: GlotHead, pages: list[str]) -> None:
    with pytest.raises(
        UnsupportedError, match=r"no noise classifier and no block head that reads counts, one of which fit\(\) needs"
    ):
        TorchDenoiser(minilm, head).fit(pages)


def test_groups_are_one_for_each_text(minilm: Backbone, head: GlotHead) -> None:
    denoiser = TorchDenoiser(minilm, head)
    for wrong in (["a"], "ab", ["a", 1]):
        with pytest.raises(InputError, match=r"groups must name one group .* for each of the 2 texts"):
            denoiser.denoise(["one", "two"], wrong)  # type: ignore[arg-type]


def test_the_drop_form_is_the_mean_of_what_goes_on(minilm: Backbone, head: GlotHead) -> None:
    encoder = TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384))
    evidence = encoder.explain("a wing of finite span in a slipstream, and the lift that it has")
    weights = np.array([token.weight for token in evidence.tokens])
    assert weights.sum() == pytest.approx(1)
    assert len(set(weights.round(6)) - {0.0}) == 1
    assert (weights == 0).any()
    assert weights[0] > 0  # special tokens always stay
    assert weights[-1] > 0


def test_a_head_that_would_drop_after_the_last_layer_is_refused(minilm: Backbone, make_head: MakeHead) -> None:
    with pytest.raises(BundleError, match="'minilm' has none above 6: layers must lie below the last"):
        denoising(minilm, make_head(layers=(2, 6), form="drop"))
