from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError, UnsupportedError
from glot_rag.head import BaselinePooling, GlotHead
from glot_rag.models.backbone import Backbone
from glot_rag.models.devices import _faster_in_bfloat16, choose_device, choose_dtype
from glot_rag.models.pruning import Choose, Pruned
from glot_rag.models.tokenizer import TokenBatch

VOCABULARY = 30_522  # of MiniLM's tokeniser, which the small models here borrow


def save_model(model: torch.nn.Module, folder: Path, minilm_folder: Path, *, pad: bool) -> Path:
    model.save_pretrained(folder)
    special = {"pad_token": "[PAD]"} if pad else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(minilm_folder / "tokenizer.json"),
        unk_token="[UNK]",
        sep_token="[SEP]",
        cls_token="[CLS]",
        **special,
    )
    tokenizer.save_pretrained(folder)
    return folder


def small(kind: str) -> torch.nn.Module:
    """A model with random weights, larger than those of a fresh one, so that its attention is not flat."""
    torch.manual_seed(0)
    common = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    if kind == "llama":
        model = LlamaModel(
            LlamaConfig(**common, intermediate_size=48, num_key_value_heads=2, max_position_embeddings=100)
        )
    elif kind == "gpt2":
        model = GPT2Model(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=100))
    elif kind == "roberta":
        # Its positions start at padding_idx + 1 = 2: of 100 embeddings 98 can be used.
        model = RobertaModel(RobertaConfig(**common, intermediate_size=48, max_position_embeddings=100))
    else:
        model = BertModel(BertConfig(**common, intermediate_size=48, max_position_embeddings=100))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.eval()


KINDS = ("bert", "llama", "gpt2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        kind: save_model(small(kind), root / kind, minilm_folder, pad=kind == "bert") for kind in (*KINDS, "roberta")
    }


@pytest.fixture(scope="module")
def small_backbones(folders: dict[str, Path]) -> dict[str, Backbone]:
    return {kind: Backbone.load(folders[kind], device="cpu", dtype="float32") for kind in KINDS}


