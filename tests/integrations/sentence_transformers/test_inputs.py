"""What a `Transformer` hands on in other ways than padded on the right: flattened, left padded, with a prompt."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="these are tests of an integration")

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers_glot import GlotPooling, GlotTransformer, load
from sentence_transformers_glot.layer_states import LAYER_STATES
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig, LlamaModel

from glot_rag.errors import InputError, UnsupportedError
from glot_rag.head import save_head
from glot_rag.head.config import HeadConfig

if TYPE_CHECKING:
    from glot_rag.head import GlotHead

Features = Callable[..., dict[str, Any]]
PROMPT = "Represent this passage for a search: "


def test_flattened_left_padded_and_without_a_mask(
    by_hand: SentenceTransformer, features_of: Features, mixed_texts: list[str]
) -> None:
    features = features_of(by_hand, mixed_texts[:6])
    mask = features["attention_mask"].bool()
    lengths = mask.sum(1)
    pooling: GlotPooling = by_hand[1]
    expected = pooling({**features})["sentence_embedding"]

    # As FlashAttention's path leaves them.
    flat = {
        "input_ids": features["input_ids"][mask][None],
        "token_embeddings": features["token_embeddings"][mask][None],
        LAYER_STATES: {n: layer[mask][None] for n, layer in features[LAYER_STATES].items()},
        "cu_seq_lens_q": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
    }
    out = pooling({**flat})
    torch.testing.assert_close(out["sentence_embedding"], expected, rtol=0, atol=1e-5)
    assert out["token_embeddings"] is flat["token_embeddings"]  # left as they were, as Pooling does

    def to_the_right(tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack([row.roll(len(row) - int(n), 0) for row, n in zip(tensor, lengths, strict=True)])

    left = {
        "attention_mask": to_the_right(features["attention_mask"]),
        "token_embeddings": to_the_right(features["token_embeddings"]),
        LAYER_STATES: {n: to_the_right(layer) for n, layer in features[LAYER_STATES].items()},
    }
    before = left["attention_mask"].clone()
    assert not before[:, 0].all()
    torch.testing.assert_close(pooling({**left})["sentence_embedding"], expected, rtol=0, atol=1e-5)
    assert torch.equal(left["attention_mask"], before)

    for row, length in enumerate(lengths.tolist()):
        alone = {
            "token_embeddings": features["token_embeddings"][row : row + 1, :length],
            LAYER_STATES: {n: layer[row : row + 1, :length] for n, layer in features[LAYER_STATES].items()},
        }
        torch.testing.assert_close(pooling(alone)["sentence_embedding"], expected[row : row + 1], rtol=0, atol=1e-5)


def test_left_padding_by_the_tokeniser(by_hand: SentenceTransformer, mixed_texts: list[str]) -> None:
    # BERT counts positions from the left, so its states differ; the module has to follow the mask all the same.
    model = copy.deepcopy(by_hand)
    model[0].tokenizer.padding_side = "left"
    features = model[0](model.preprocess(mixed_texts[:4]))
    real = features["attention_mask"].bool()
    assert not real[:, 0].all()
    expected = model[1].head(torch.cat([features[LAYER_STATES][2], features["token_embeddings"]], -1), real)
    torch.testing.assert_close(model[1](features)["sentence_embedding"], expected.vector)


# -- flattened, through the whole of sentence-transformers


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What FlashAttention computes of flattened texts, (1, H, ΣL, D), each for itself; it runs without a GPU."""
    parts = [
        scaled_dot_product_attention(*(each[:, :, start:end] for each in (query, key, value)), scale=scaling)
        for start, end in pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


@pytest.fixture
def flattening(minilm_folder: Path, head_folder: Path, monkeypatch: pytest.MonkeyPatch) -> SentenceTransformer:
    """A model that sentence-transformers takes for one with FlashAttention."""
    AttentionInterface.register("packed", packed_attention)
    monkeypatch.setattr(Transformer, "_is_flash_attention_requested", lambda self: True)
    monkeypatch.setattr(
        "transformers.modeling_flash_attention_utils.lazy_import_flash_attention",
        lambda *arguments, **named: ((None, packed_attention), None),
    )
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "packed"}
    transformer = Transformer(str(minilm_folder), model_kwargs=options, max_seq_length=256)
    assert transformer.can_flatten_inputs
    return SentenceTransformer(modules=[transformer, GlotPooling.from_head(head_folder), Normalize()], device="cpu")


def test_flattened_by_sentence_transformers(
    flattening: SentenceTransformer, by_hand: SentenceTransformer, features_of: Features, mixed_texts: list[str]
) -> None:
    texts = mixed_texts[:8]
    features = features_of(flattening, texts)
    assert features["token_embeddings"].shape[:2] == (1, int(features["cu_seq_lens_q"][-1]))
    assert "attention_mask" not in features
    np.testing.assert_allclose(flattening.encode_document(texts), by_hand.encode_document(texts), rtol=0, atol=1e-5)
    np.testing.assert_allclose(flattening.encode_query(texts), by_hand.encode_query(texts), rtol=0, atol=1e-5)
    # Without the prompt, too.
    expected = copy.deepcopy(by_hand)
    for model in (flattening, expected):
        model[1].include_prompt = False
    np.testing.assert_allclose(
        flattening.encode_document(texts, prompt=PROMPT),
        expected.encode_document(texts, prompt=PROMPT),
        rtol=0,
        atol=1e-5,
    )


