"""Any sentence-transformers model: prompts, pooling and length as its files say, the same vectors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from glot_rag import GlotEncoder
from glot_rag.errors import BundleError, InputError, ModelNotFoundError, UnsupportedError

pytest.importorskip("sentence_transformers", reason="the oracle")

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

TEXTS = ["The kettle", "switches itself off", "Mañana in ZÜRICH, or later " * 9, ""]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
KINDS = {
    "bert": SIZES,
    "mpnet": SIZES,
    "xlm-roberta": SIZES,
    "modernbert": {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 2},
    "qwen3": {**SIZES, "num_key_value_heads": 2, "head_dim": 8},
}
Make = Callable[..., SentenceTransformer]


@pytest.fixture(scope="module")
def bare(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random transformer of a kind, with MiniLM's tokeniser."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
            tokenizer.model_max_length = 64
            tokenizer.save_pretrained(made[kind])
            config = AutoConfig.for_model(
                kind,
                vocab_size=len(tokenizer),
                pad_token_id=0,
                bos_token_id=101,
                eos_token_id=102,
                cls_token_id=101,
                sep_token_id=102,
                max_position_embeddings=66,
                **KINDS[kind],
            )
            torch.manual_seed(0)
            model = AutoModel.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            model.save_pretrained(made[kind])
        return made[kind]

    return make


@pytest.fixture
def make(bare: Callable[[str], Path]) -> Make:
    """A `SentenceTransformer` over it."""

    def make_model(kind: str, mode: Any, *more: Any, **settings: Any) -> SentenceTransformer:
        modules = [Transformer(str(bare(kind)), max_seq_length=40), Pooling(32, mode), *more]
        return SentenceTransformer(modules=modules, device="cpu", **settings)

    return make_model


def saved(model: SentenceTransformer, path: Path) -> Path:
    model.save(str(path))
    return path


def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def check(folder: Path, model: SentenceTransformer, **settings: Any) -> GlotEncoder:
    encoder = GlotEncoder.from_pretrained(folder, device="cpu", dtype="float32", **settings)
    for ours, theirs in (
        (encoder.encode_queries, model.encode_query),
        (encoder.encode_documents, model.encode_document),
    ):
        np.testing.assert_allclose(ours(TEXTS), unit(theirs(TEXTS)), atol=1e-5)
    return encoder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken"])
def test_the_vectors_of_any_model(kind: str, mode: str, make: Make, tmp_path: Path) -> None:
    more = [Normalize()] if mode == "cls" else []
    model = make(kind, mode, *more, prompts={"query": "search: ", "passage": "text: ", "document": "text: "})
    encoder = check(saved(model, tmp_path), model)
    assert (encoder.query_prompt, encoder.document_prompt) == ("search: ", "text: ")
    assert encoder.pooling.name == {"lasttoken": "last"}.get(mode, mode)


def test_vectors_are_cut_where_the_model_or_the_user_says_so(make: Make, tmp_path: Path) -> None:
    model = make("bert", "mean", Normalize(), truncate_dim=8)
    encoder = check(saved(model, tmp_path), model, pooling="mean")
    assert encoder.dimension == 8
    model.truncate_dim = 16
    longer = check(tmp_path, model, dimensions=16)
    assert longer.dimension == longer.with_pooling("cls").dimension == 16
    assert longer.fingerprint != encoder.fingerprint
    longer.save(tmp_path / "saved")
    assert check(tmp_path / "saved", model).fingerprint == longer.fingerprint
    chunks = (TEXTS[1], [(0, 8), (9, 19)])
    whole = GlotEncoder.from_pretrained(tmp_path, dimensions=32, dtype="float32").encode_chunks(*chunks)
    np.testing.assert_allclose(longer.encode_chunks(*chunks), unit(whole[:, :16]), atol=1e-6)
    with pytest.raises(InputError, match="dimensions must be from 1 to 32, the width of the states; got 33"):
        GlotEncoder.from_pretrained(tmp_path, dimensions=33)
    with pytest.raises(InputError, match="dimensions= goes with a pooling without parameters; got 8 for 'glot'"):
        GlotEncoder.from_pretrained("minilm", dimensions=8)


def test_a_prompt_that_is_the_default_and_one_that_the_user_gives(make: Make, tmp_path: Path) -> None:
    model = make("bert", "mean", prompts={"similarity": "like: "}, default_prompt_name="similarity")
    folder = saved(model, tmp_path)
    record = json.loads((folder / "config_sentence_transformers.json").read_text())
    record["prompts"] = {"similarity": "like: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(record))
    encoder = GlotEncoder.from_pretrained(folder, document_prompt="")
    assert (encoder.query_prompt, encoder.document_prompt) == ("like: ", "")


def test_a_cased_tokeniser_for_a_model_of_lower_case(make: Make, tmp_path: Path) -> None:
    model = make("bert", "mean")
    folder = saved(model, tmp_path)
    record = json.loads((folder / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(record))
    record = json.loads((folder / "tokenizer.json").read_text())
    record["normalizer"] |= {"lowercase": False, "strip_accents": False}
    (folder / "tokenizer.json").write_text(json.dumps(record))
    cased = GlotEncoder.from_pretrained(folder, dtype="float32")
    settings = folder / "sentence_bert_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "do_lower_case": True}))
    lower = GlotEncoder.from_pretrained(folder, dtype="float32")
    np.testing.assert_array_equal(lower.encode_queries(["KETTLE"]), cased.encode_queries(["kettle"]))
    assert abs(lower.encode_queries(["KETTLE"]) - cased.encode_queries(["KETTLE"])).max() > 1e-3
    assert lower.fingerprint != cased.fingerprint


@pytest.mark.parametrize(
    ("mode", "more", "reason"),
    [
        ("mean", (Dense(32, 16),), "Dense"),
        ("weightedmean", (), "pooling by weightedmean"),
        (("mean", "cls"), (), "pooling by mean and cls"),
    ],
)
def test_more_than_a_pooling_is_refused(mode: Any, more: Any, reason: str, make: Make, tmp_path: Path) -> None:
    folder = saved(make("bert", mode, *more), tmp_path)
    for pooling in (None, "mean"):
        with pytest.raises(UnsupportedError, match=f"makes its vectors with {reason}, which glot-rag does not do"):
            GlotEncoder.from_pretrained(folder, pooling=pooling)


def test_what_is_not_the_models_own_is_said(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(make("bert", "cls"), tmp_path)
    with caplog.at_level(logging.WARNING, "glot_rag"):
        GlotEncoder.from_pretrained(folder, dtype="float32")
        assert "no trained head for" in caplog.text
        assert "the model's own (pooling 'cls')" in caplog.text
        caplog.clear()
        GlotEncoder.from_pretrained(folder, denoise=False)
        GlotEncoder.from_pretrained(folder, pooling="cls")
        assert not caplog.text
        GlotEncoder.from_pretrained(folder, pooling="mean")
        assert "was trained for pooling 'cls', not 'mean'" in caplog.text
    with pytest.raises(ModelNotFoundError, match="no trained glot head for"):
        GlotEncoder.from_pretrained(folder, pooling="glot")


def test_a_bare_transformer_needs_a_pooling(bare: Callable[[str], Path]) -> None:
    with pytest.raises(ModelNotFoundError, match=r"its files name no pooling \(1_Pooling/config.json\)"):
        GlotEncoder.from_pretrained(bare("bert"))
    assert GlotEncoder.from_pretrained(bare("bert"), pooling="last").dimension == 32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", "[", r"modules\.json is not JSON"),
        ("modules.json", "{}", r"modules\.json is not a record of settings \(a dict\)"),
        ("modules.json", '[{"path": ""}]', r"sentence-transformers files of .* are damaged \(KeyError\('type'\)\)"),
        ("sentence_bert_config.json", '{"max_seq_length": "long"}', "are damaged"),
        ("config_sentence_transformers.json", '{"prompts": [1]}', "are damaged"),
    ],
)
def test_damaged_files(name: str, content: str, message: str, make: Make, tmp_path: Path) -> None:
    folder = saved(make("bert", "mean"), tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(BundleError, match=message):
        GlotEncoder.from_pretrained(folder, dtype="float32")