def batch_of(backbone: Backbone, texts: list[str]) -> TokenBatch:
    sequences = backbone.tokenizer(texts)
    width = max(map(len, sequences))
    ids = np.full((len(texts), width), backbone.tokenizer.pad_id)
    mask = np.zeros((len(texts), width), bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return TokenBatch(np.arange(len(texts)), ids, mask)


# ---- hidden states


def test_hidden_states_are_those_of_transformers(minilm: Backbone, minilm_folder: Path) -> None:
    model = AutoModel.from_pretrained(minilm_folder, dtype=torch.float32).eval()
    batch = batch_of(minilm, ["A short text.", "And one that is a little longer, with some more tokens."])
    with torch.no_grad():
        expected = model(
            input_ids=torch.from_numpy(batch.ids),
            attention_mask=torch.from_numpy(batch.mask).long(),
            output_hidden_states=True,
        ).hidden_states
    assert len(expected) == minilm.num_layers + 1 == 7
    asked = (0, 2, 6, -1, -5)
    states, mask = minilm.hidden_states(batch, asked)
    assert torch.equal(mask, torch.from_numpy(batch.mask))
    for layer, got in zip(asked, states, strict=True):
        assert (got - expected[layer])[mask].abs().max() < 1e-5, layer
    (last,), _ = minilm.hidden_states(batch)
    assert torch.equal(last, states[3])


def test_a_decoders_last_layer_is_normalised(small_backbones: dict[str, Backbone], folders: dict[str, Path]) -> None:
    backbone = small_backbones["llama"]
    batch = batch_of(backbone, ["a decoder has a normalisation after its last layer"])
    (last,), _ = backbone.hidden_states(batch, (-1,))
    model = AutoModel.from_pretrained(folders["llama"], dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(input_ids=torch.from_numpy(batch.ids)).last_hidden_state
    assert (last - expected).abs().max() < 1e-5
    assert torch.allclose(last.pow(2).mean(-1), torch.ones(last.shape[:2]), atol=1e-3)


@pytest.mark.parametrize(("layer", "number"), [(0, 0), (6, 6), (-1, 6), (-7, 0), (-2, 5)])
def test_layer_numbers(layer: int, number: int, minilm: Backbone) -> None:
    assert minilm.layer_number(layer) == number


@pytest.mark.parametrize("layer", [7, -8, 100])
def test_layers_that_are_not_there(layer: int, minilm: Backbone) -> None:
    with pytest.raises(InputError, match=rf"'minilm' has layers 0 to 6 \(or -7 to -1\); got {layer}"):
        minilm.layer_number(layer)


def test_nothing_of_it_is_trained(minilm: Backbone) -> None:
    assert not minilm.model.training
    assert not any(parameter.requires_grad for parameter in minilm.model.parameters())
    (states,), _ = minilm.hidden_states(batch_of(minilm, ["a"]))
    assert not states.requires_grad


# ---- models of the user


TEXTS = ["one", "two words", "a text of some more words than that", "the longest of them " * 6, "again a short one"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "last", "glot"])
def test_a_vector_does_not_depend_on_its_batch(
    kind: str, pooling: str, small_backbones: dict[str, Backbone], make_head: Callable[..., GlotHead]
) -> None:
    head = (
        make_head(state_size=32, hidden_size=8, layers=(1, -1)) if pooling == "glot" else BaselinePooling(pooling, 32)
    )
    encoder = TorchEncoder(small_backbones[kind], head)
    together = encoder.encode_documents(TEXTS)
    alone = np.concatenate([encoder.encode_documents([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    # Five texts give five vectors, except where a decoder's first token sees only itself.
    if not (pooling == "cls" and kind != "bert"):
        assert (together @ together.T)[~np.eye(5, dtype=bool)].max() < 0.9999


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_last_pooling_takes_the_last_real_token(kind: str, small_backbones: dict[str, Backbone]) -> None:
    backbone = small_backbones[kind]
    encoder = TorchEncoder(backbone, BaselinePooling("last", 32))
    vectors = encoder.encode_documents(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        (states,), _ = backbone.hidden_states(batch_of(backbone, [text]))
        expected = torch.nn.functional.normalize(states[0, -1], dim=0).numpy()
        assert np.abs(vector - expected).max() < 1e-5


def test_a_decoder_without_a_pad_token(small_backbones: dict[str, Backbone]) -> None:
    assert small_backbones["llama"].tokenizer.pad_id == 0
    assert small_backbones["llama"].max_tokens == 100


def test_the_longest_input_of_models_whose_positions_start_late(folders: dict[str, Path]) -> None:
    backbone = Backbone.load(folders["roberta"], device="cpu", dtype="float32")
    assert backbone.max_tokens == 98
    vector = TorchEncoder(backbone, BaselinePooling("mean", 32)).encode_documents(["word " * 500])
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_input_works(kind: str, small_backbones: dict[str, Backbone]) -> None:
    backbone = small_backbones[kind]
    batch = batch_of(backbone, ["word " * 500])
    assert batch.ids.shape == (1, backbone.max_tokens) == (1, 100)
    (states,), _ = backbone.hidden_states(batch)
    assert states.isfinite().all()


# ---- fingerprint


def test_a_fingerprint_is_of_the_files(folders: dict[str, Path], tmp_path: Path) -> None:
    first = Backbone.load(folders["bert"], device="cpu", dtype="float32").fingerprint
    copy = shutil.copytree(folders["bert"], tmp_path / "copy")
    assert Backbone.load(copy, device="cpu", dtype="bfloat16", max_tokens=9).fingerprint == first
    model = small("bert")
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[5, 5] += 1e-3
    model.save_pretrained(copy)
    assert Backbone.load(copy, device="cpu", dtype="float32").fingerprint != first


def test_fingerprints_of_different_models_differ(small_backbones: dict[str, Backbone], minilm: Backbone) -> None:
    fingerprints = {backbone.fingerprint for backbone in (*small_backbones.values(), minilm)}
    assert len(fingerprints) == 4


# ---- what cannot be loaded


def test_a_directory_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("sunny")
    with pytest.raises(BundleError, match="does not hold a model that transformers can load"):
        Backbone.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_directory(name: str, damage: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / "model")
    data = (folder / name).read_bytes()
    if damage == "cut":
        (folder / name).write_bytes(data[: len(data) // 2])
    else:
        (folder / name).unlink()
    with pytest.raises(BundleError, match="does not hold a model that transformers can load"):
        Backbone.load(folder, device="cpu")


def test_a_tokeniser_of_another_model(folders: dict[str, Path], minilm_folder: Path, tmp_path: Path) -> None:
    model = BertModel(
        BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    save_model(model, tmp_path / "model", minilm_folder, pad=True)
    with pytest.raises(BundleError, match="the tokeniser knows more tokens than the model has embeddings for"):
        Backbone.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x", "tpu"])
def test_devices_that_are_not_there(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
        choose_device(device)


@pytest.mark.parametrize("dtype", ["int8", "float64", "half", ""])
def test_dtypes_that_are_not_offered(dtype: str) -> None:
    with pytest.raises(InputError, match=f"dtype must be one of float32, float16, bfloat16 or None; got '{dtype}'"):
        choose_dtype(dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes_that_are(dtype: str, folders: dict[str, Path]) -> None:
    assert choose_dtype(dtype, torch.device("cpu")) == getattr(torch, dtype)
    backbone = Backbone.load(folders["bert"], device="cpu", dtype=dtype)
    assert backbone.dtype == getattr(torch, dtype)
    (states,), _ = backbone.hidden_states(batch_of(backbone, ["a"]))
    assert states.dtype == getattr(torch, dtype)


def test_the_dtype_chosen_for_a_cpu_is_one_it_computes_in() -> None:
    supported = any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    assert choose_dtype(None, torch.device("cpu")) in (
        [torch.float32, torch.bfloat16] if supported else [torch.float32]
    )


@pytest.mark.parametrize(
    ("supported", "seconds", "chosen"),
    [(True, 0.5, torch.bfloat16), (True, 0.9, torch.float32), (True, 2.0, torch.float32), (False, 0.5, torch.float32)],
)
def test_bfloat16_is_chosen_where_it_is_faster(
    supported: bool, seconds: float, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: supported, raising=False)
    times = {torch.bfloat16: seconds, torch.float32: 1.0}
    monkeypatch.setattr("glot_rag.models.devices._product_seconds", times.__getitem__)
    _faster_in_bfloat16.cache_clear()
    try:
        assert choose_dtype(None, torch.device("cpu")) == chosen
    finally:
        _faster_in_bfloat16.cache_clear()


@pytest.mark.parametrize("max_tokens", [0, -5, 101, 10**9])
def test_max_tokens_out_of_range(max_tokens: int, folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=f"max_tokens must be from 1 to 100, the limit of '.*bert'; got {max_tokens}"):
        Backbone.load(folders["bert"], device="cpu", max_tokens=max_tokens)


def test_max_tokens_cuts(folders: dict[str, Path]) -> None:
    backbone = Backbone.load(folders["bert"], device="cpu", max_tokens=5)
    assert backbone.max_tokens == 5
    assert len(backbone.tokenizer(["one two three four five six"])[0]) == 5


# ---- SmolLM2, a real decoder out of a GGUF file: these tests wait about 20 s for it to load


def test_smollm2_vectors_do_not_depend_on_the_batch(smollm2: Backbone) -> None:
    assert (smollm2.state_size, smollm2.num_layers, smollm2.max_tokens) == (576, 30, 8192)
    for name in ("last", "mean"):
        encoder = TorchEncoder(smollm2, BaselinePooling(name, 576))
        texts = ["The cat sat on the mat.", "", "A much longer text about rivers, bridges and the towns beside them."]
        together = encoder.encode_documents(texts)
        alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
        assert (together * alone).sum(axis=1).min() > 0.99999
        assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_smollm2_understands_what_it_reads(smollm2: Backbone) -> None:
    """Weights that were read wrongly from the GGUF file would give noise: two pairs of paraphrases find each other."""
    encoder = TorchEncoder(smollm2, BaselinePooling("mean", 576))
    vectors = encoder.encode_documents(
        [
            "A kitten is sleeping on the sofa.",
            "The central bank raised interest rates.",
            "A small cat naps on the couch.",
            "Monetary policy was tightened by the bank.",
        ]
    )
    scores = vectors[:2] @ vectors[2:].T
    assert scores.argmax(axis=1).tolist() == [0, 1]


# ---- pruning tokens between two layers (every family: test_pruning_families.py)

WINGS = ["a wing in a slipstream", "boundary layer", "the lift of a flat plate at a small angle of attack, measured"]


def every_other(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return mask & (torch.arange(mask.shape[1]) % 2 == 0)


def prune(backbone: Backbone, batch: TokenBatch, layer: int, choose: Choose, *, whole: bool = False) -> Pruned:
    """What becomes of one choice, by itself or beside the whole texts."""
    ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
    _, (pruned,) = backbone.run(ids, mask, (-1,) if whole else (), [backbone.pruning(ids, (layer,), choose)])
    return pruned


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_before_the_first_layer_is_never_having_had_the_tokens(
    kind: str, small_backbones: dict[str, Backbone]
) -> None:
    backbone = small_backbones[kind]
    batch = batch_of(backbone, WINGS)
    pruned = prune(backbone, batch, 0, every_other)
    for row in range(len(WINGS)):
        ids = torch.from_numpy(batch.ids[row])
        special = torch.from_numpy(backbone.tokenizer.is_special(batch.ids[row]))
        expected = [i for i in range(len(ids)) if batch.mask[row, i] and (i % 2 == 0 or special[i])]
        assert pruned.stays[row].nonzero()[:, 0].tolist() == expected
        with torch.no_grad():
            places = torch.tensor(expected)
            alone = backbone.model(input_ids=ids[places][None], position_ids=places[None]).last_hidden_state[0]
        assert (pruned.states[row][pruned.stays[row]] - alone).abs().max() < 1e-4


def test_the_choice_sees_the_states_of_the_layer(small_backbones: dict[str, Backbone]) -> None:
    backbone = small_backbones["bert"]
    batch = batch_of(backbone, WINGS)
    expected, _ = backbone.hidden_states(batch, (0, 1))
    seen: list[torch.Tensor] = []

    def choose(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(states)
        return mask

    ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
    backbone.run(ids, mask, (), [backbone.pruning(ids, (0, 1), choose)])
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.cat(expected, dim=-1))


@pytest.mark.parametrize("shorten", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_beside_the_whole_texts_and_each_other(kind: str, shorten: bool, small_backbones: dict[str, Backbone]) -> None:
    """Several choices in one run are each what they are in a run of their own; the lower layers run once."""
    backbone = small_backbones[kind]
    batch = batch_of(backbone, WINGS)

    def but_the_first_text(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        kept = every_other(states, mask)
        kept[0] = mask[0]  # a text that stays as it is beside others that do not
        return kept

    (expected,), real = backbone.hidden_states(batch)
    ids = torch.from_numpy(batch.ids)
    wanted = [(1, every_other), (0, every_other), (1, but_the_first_text)]
    prunings = [backbone.pruning(ids, (layer,), choose) for layer, choose in wanted]
    calls: list[int] = []
    first = next(m for m in backbone.model.modules() if isinstance(m, torch.nn.ModuleList))[0]
    handle = first.register_forward_hook(lambda *_: calls.append(0))
    (whole,), found = backbone.run(ids, real, (-1,), prunings, shorten=shorten)
    handle.remove()
    assert len(calls) == 2  # the whole texts, and the one choice that is made before the first layer
    assert (whole - expected)[real].abs().max() < 1e-5
    for pruned, (layer, choose) in zip(found, wanted, strict=True):
        alone = prune(backbone, batch, layer, choose)
        assert torch.equal(pruned.stays, alone.stays)
        assert (pruned.states - alone.states)[pruned.stays].abs().max() < 1e-5


def test_threads_do_not_drop_each_others_tokens(small_backbones: dict[str, Backbone]) -> None:
    backbone = small_backbones["llama"]
    batch = batch_of(backbone, WINGS)
    (whole,), _ = backbone.hidden_states(batch)
    dropped = prune(backbone, batch, 1, every_other).states

    def one(number: int) -> bool:
        if number % 2:
            return torch.equal(backbone.hidden_states(batch)[0][0], whole)
        return torch.equal(prune(backbone, batch, 1, every_other, whole=number % 4 == 0).states, dropped)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(60)))


def test_another_family_gives_its_states_and_cannot_drop(minilm_folder: Path, tmp_path: Path) -> None:
    """ALBERT runs one layer again and again: it is read as a whole."""
    config = AlbertConfig(vocab_size=VOCABULARY, embedding_size=8, hidden_size=32, intermediate_size=48)
    config.num_hidden_layers, config.num_attention_heads = 3, 4
    save_model(AlbertModel(config), tmp_path / "albert", minilm_folder, pad=True)
    backbone = Backbone.load(tmp_path / "albert", device="cpu", dtype="float32")
    batch = batch_of(backbone, WINGS)
    states, mask = backbone.hidden_states(batch, (1, -1))
    inputs = {"input_ids": torch.from_numpy(batch.ids), "attention_mask": mask.long()}
    with torch.no_grad():
        expected = backbone.model(**inputs, output_hidden_states=True).hidden_states
    assert torch.equal(states[0], expected[1])
    assert torch.equal(states[1], expected[3])
    with pytest.raises(UnsupportedError, match="models of type 'albert' cannot be run layer by layer"):
        prune(backbone, batch, 1, every_other)