def test_the_drop_form_refuses_attention_without_a_mask(flattening: SentenceTransformer, minilm_folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="attention is 'packed', which takes no mask over pairs of tokens"):
        GlotTransformer(
            str(minilm_folder),
            head=HeadConfig(384, form="drop", layers=(2,)),
            model_kwargs={"attn_implementation": "packed"},
        )


# -- a decoder, padded on the left


@pytest.fixture(scope="module")
def decoder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one with random weights: rotary positions, so that padding on the left does not change its states."""
    folder = tmp_path_factory.mktemp("decoder")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (minilm_folder / name).is_file():
            (folder / name).write_bytes((minilm_folder / name).read_bytes())
    torch.manual_seed(0)
    LlamaModel(
        LlamaConfig(
            vocab_size=30522,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            initializer_range=0.2,
            pad_token_id=0,
        )
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", ["residual", "drop", "drop-some"])
def test_a_decoder_padded_on_the_left(
    decoder: Path, make_head: Callable[..., GlotHead], mixed_texts: list[str], form: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"state_size": 32, "seed": 1, "scale": 4.0}
    if form == "residual":
        save_head(make_head(layers=(1, -1), **settings), tmp_path)
    else:
        mix_weight = 1.0 if form == "drop" else 0.4
        save_head(make_head(layers=(1,), form="drop", mix_weight=mix_weight, **settings), tmp_path)
    options: dict[str, Any] = {"model_kwargs": {"dtype": torch.float32}, "max_seq_length": 64}
    modules = (
        [Transformer(str(decoder), **options), GlotPooling.from_head(tmp_path)]
        if form == "residual"
        else [GlotTransformer.from_head(str(decoder), tmp_path, **options), Pooling(32, "mean")]
    )
    model = SentenceTransformer(modules=[*modules, Normalize()], device="cpu")
    model[0].tokenizer.padding_side = "left"
    texts = mixed_texts[:8]
    assert not model.preprocess(texts)["attention_mask"][:, 0].all()
    for encode in (model.encode_document, model.encode_query):
        alone = np.stack([encode(text) for text in texts])
        np.testing.assert_allclose(encode(texts), alone, rtol=0, atol=1e-5)
    assert np.abs(model.encode_document(texts) - model.encode_query(texts)).max() > 0.01  # the head has a say


# -- prompts


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_prompt_can_be_left_out_of_pooling(
    by_hand: SentenceTransformer,
    head_folder: Path,
    features_of: Features,
    mixed_texts: list[str],
    side: str,
    tmp_path: Path,
) -> None:
    pooling = GlotPooling.from_head(head_folder, include_prompt=False)
    model = SentenceTransformer(modules=[copy.deepcopy(by_hand[0]), pooling], device="cpu")
    model[0].tokenizer.padding_side = side
    features = features_of(model, mixed_texts[:6], prompt=PROMPT)
    length = features["prompt_length"]
    assert length == 8  # [CLS] and seven word pieces
    got = pooling({**features})["sentence_embedding"]
    for row, mask in enumerate(features["attention_mask"].bool()):
        alone = {
            "token_embeddings": features["token_embeddings"][row : row + 1, mask][:, length:],
            LAYER_STATES: {n: layer[row : row + 1, mask][:, length:] for n, layer in features[LAYER_STATES].items()},
        }
        expected = pooling(alone)["sentence_embedding"]
        torch.testing.assert_close(got[row : row + 1], expected, rtol=0, atol=1e-5)
    # As a trainer's collator has it.
    as_tensor = pooling({**features, "prompt_length": torch.tensor([length])})["sentence_embedding"]
    assert torch.equal(as_tensor, got)
    # Queries are pooled as by sentence-transformers' own module.
    stock = Pooling(384, "mean", include_prompt=False)({**features})["sentence_embedding"]
    torch.testing.assert_close(pooling({**features}, task="query")["sentence_embedding"], stock, rtol=0, atol=1e-5)
    pooling.include_prompt = True
    assert (pooling({**features})["sentence_embedding"] - got).abs().max() > 1e-3
    pooling.include_prompt = False
    model.save(str(tmp_path / "saved"))
    assert load(tmp_path / "saved", device="cpu")[1].include_prompt is False


def test_the_drop_form_cannot_leave_a_prompt_out(minilm_folder: Path) -> None:
    transformer = GlotTransformer.from_head(str(minilm_folder), "minilm", model_kwargs={"dtype": torch.float32})
    model = SentenceTransformer(modules=[transformer, Pooling(384, "mean")], device="cpu")
    text = "Boils a litre in two minutes."
    model.encode_document(text, prompt=PROMPT)
    model.set_pooling_include_prompt(False)
    model.encode_document(text)
    with pytest.raises(InputError, match="include_prompt=False cannot follow a head in the drop form"):
        model.encode_document(text, prompt=PROMPT)
    # None of a query's tokens is dropped.
    plain = Transformer(str(minilm_folder), model_kwargs={"dtype": torch.float32})
    stock = SentenceTransformer(modules=[plain, Pooling(384, "mean", include_prompt=False)], device="cpu")
    query = model.encode_query(text, prompt=PROMPT)
    np.testing.assert_allclose(query, stock.encode_query(text, prompt=PROMPT), rtol=0, atol=1e-5)
