"""`GlotPooling` and `GlotTransformer` against `TorchEncoder`, with real files and a real transformer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="these are tests of an integration")

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers_glot import GlotPooling, GlotTransformer, from_encoder, load
from sentence_transformers_glot.layer_states import LAYER_STATES

from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError, MissingExtraError, ModelNotFoundError, TrainingError
from glot_rag.head import BaselinePooling, save_head
from glot_rag.head.config import HeadConfig

if TYPE_CHECKING:
    from glot_rag.head import AdaPool, GlotHead
    from glot_rag.models.backbone import Backbone

FORMS: dict[str, dict[str, Any]] = {
    "residual": {"layers": (2, -1), "readout": "sigmoid"},
    "residual-one-layer": {"layers": (-1,)},
    "residual-no-last": {"layers": (0, 3)},
    "paper": {"form": "paper", "layers": (1, -1), "output_size": 64},
    "adapool": {"pooling": "adapool", "layers": (2, -1)},
    "drop": {"form": "drop", "layers": (0, 2), "scale": 4.0},
    "drop-some": {"form": "drop", "layers": (2,), "scale": 4.0, "mix_weight": 0.4},
}


@pytest.fixture(scope="module", params=list(FORMS))
def pair(
    request: pytest.FixtureRequest, minilm: Backbone, make_head: Callable[..., GlotHead | AdaPool]
) -> tuple[TorchEncoder, SentenceTransformer]:
    """An encoder with a random head, and what `from_encoder` makes of it."""
    head = make_head(seed=1, **FORMS[request.param])
    queries = BaselinePooling("mean", 384) if head.config.mean_queries else None
    encoder = TorchEncoder(minilm, head, query_pooling=queries)
    return encoder, from_encoder(encoder)


def test_vectors_are_the_encoders(
    pair: tuple[TorchEncoder, SentenceTransformer], mixed_texts: list[str], tmp_path: Path
) -> None:
    encoder, model = pair
    texts = [text[:400] for text in mixed_texts[::4]]
    documents, queries = encoder.encode_documents(texts), encoder.encode_queries(texts)
    if encoder.dimension == 384:  # the head has a say: mean pooling would not pass
        assert np.abs(documents - encoder.with_pooling("mean").encode_documents(texts)).max() > 0.01
    assert model.get_embedding_dimension() == encoder.dimension
    np.testing.assert_allclose(model.encode_document(texts, batch_size=4), documents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.encode_query(texts, batch_size=4), queries, rtol=0, atol=1e-5)
    model.save(str(tmp_path / "saved"))
    again = load(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(again.encode(texts), documents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(again.encode_query(texts), queries, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["mean", "max", "cls", "last"])
def test_baselines_become_stock_modules(minilm: Backbone, mixed_texts: list[str], name: str) -> None:
    encoder = TorchEncoder(minilm, BaselinePooling(name, 384))
    model = from_encoder(encoder)
    assert isinstance(model[1], Pooling)
    texts = mixed_texts[::5]
    np.testing.assert_allclose(model.encode(texts), encoder.encode_documents(texts), rtol=0, atol=1e-5)


def test_put_together_by_hand(by_hand: SentenceTransformer, encoder: TorchEncoder, mixed_texts: list[str]) -> None:
    assert_same_vectors(by_hand, encoder, mixed_texts[::4])


def test_the_head_that_ships(minilm_folder: Path, mixed_texts: list[str]) -> None:
    transformer = GlotTransformer.from_head(
        str(minilm_folder), "minilm", model_kwargs={"dtype": torch.float32}, max_seq_length=256
    )
    assert repr(transformer).startswith("GlotTransformer(")
    assert "'head': 'glot'" in repr(transformer)
    model = SentenceTransformer(modules=[transformer, Pooling(384, "mean"), Normalize()], device="cpu")
    assert_same_vectors(
        model, TorchEncoder.from_pretrained(denoise=False, device="cpu", dtype="float32"), mixed_texts[::4]
    )


def assert_same_vectors(model: SentenceTransformer, encoder: TorchEncoder, texts: list[str]) -> None:
    np.testing.assert_allclose(model.encode_document(texts), encoder.encode_documents(texts), rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.encode_query(texts), encoder.encode_queries(texts), rtol=0, atol=1e-5)


def test_several_processes(by_hand: SentenceTransformer, mixed_texts: list[str]) -> None:
    """For a head that pools after the transformer; test_fitted.py does the same for one inside it."""
    alone = by_hand.encode_document(mixed_texts[:6])  # what has been used can still be sent
    together = by_hand.encode_document(mixed_texts[:6], device=["cpu"], chunk_size=3)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["residual", "drop-some"])
def test_prompts(minilm: Backbone, make_head: Callable[..., GlotHead], form: str, tmp_path: Path) -> None:
    head = make_head(seed=1, **FORMS[form])
    encoder = TorchEncoder(
        minilm,
        head,
        query_pooling=BaselinePooling("mean", 384),
        query_prompt="query: ",
        document_prompt="passage: ",
    )
    texts = ["how fast is it?", "Boils a litre in two minutes."]
    from_encoder(encoder).save(str(tmp_path))
    model = load(tmp_path, device="cpu")
    np.testing.assert_allclose(model.encode_query(texts), encoder.encode_queries(texts), rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.encode_document(texts), encoder.encode_documents(texts), rtol=0, atol=1e-5)
    assert np.abs(model.encode(texts) - model.encode_document(texts)).max() > 1e-3


@pytest.mark.parametrize("form", ["residual", "drop"])
def test_bfloat16(
    minilm_folder: Path, make_head: Callable[..., GlotHead], mixed_texts: list[str], form: str, tmp_path: Path
) -> None:
    save_head(make_head(seed=1, **FORMS[form]), tmp_path / "head")
    encoder = TorchEncoder.from_pretrained(
        "minilm", head=tmp_path / "head", denoise=False, dtype="bfloat16", device="cpu"
    )
    model = from_encoder(encoder)
    before = {name: value.clone() for name, value in model.state_dict().items() if "_float32" in name}
    model = model.to(torch.float16).to(torch.bfloat16)
    after = {name: value for name, value in model.state_dict().items() if "_float32" in name}
    assert before
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert list(model[0].model.encoder.parameters())[-1].dtype == torch.bfloat16
    vectors = model.encode_document(mixed_texts[:10], convert_to_tensor=True)
    assert vectors.dtype == torch.float32
    expected = encoder.encode_documents(mixed_texts[:10])
    assert (vectors.numpy() * expected).sum(1).min() > 0.999
    queries = model.encode_query(mixed_texts[:10])
    assert (queries * encoder.encode_queries(mixed_texts[:10])).sum(1).min() > 0.999


def test_autocast_does_not_reach_the_graph(
    by_hand: SentenceTransformer, features_of: Callable[..., dict[str, Any]], mixed_texts: list[str]
) -> None:
    features = features_of(by_hand, mixed_texts[:6])
    expected = by_hand[1]({**features})["sentence_embedding"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = by_hand[1]({**features})["sentence_embedding"]
    assert torch.equal(got, expected)


def test_a_saved_pooling_is_a_head_directory(
    by_hand: SentenceTransformer, encoder: TorchEncoder, tmp_path: Path
) -> None:
    by_hand.save(str(tmp_path), safe_serialization=False)
    assert sorted(path.name for path in (tmp_path / "1_GlotPooling").iterdir()) == ["config.json", "head.safetensors"]
    texts = ["We use cookies. Boils a litre in two minutes."]
    for backbone in ("minilm", tmp_path):
        other = TorchEncoder.from_pretrained(
            backbone, head=tmp_path / "1_GlotPooling", denoise=False, device="cpu", dtype="float32"
        )
        np.testing.assert_allclose(other.encode_documents(texts), encoder.encode_documents(texts), rtol=0, atol=1e-5)


def test_two_models_over_one_transformer(minilm_folder: Path, mixed_texts: list[str]) -> None:
    transformer = Transformer(str(minilm_folder), model_kwargs={"dtype": torch.float32})
    poolings = [GlotPooling(HeadConfig(384, layers=layers)) for layers in [(0, -1), (6, 3)]]
    models = [SentenceTransformer(modules=[transformer, pooling], device="cpu") for pooling in poolings]
    models.append(copy.deepcopy(models[1]))
    transformer.model.config.output_hidden_states = True  # the oracle
    for model, layer in zip(models, (6, 3, 3), strict=True):  # fresh heads are mean pooling of their last layer
        features = model[0](model.preprocess(mixed_texts[:3]))
        states = model[0].model(features["input_ids"], features["attention_mask"], output_hidden_states=True)
        mask = features["attention_mask"][..., None]
        expected = (states.hidden_states[layer] * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(model[1](features)["sentence_embedding"], expected)


def test_loading(by_hand: SentenceTransformer, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    by_hand.save(str(saved))
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(saved))
    trusting = SentenceTransformer(str(saved), trust_remote_code=True, device="cpu")
    assert isinstance(trusting[1], GlotPooling)
    np.testing.assert_allclose(trusting.encode(["a b"]), by_hand.encode(["a b"]), rtol=0, atol=1e-6)
    half = load(saved, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    assert half[0].model.dtype == torch.bfloat16
    with pytest.raises(InputError, match="runs no code"):
        load(saved, trust_remote_code=True)

    entries = json.loads((saved / "modules.json").read_text())
    (saved / "evil.py").write_text("raise SystemExit('this ran')")
    (saved / "modules.json").write_text(json.dumps([*entries[:2], {**entries[2], "type": "evil.Module"}]))
    with pytest.raises(InputError, match=r"'evil\.Module', which is neither"):
        load(saved)
    (saved / "modules.json").write_text(json.dumps([{**entries[0], "path": "../elsewhere"}]))
    with pytest.raises(BundleError, match="leads out of the folder"):
        load(saved)
    (saved / "modules.json").write_text(json.dumps([{"name": "0"}]))
    with pytest.raises(BundleError, match="not a model that sentence-transformers saved"):
        load(saved)
    (saved / "modules.json").write_text(json.dumps(entries))
    weights = saved / "1_GlotPooling" / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BundleError, match="it is damaged"):
        load(saved)
    with pytest.raises(BundleError, match=r"modules\.json cannot be read"):
        load(tmp_path)


def test_what_does_not_fit_is_refused(
    minilm_folder: Path,
    minilm: Backbone,
    make_head: Callable[..., GlotHead],
    by_hand: SentenceTransformer,
    features_of: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(InputError, match="use GlotTransformer"):
        GlotPooling(HeadConfig(384, form="drop", layers=(2,)))
    with pytest.raises(InputError, match="use GlotPooling"):
        GlotTransformer(str(minilm_folder), head=HeadConfig(384))
    with pytest.raises(BundleError, match="must lie below the last of 6"):
        GlotTransformer(str(minilm_folder), head=HeadConfig(384, form="drop", layers=(-1,)))
    with pytest.raises(BundleError, match="width 100, the transformer gives 384"):
        GlotTransformer(str(minilm_folder), head=HeadConfig(100, form="drop", layers=(2,)))
    with pytest.raises(ModelNotFoundError, match="no trained glot head for 'nothing'"):
        GlotPooling.from_head("nothing")
    with pytest.raises(InputError, match="denoise=False"):
        from_encoder(TorchEncoder(minilm, make_head(), denoiser=TorchDenoiser(minilm, make_head())))
    with pytest.raises(InputError, match="queries are pooled by 'cls'"):
        from_encoder(TorchEncoder(minilm, make_head(), query_pooling=BaselinePooling("cls", 384)))

    features = features_of(by_hand, ["a b c"])
    narrow = GlotPooling(HeadConfig(100))
    with pytest.raises(BundleError, match="width 100, the transformer gives 384"):
        narrow({**features})
    deep = GlotPooling(HeadConfig(384, layers=(9, -1)))
    with pytest.raises(BundleError, match=r"reads layer 9; the transformer has 0 to 6"):
        SentenceTransformer(modules=[by_hand[0], deep], device="cpu")
    del features[LAYER_STATES]
    with pytest.raises(InputError, match=r"pooling\.on_model_ready\(model\)"):
        by_hand[1](features)
    dropping = GlotTransformer(str(minilm_folder), head=HeadConfig(384, form="drop", layers=(2,)))
    with pytest.raises(TrainingError, match="has no gradient"):
        dropping.train()(dropping.preprocess(["a b"]))


def test_the_drop_form_leaves_the_callers_mask(
    minilm_folder: Path, make_head: Callable[..., GlotHead], mixed_texts: list[str], tmp_path: Path
) -> None:
    save_head(make_head(seed=1, **FORMS["drop"]), tmp_path)
    module = GlotTransformer.from_head(str(minilm_folder), tmp_path).eval()
    features = module.preprocess(mixed_texts[:4])
    before = features["attention_mask"].clone()
    with torch.inference_mode():
        out = module(features)
    assert torch.equal(features["attention_mask"], before)
    assert (out["attention_mask"] <= before).all()
    assert out["attention_mask"].sum() < before.sum()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    import sentence_transformers_glot

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'glot-rag\[sentence-transformers\]'"):
        importlib.reload(sentence_transformers_glot)
