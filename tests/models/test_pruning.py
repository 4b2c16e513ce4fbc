"""The drop form's vector: what is kept, and, with a mix weight below 1, mean pooling's part in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from glot_rag.encoder.encoding import pool_batch
from glot_rag.encoder.together import encode_documents_together
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.head import AdaPool, BaselinePooling, GlotHead
from glot_rag.models.tokenizer import pack

if TYPE_CHECKING:
    from glot_rag.models.backbone import Backbone

MIX_WEIGHT = 0.4
MakeHead = Callable[..., GlotHead | AdaPool]


@pytest.fixture(scope="module", params=["glot", "adapool"])
def heads(request: pytest.FixtureRequest, make_head: MakeHead) -> dict[float, GlotHead | AdaPool]:
    """The same random parameters with mix weight 1 and with less."""
    settings = {"pooling": request.param, "form": "drop", "layers": (2,), "scale": 4.0}
    return {weight: make_head(seed=3, mix_weight=weight, **settings) for weight in (1.0, MIX_WEIGHT)}


@pytest.fixture(scope="module")
def encoders(minilm: Backbone, heads: dict[float, GlotHead | AdaPool]) -> dict[str, TorchEncoder]:
    mean = BaselinePooling("mean", 384)
    return {
        "mean": TorchEncoder(minilm, mean),
        "all": TorchEncoder(minilm, heads[1.0], query_pooling=mean),
        "some": TorchEncoder(minilm, heads[MIX_WEIGHT], query_pooling=mean),
    }


def test_the_vector_is_the_two_means_mixed(
    minilm: Backbone, heads: dict[float, GlotHead | AdaPool], encoders: dict[str, TorchEncoder], mixed_texts: list[str]
) -> None:
    texts = mixed_texts[:6]
    got = encoders["some"].encode_documents(texts)
    for batch in pack(minilm.tokenizer(texts), minilm.tokenizer.pad_id):
        with torch.inference_mode():
            kept = pool_batch(minilm, {"": heads[1.0]}, batch)[""].pooled.vector
            (states,), mask = minilm.hidden_states(batch)
        whole = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        expected = MIX_WEIGHT * kept + (1 - MIX_WEIGHT) * whole
        np.testing.assert_allclose(got[batch.rows], torch.nn.functional.normalize(expected), atol=1e-6)
    assert np.abs(got - encoders["all"].encode_documents(texts)).max() > 1e-3
    assert np.abs(got - encoders["mean"].encode_documents(texts)).max() > 1e-3
    np.testing.assert_array_equal(encoders["some"].encode_queries(texts), encoders["mean"].encode_queries(texts))


def test_alone_in_a_batch_and_beside_other_poolings(encoders: dict[str, TorchEncoder], mixed_texts: list[str]) -> None:
    texts = mixed_texts[::6]
    together = encode_documents_together(encoders, texts)
    for name, encoder in encoders.items():
        alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
        assert (alone * together[name]).sum(1).min() > 0.99999, name


def test_a_text_of_which_nothing_is_dropped_is_mean_pooled(
    minilm: Backbone, make_head: MakeHead, encoders: dict[str, TorchEncoder], mixed_texts: list[str]
) -> None:
    head = make_head(form="drop", layers=(2,), mix_weight=MIX_WEIGHT)
    with torch.no_grad():
        head.score_layer[-1].bias.fill_(1e4)  # everything is signal
    got = TorchEncoder(minilm, head).encode_documents(mixed_texts[:8])
    np.testing.assert_allclose(got, encoders["mean"].encode_documents(mixed_texts[:8]), atol=1e-6)


def test_weights_say_what_a_dropped_token_still_counts(
    encoders: dict[str, TorchEncoder], mixed_texts: list[str]
) -> None:
    text = max(mixed_texts, key=len)
    all_or_none = np.array([token.weight for token in encoders["all"].explain(text).tokens])
    weights = np.array([token.weight for token in encoders["some"].explain(text).tokens])
    dropped = all_or_none == 0
    assert 0 < dropped.sum() < len(weights)
    np.testing.assert_allclose(weights, MIX_WEIGHT * all_or_none + (1 - MIX_WEIGHT) / len(weights), rtol=1e-5)
    assert weights.sum() == pytest.approx(1)


def test_the_lower_layers_run_once(minilm: Backbone, encoders: dict[str, TorchEncoder], mixed_texts: list[str]) -> None:
    """Tokens are dropped after two layers: those above run over the whole texts and over what is kept."""
    calls: Counter[int] = Counter()
    handles = [
        layer.register_forward_hook(lambda *_, number=number: calls.update([number]))
        for number, layer in enumerate(minilm.model.encoder.layer)
    ]
    text = max(mixed_texts, key=len)
    encoders["some"].encode_documents([text])
    once_and_twice = dict(zip(range(6), (1, 1, 2, 2, 2, 2), strict=True))
    assert calls == once_and_twice
    encoders["some"].explain(text)
    assert calls == {number: 2 * count for number, count in once_and_twice.items()}
    encode_documents_together(encoders, [text])  # whole for all, and for each of two heads what that keeps
    assert calls == dict(zip(range(6), (3, 3, 7, 7, 7, 7), strict=True))
    for handle in handles:
        handle.remove()
