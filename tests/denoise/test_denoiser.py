"""Prune: what is dropped, what is kept, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from glot_rag.denoise.denoiser import denoise_texts
from glot_rag.encoder.together import encode_documents_together
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError
from glot_rag.head import BaselinePooling, GlotHead
from glot_rag.head.readout import keep_tokens
from glot_rag.models.backbone import Backbone

MakeHead = Callable[..., GlotHead]


@pytest.fixture
def head(make_head: MakeHead) -> GlotHead:
    return make_head(layers=(2,), form="drop", convolution="transformer", norm="layer", hidden_size=16, scale=2.0)


def pruning(minilm: Backbone, head: GlotHead) -> TorchEncoder:
    return TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384), prune=True)


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


def test_spans_are_where_the_kept_words_stand(minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]) -> None:
    texts = [" \n".join(text.split()) + "  \n" for _, text in prose[:30]]
    kept_shares = []
    for text, denoised in zip(texts, denoise_texts(minilm, head, texts), strict=True):
        pieces = [text[start:end] for start, end in denoised.spans]
        assert " ".join(pieces).split() == denoised.text.split()
        assert all(piece == piece.strip() for piece in pieces)
        assert denoised.kept == pytest.approx(len(denoised.text.split()) / len(text.split()))
        assert denoised.kept >= 0.1 - 1e-9
        kept_shares.append(denoised.kept)
    assert min(kept_shares) < 0.7


def test_a_text_that_keeps_all_is_as_it_was(minilm: Backbone, make_head: MakeHead) -> None:
    head = make_head(layers=(2,), form="drop", min_keep_ratio=1.0)
    text = "  two   spaces\n\tand a tab "
    (denoised,) = denoise_texts(minilm, head, [text])
    assert denoised.text == text
    assert denoised.spans == ((2, len(text) - 1),)
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    assert np.array_equal(pruning(minilm, head).encode_documents([text]), mean.encode_documents([text]))


@pytest.mark.parametrize("text", ["", "   ", "\0", "🙂 🙂", "\ud800 lone", "a" * 5000])
def test_odd_texts(text: str, minilm: Backbone, head: GlotHead) -> None:
    vectors = pruning(minilm, head).encode_documents([text, "another text"])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_the_whole_of_a_long_text_is_looked_at(
    minilm: Backbone, head: GlotHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far after the 256th token, marked words are kept when the head's scores say so."""

    def forward(self: GlotHead, states: Tensor, mask: Tensor, ids: Tensor) -> object:
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
    object.__setattr__(head.config, "min_keep_ratio", 0.01)
    (denoised,) = denoise_texts(minilm, head, [text])
    assert set(denoised.text.split()) == {"aerofoil"}
    assert len(denoised.text.split()) == 40


def test_a_text_does_not_depend_on_its_neighbours(
    minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]
) -> None:
    texts = [text for _, text in prose[:12]]
    together = denoise_texts(minilm, head, texts)
    assert [denoise_texts(minilm, head, [text])[0].kept for text in texts] == pytest.approx([d.kept for d in together])


def test_pruned_and_unpruned_side_by_side(minilm: Backbone, head: GlotHead, prose: list[tuple[str, str]]) -> None:
    texts = [text for _, text in prose[:8]]
    plain = TorchEncoder(minilm, head, query_pooling=BaselinePooling("mean", 384))
    encoders = {"pruned": pruning(minilm, head), "plain": plain}
    together = encode_documents_together(encoders, texts)
    assert list(together) == ["pruned", "plain"]
    for name, encoder in encoders.items():
        assert np.allclose(together[name], encoder.encode_documents(texts), atol=1e-5)
    assert encoders["pruned"].fingerprint != plain.fingerprint
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    kept = [each.text for each in denoise_texts(minilm, head, texts)]
    assert np.allclose(together["pruned"], mean.encode_documents(kept), atol=1e-5)
    assert plain.denoise(texts[0]).text == kept[0]


def test_only_a_trained_pooling_can_prune(minilm: Backbone) -> None:
    with pytest.raises(InputError, match="needs a trained head"):
        TorchEncoder(minilm, BaselinePooling("mean", 384), prune=True)
    with pytest.raises(InputError, match="'mean' is not trained"):
        TorchEncoder(minilm, BaselinePooling("mean", 384)).denoise("a")


def test_a_saved_encoder_prunes_again(minilm: Backbone, head: GlotHead, tmp_path: object) -> None:
    encoder = pruning(minilm, head)
    encoder.save(f"{tmp_path}/saved")
    again = TorchEncoder.from_pretrained(f"{tmp_path}/saved", dtype="float32")
    assert again.prune
    assert again.fingerprint == encoder.fingerprint
    assert not TorchEncoder.from_pretrained(f"{tmp_path}/saved", dtype="float32", prune=False).prune


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
        pruning(minilm, make_head(layers=(2, 6), form="drop"))
