from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.embedder import Embedder, Vectors
from glot_rag.encoder import storage as encoder_module
from glot_rag.encoder.together import encode_documents_together, encode_queries_together
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError, ModelNotFoundError
from glot_rag.evaluation import NoiseSpec, corrupt, load_stdlib
from glot_rag.head import AdaPool, BaselinePooling, GlotHead, save_head
from glot_rag.head.config import HeadConfig
from glot_rag.models import devices
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED
from glot_rag.models.tokenizer import TokenBatch

MakeHead = Callable[..., GlotHead | AdaPool]
POOLINGS = ("mean", "max", "cls", "last", "adapool", "glot", "glot-paper")


@pytest.fixture(scope="module")
def encoders(minilm: Backbone, make_head: MakeHead) -> dict[str, TorchEncoder]:
    """One of each pooling over MiniLM; the trained ones with random weights, reading two layers."""
    poolings: dict[str, Any] = {name: BaselinePooling(name, 384) for name in POOLINGS[:4]}
    poolings["adapool"] = make_head(pooling="adapool", layers=(2, -1), scale=4.0)
    poolings["glot"] = make_head(layers=(2, -1), hidden_size=64)
    poolings["glot-paper"] = make_head(form="paper", hidden_size=64, output_size=100, threshold=0.6)
    return {name: TorchEncoder(minilm, pooling) for name, pooling in poolings.items()}


@pytest.fixture
def bundle(encoders: dict[str, TorchEncoder], tmp_path: Path) -> Path:
    encoders["glot-paper"].save(tmp_path / "bundle")
    return tmp_path / "bundle"


def cosines(one: Vectors, other: Vectors) -> Vectors:
    return (one.astype(np.float64) * other).sum(axis=1)


# ---- the vectors


def test_mean_pooling_equals_sentence_transformers(
    encoders: dict[str, TorchEncoder], minilm_folder: Path, mixed_texts: list[str]
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(
        str(minilm_folder), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    assert len(mixed_texts) == 40
    expected = model.encode(mixed_texts, normalize_embeddings=True, show_progress_bar=False)
    got = encoders["mean"].encode_documents(mixed_texts)
    assert np.abs(got - expected).max() < 1e-5
    assert np.array_equal(encoders["mean"].encode_queries(mixed_texts), got)


@pytest.fixture(scope="module")
def alone(encoders: dict[str, TorchEncoder], mixed_texts: list[str]) -> dict[str, Vectors]:
    """Every text on its own: no batch, no padding."""
    rows = [encode_documents_together(encoders, [text]) for text in mixed_texts]
    return {name: np.concatenate([row[name] for row in rows]) for name in encoders}


def test_a_vector_does_not_depend_on_batch_place_or_padding(
    encoders: dict[str, TorchEncoder], mixed_texts: list[str], alone: dict[str, Vectors]
) -> None:
    rng = np.random.default_rng(0)
    worst = dict.fromkeys(encoders, 1.0)
    for batch_tokens in (300, 8192):
        order = rng.permutation(len(mixed_texts))
        vectors = encode_documents_together(encoders, [mixed_texts[i] for i in order], batch_tokens=batch_tokens)
        for name in encoders:
            assert vectors[name].dtype == np.float32
            assert np.allclose(np.linalg.norm(vectors[name], axis=1), 1, atol=1e-5)
            worst[name] = min(worst[name], cosines(vectors[name], alone[name][order]).min())
    assert min(worst.values()) >= 0.99999, worst
    for name, vectors in alone.items():  # and the texts do have different vectors
        assert (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)].max() < 0.9999, name


@pytest.mark.parametrize("pad", [False, True])
def test_left_padding_gives_the_same_vectors(
    pad: bool, encoders: dict[str, TorchEncoder], minilm: Backbone, mixed_texts: list[str], alone: dict[str, Vectors]
) -> None:
    """A pooling may be given batches that others padded (the sentence-transformers module)."""
    (ids,) = minilm.tokenizer([mixed_texts[3]])
    shift = 9 if pad else 0
    states = torch.full((1, len(ids) + shift, 384), 50.0)
    mask = torch.zeros(1, len(ids) + shift, dtype=torch.bool)
    mask[:, shift:] = True
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), bool))
    (states[:, shift:],), _ = minilm.hidden_states(batch)
    for name in ("mean", "max", "cls", "last", "glot-paper"):
        vector = encoders[name].pooling(states, mask).vector
        vector = torch.nn.functional.normalize(vector).numpy()
        assert cosines(vector, alone[name][3:4]) > 0.99999, name


def test_bfloat16_is_close_to_float32(
    encoders: dict[str, TorchEncoder],
    mixed_texts: list[str],
    alone: dict[str, Vectors],
    capsys: pytest.CaptureFixture[str],
) -> None:
    half = Backbone.load("minilm", device="cpu", dtype="bfloat16")
    over_half = {name: TorchEncoder(half, encoder.pooling) for name, encoder in encoders.items()}
    vectors = encode_documents_together(over_half, mixed_texts)
    single = [encode_documents_together(over_half, [text]) for text in mixed_texts[::2]]
    to_float32 = {name: cosines(vectors[name], alone[name]).min() for name in encoders}
    to_itself = {
        name: cosines(vectors[name][::2], np.concatenate([one[name] for one in single])).min() for name in encoders
    }
    with capsys.disabled():
        rows = [f"  {name:10} {to_float32[name]:.6f} {to_itself[name]:.6f}" for name in encoders]
        heading = "bfloat16, worst cosine of 40 texts, to float32 and to itself in other batches:"
        print("", heading, *rows, sep="\n")  # noqa: T201 (a figure that is worth knowing)
    for name in encoders:
        assert to_float32[name] >= BFLOAT16_FLOOR, name
        assert to_itself[name] >= BFLOAT16_FLOOR, name
        assert over_half[name].fingerprint == encoders[name].fingerprint
    assert to_float32["mean"] < 1 - 1e-6  # it was bfloat16


BFLOAT16_FLOOR = 0.999


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_below_float32_the_same_tokens_are_dropped_as_in_float32(
    dtype: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the words are noise: in bfloat16 alone, other tokens are dropped."""
    monkeypatch.setattr(devices, "_faster_in_bfloat16", lambda: True)
    texts = list(load_stdlib(None).documents.values())[::60]
    noisy = [each.text for each in corrupt(texts, NoiseSpec.parse("words:0.5"), seed=0)]
    exact, half = (
        TorchEncoder.from_pretrained("minilm", device="cpu", denoise=False, dtype=each) for each in ("float32", dtype)
    )
    expected = exact.encode_documents(noisy)
    found = cosines(half.encode_documents(noisy), expected)
    assert found.min() > 0.9999
    assert not np.array_equal(half.encode_documents(noisy[:1]), expected[:1])  # the upper layers were not in float32
    if dtype is None:
        alone = TorchEncoder.from_pretrained("minilm", device="cpu", denoise=False)
        vars(alone.backbone)["in_float32"] = alone.backbone
        assert cosines(alone.encode_documents(noisy), expected).min() < BFLOAT16_FLOOR


# ---- odd texts


def test_an_empty_list(encoders: dict[str, TorchEncoder]) -> None:
    for name, encoder in encoders.items():
        vectors = encoder.encode_documents([])
        assert (vectors.shape, vectors.dtype) == ((0, encoder.dimension), np.float32), name
        assert encoder.encode_queries([]).shape == (0, encoder.dimension)


@pytest.mark.parametrize("name", POOLINGS)
def test_odd_texts_have_finite_unit_vectors_of_the_right_value(name: str, encoders: dict[str, TorchEncoder]) -> None:
    texts = ["", " \t\n\r\u00a0", "\0", "a\0b", "ab", "x\ud83dy", "x\ufffdy", "\ud83d\ude00", "😀", "word " * 100_000,
             "word " * 254, "ZÜRICH", "zurich"]  # fmt: skip
    rows = dict(zip(texts, encoders[name].encode_documents(texts), strict=True))
    assert all(abs(np.linalg.norm(row) - 1) < 1e-5 for row in rows.values())
    same = [
        ("", " \t\n\r\u00a0"),  # nothing but [CLS] and [SEP]
        ("", "\0"),
        ("a\0b", "ab"),  # MiniLM's normaliser drops control characters
        ("x\ud83dy", "x\ufffdy"),
        ("\ud83d\ude00", "😀"),
        ("word " * 100_000, "word " * 254),  # 254 words and two special tokens
        ("ZÜRICH", "zurich"),
    ]
    for one, other in same:
        assert rows[one] @ rows[other] > 0.99999, (one[:20], other[:20])
    assert rows[""] @ rows["ab"] < 0.999


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("text", "got one str"),
        ([1], "got int at position 0"),
        (["a", None], "got NoneType at position 1"),
        (3, "got int"),
    ],
)
def test_what_is_not_a_list_of_strings(texts: Any, message: str, encoders: dict[str, TorchEncoder]) -> None:
    with pytest.raises(InputError, match=message):
        encoders["mean"].encode_documents(texts)
    with pytest.raises(InputError, match=message):
        encoders["mean"].encode_queries(texts)


def test_a_budget_below_one(encoders: dict[str, TorchEncoder]) -> None:
    with pytest.raises(InputError, match="batch_tokens must be at least 1; got 0"):
        encoders["mean"].encode_documents(["a"], batch_tokens=0)


def test_windows_of_texts_are_put_back_in_order(
    encoders: dict[str, TorchEncoder],
    monkeypatch: pytest.MonkeyPatch,
    mixed_texts: list[str],
    alone: dict[str, Vectors],
) -> None:
    monkeypatch.setattr("glot_rag.models.tokenizer._TEXTS_AT_A_TIME", 7)
    short = [i for i, text in enumerate(mixed_texts) if len(text) < 200]
    assert len(short) > 14
    vectors = encoders["mean"].encode_documents([mixed_texts[i] for i in short])
    assert cosines(vectors, alone["mean"][short]).min() > 0.99999


def test_progress_goes_to_stderr(encoders: dict[str, TorchEncoder], capfd: pytest.CaptureFixture[str]) -> None:
    shown = encoders["mean"].encode_documents(["one", "two"], show_progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "embedding" in err
    assert "2/2" in err
    assert np.array_equal(shown, encoders["mean"].encode_documents(["one", "two"]))
    assert capfd.readouterr() == ("", "")


# ---- prompts, queries, several at once


def test_prompts_are_put_before_the_texts(minilm: Backbone) -> None:
    plain = TorchEncoder(minilm, BaselinePooling("mean", 384))
    prompted = TorchEncoder(minilm, BaselinePooling("mean", 384), query_prompt="query: ", document_prompt="passage: ")
    texts = ["What is a token graph?", ""]
    assert np.array_equal(prompted.encode_queries(texts), plain.encode_documents([f"query: {t}" for t in texts]))
    assert np.array_equal(prompted.encode_documents(texts), plain.encode_documents([f"passage: {t}" for t in texts]))
    assert len({plain.fingerprint, prompted.fingerprint}) == 2


def test_queries_have_a_pooling_of_their_own(minilm: Backbone, make_head: MakeHead) -> None:
    encoder = TorchEncoder(minilm, make_head(), query_pooling=BaselinePooling("mean", 384))
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    head = TorchEncoder(minilm, make_head())
    texts = ["How do graphs filter noise?"]
    assert np.array_equal(encoder.encode_queries(texts), mean.encode_documents(texts))
    assert np.array_equal(encoder.encode_documents(texts), head.encode_documents(texts))
    assert np.array_equal(head.encode_queries(texts), head.encode_documents(texts))
    assert encoder.encode_queries(texts) @ encoder.encode_documents(texts).T < 0.999


def test_together_equals_one_by_one(encoders: dict[str, TorchEncoder], mixed_texts: list[str]) -> None:
    texts = [text for text in mixed_texts if len(text) < 150][:6]
    together = encode_documents_together(encoders, texts)
    queries = encode_queries_together(encoders, texts)
    assert together.keys() == queries.keys() == encoders.keys()
    for name, encoder in encoders.items():
        assert np.array_equal(together[name], encoder.encode_documents(texts)), name
        assert np.array_equal(queries[name], encoder.encode_queries(texts)), name


def test_together_needs_one_backbone_and_one_prompt(minilm: Backbone) -> None:
    mean = BaselinePooling("mean", 384)
    one, other = TorchEncoder(minilm, mean), TorchEncoder(minilm, mean, document_prompt="passage: ")
    with pytest.raises(
        InputError, match="encoder 'b' has another backbone or other prompts: make it with with_pooling"
    ):
        encode_documents_together({"a": one, "b": other}, ["x"])
    twin = Backbone(minilm.source, minilm.model, *_parts(minilm))
    with pytest.raises(InputError, match="encoder 'b' has another backbone"):
        encode_queries_together({"a": one, "b": TorchEncoder(twin, mean)}, ["x"])
    with pytest.raises(InputError, match="expected at least one encoder, got none"):
        encode_documents_together({}, ["x"])


def _parts(backbone: Backbone) -> tuple[Any, int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(backbone.source.location), backbone.max_tokens


def test_with_pooling_keeps_backbone_and_prompts(minilm: Backbone, make_head: MakeHead, tmp_path: Path) -> None:
    encoder = TorchEncoder(minilm, BaselinePooling("mean", 384), query_prompt="q: ", document_prompt="d: ")
    other = encoder.with_pooling("cls")
    assert other.backbone is minilm
    assert (other.query_prompt, other.document_prompt, other.pooling.name) == ("q: ", "d: ", "cls")
    head = make_head(hidden_size=8)
    save_head(head, tmp_path / "head")
    trained = encoder.with_pooling("glot", head=tmp_path / "head")
    expected = TorchEncoder(minilm, head, document_prompt="d: ").encode_documents(["text"])
    assert np.array_equal(trained.encode_documents(["text"]), expected)
    # The residual form's queries are mean-pooled.
    assert trained.query_pooling.name == "mean"
    assert np.array_equal(trained.encode_queries(["text"]), encoder.encode_queries(["text"]))


def test_it_is_an_embedder(encoders: dict[str, TorchEncoder]) -> None:
    assert isinstance(encoders["glot"], Embedder)
    assert encoders["glot-paper"].dimension == 100
    assert encoders["mean"].dimension == 384
    assert encoders["mean"].max_tokens == 256
    assert repr(encoders["mean"]) == (
        "TorchEncoder('minilm', pooling='mean', dimension=384, dtype=float32, device='cpu')"
    )


def test_eight_threads_at_once(encoders: dict[str, TorchEncoder], mixed_texts: list[str]) -> None:
    lists = [[text[:150] for text in mixed_texts[i::8]] for i in range(8)]
    encoder = encoders["glot"]
    expected = [encoder.encode_documents(texts) for texts in lists]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            for got, want in zip(pool.map(encoder.encode_documents, lists), expected, strict=True):
                assert np.array_equal(got, want)


# ---- fingerprint


def test_what_the_fingerprint_depends_on(minilm: Backbone, make_head: MakeHead) -> None:
    head = make_head(hidden_size=8)
    nudged = make_head(hidden_size=8)
    with torch.no_grad():
        nudged.convs[1].bias[3] += 1e-6
    mean = BaselinePooling("mean", 384)
    shorter = Backbone(minilm.source, minilm.model, _parts(minilm)[0], 255)
    encoders = [
        TorchEncoder(minilm, head),
        TorchEncoder(minilm, nudged),
        TorchEncoder(minilm, make_head(hidden_size=8, threshold=0.31)),
        TorchEncoder(minilm, head, query_pooling=mean),
        TorchEncoder(minilm, head, query_prompt="q: "),
        TorchEncoder(minilm, head, document_prompt="q: "),
        TorchEncoder(shorter, head),
        TorchEncoder(minilm, mean),
        TorchEncoder(minilm, BaselinePooling("cls", 384)),
    ]
    assert len({encoder.fingerprint for encoder in encoders}) == len(encoders)
    assert TorchEncoder(minilm, make_head(hidden_size=8)).fingerprint == encoders[0].fingerprint


def test_a_head_that_is_being_trained_goes_on_learning(minilm: Backbone, make_head: MakeHead) -> None:
    """An encoder freezes a copy: the head that it was made of keeps its mode, gradients and device."""
    head = make_head(hidden_size=8).train()
    encoder = TorchEncoder(minilm, head)
    assert head.training
    assert all(parameter.requires_grad for parameter in head.parameters())
    fingerprint, before = encoder.fingerprint, encoder.encode_documents(["a text"])
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(1.0)
    assert encoder.fingerprint == fingerprint
    np.testing.assert_array_equal(encoder.encode_documents(["a text"]), before)


@pytest.mark.parametrize(
    "name", ["backbone", "pooling", "query_pooling", "query_prompt", "document_prompt", "denoiser", "classifier"]
)
def test_what_decides_a_vector_cannot_be_changed(name: str, encoders: dict[str, TorchEncoder]) -> None:
    with pytest.raises(AttributeError):
        setattr(encoders["glot"], name, "query: ")


def test_a_setting_that_a_later_version_adds_changes_no_fingerprint(
    encoders: dict[str, TorchEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass(frozen=True)
    class LaterConfig(HeadConfig):
        temperature: float = 1.0

    pooling = encoders["glot"].pooling
    before = encoders["glot"].fingerprint
    settings = pooling.config.to_dict()
    monkeypatch.setattr(pooling, "config", LaterConfig(**settings))
    assert encoders["glot"].fingerprint == before
    monkeypatch.setattr(pooling, "config", LaterConfig(**settings, temperature=0.5))
    assert encoders["glot"].fingerprint != before


# ---- explain


TEXT = "The Danube’s bridges – naïve café, 東京 😀 unquestionably!"


@pytest.mark.parametrize("name", POOLINGS)
def test_explain(name: str, encoders: dict[str, TorchEncoder], minilm: Backbone) -> None:
    encoder = encoders[name]
    evidence = encoder.explain(TEXT)
    (tokenised,) = minilm.tokenizer.with_offsets([TEXT])
    assert evidence.text == TEXT
    assert [token.token for token in evidence.tokens] == tokenised.tokens
    assert [token.span for token in evidence.tokens] == tokenised.spans
    assert TEXT[slice(*evidence.tokens[1].span)] == "The"
    assert sum(token.weight for token in evidence.tokens) == pytest.approx(1, abs=1e-5)
    if name.startswith("glot"):
        assert evidence.graph is not None
        assert evidence.graph.shape == (len(evidence.tokens),) * 2
        assert evidence.graph.diagonal().all()
        assert np.array_equal(evidence.graph, evidence.graph.T)
        assert not evidence.graph.all()
    else:
        assert evidence.graph is None
    trained = name.startswith("glot") or name == "adapool"
    assert all((token.noise is not None) == trained for token in evidence.tokens)


def test_explained_weights_are_those_of_the_vector(encoders: dict[str, TorchEncoder], minilm: Backbone) -> None:
    evidence = encoders["adapool"].explain(TEXT)
    (ids,) = minilm.tokenizer([TEXT])
    batch = TokenBatch(np.zeros(1, np.int64), np.array([ids]), np.ones((1, len(ids)), bool))
    (states,), _ = minilm.hidden_states(batch)
    by_hand = np.array([token.weight for token in evidence.tokens]) @ states[0].numpy()
    assert by_hand / np.linalg.norm(by_hand) @ encoders["adapool"].encode_documents([TEXT])[0] > 0.99999


def test_noise_is_the_scores_sigmoid(minilm: Backbone, make_head: MakeHead) -> None:
    """With sigmoid scores a token's weight is its share of the probability of being signal."""
    evidence = TorchEncoder(minilm, make_head(readout="sigmoid", scale=3.0)).explain(TEXT)
    signal = np.array([1 - (token.noise or 0.0) for token in evidence.tokens])
    assert np.allclose([token.weight for token in evidence.tokens], signal / signal.sum(), atol=1e-5)
    assert signal.std() > 0.01


def test_spans_are_in_the_text_and_not_in_the_prompt(minilm: Backbone) -> None:
    encoder = TorchEncoder(minilm, BaselinePooling("mean", 384), document_prompt="passage: ")
    evidence = encoder.explain("Two words")
    spans = {token.token: token.span for token in evidence.tokens}
    assert spans == {"[CLS]": (0, 0), "passage": (0, 0), ":": (0, 0), "two": (0, 3), "words": (4, 9), "[SEP]": (0, 0)}


def test_explain_shows_the_text_that_was_read(encoders: dict[str, TorchEncoder]) -> None:
    evidence = encoders["mean"].explain("a\ud83d b")
    assert evidence.text == "a\ufffd b"
    assert [evidence.text[slice(*token.span)] for token in evidence.tokens][-2] == "b"
    assert len(encoders["mean"].explain("").tokens) == 2
    assert len(encoders["mean"].explain("word " * 1000).tokens) == 256
    with pytest.raises(InputError, match="expected strings, got int"):
        encoders["mean"].explain(5)  # type: ignore[arg-type]


def test_explain_shows_what_was_left_of_the_text(minilm: Backbone, make_head: MakeHead, mixed_texts: list[str]) -> None:
    """An encoder that denoises reads another text; weights make its vector, spans are those of the text itself."""
    head = make_head(layers=(2,), form="drop", convolution="transformer", norm="layer", hidden_size=16, scale=2.0)
    denoiser = TorchDenoiser(minilm, head)
    mean = BaselinePooling("mean", 384)
    encoder = TorchEncoder(minilm, head, query_pooling=mean, denoiser=denoiser, document_prompt="passage: ")
    text = next(text for text in mixed_texts if len(text) > 300 and len(denoiser.denoise([text])[0].spans) > 3)
    evidence = encoder.explain(text)
    (denoised,) = denoiser.denoise([text])
    assert evidence.denoised == denoised
    assert evidence.text == text
    (tokenised,) = minilm.tokenizer.with_offsets(["passage: " + denoised.text])
    assert [token.token for token in evidence.tokens] == tokenised.tokens
    for token, (start, end) in zip(evidence.tokens, tokenised.spans, strict=True):
        read = denoised.text[max(0, start - 9) : max(0, end - 9)]
        assert text[slice(*token.span)] == read
        if read:
            assert any(first <= token.span[0] and token.span[1] <= last for first, last in denoised.spans)
        assert token.noise is not None
    weights = np.array([token.weight for token in evidence.tokens], np.float32)
    batch = TokenBatch(np.zeros(1, np.int64), np.array([tokenised.ids]), np.ones((1, len(tokenised.ids)), bool))
    (states,), _ = minilm.hidden_states(batch)
    vector = weights @ states[0].numpy()
    np.testing.assert_allclose(vector / np.linalg.norm(vector), encoder.encode_documents([text])[0], atol=1e-5)


# ---- saving and loading


@pytest.mark.parametrize("name", ["mean", "adapool", "glot-paper"])
def test_round_trip(name: str, minilm: Backbone, make_head: MakeHead, tmp_path: Path, mixed_texts: list[str]) -> None:
    settings: dict[str, dict[str, Any]] = {
        "adapool": {"pooling": "adapool"},
        "glot-paper": {"form": "paper", "hidden_size": 8, "output_size": 50, "layers": (2, -1)},
    }
    pooling = BaselinePooling("mean", 384) if name == "mean" else make_head(**settings[name])
    encoder = TorchEncoder(minilm, pooling, query_prompt="q: ", document_prompt="Zürich: ")
    encoder.save(tmp_path / "a" / "bundle")
    encoder.save(tmp_path / "a" / "bundle")  # over itself
    loaded = TorchEncoder.from_pretrained(tmp_path / "a" / "bundle", device="cpu", dtype="float32")
    assert loaded.fingerprint == encoder.fingerprint
    assert (loaded.query_prompt, loaded.document_prompt) == ("q: ", "Zürich: ")
    assert np.array_equal(loaded.encode_documents(mixed_texts[:3]), encoder.encode_documents(mixed_texts[:3]))
    assert np.array_equal(loaded.encode_queries(mixed_texts[:3]), encoder.encode_queries(mixed_texts[:3]))


def test_round_trip_of_a_head_from_a_directory(minilm: Backbone, make_head: MakeHead, tmp_path: Path) -> None:
    """The usual case: documents by the residual head, queries by mean pooling, shorter inputs."""
    save_head(make_head(hidden_size=8), tmp_path / "head", {"backbone_fingerprint": minilm.fingerprint})
    encoder = TorchEncoder.from_pretrained(
        "minilm", head=tmp_path / "head", device="cpu", dtype="float32", max_tokens=20, query_prompt="q: "
    )
    encoder.save(tmp_path / "bundle")
    loaded = TorchEncoder.from_pretrained(tmp_path / "bundle", device="cpu", dtype="float32")
    assert loaded.max_tokens == 20
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.query_pooling.name == "mean"
    texts = ["some words " * 30, "a question?"]
    assert np.array_equal(loaded.encode_documents(texts), encoder.encode_documents(texts))
    assert np.array_equal(loaded.encode_queries(texts), encoder.encode_queries(texts))
    # A keyword wins over what was saved.
    other = TorchEncoder.from_pretrained(tmp_path / "bundle", pooling="mean", query_prompt="", device="cpu")
    assert (other.pooling.name, other.query_prompt) == ("mean", "")


def test_a_query_pooling_that_loading_would_not_give_is_not_lost(
    minilm: Backbone, make_head: MakeHead, tmp_path: Path
) -> None:
    """Made from parts, the head pools queries as well, though its settings say mean pooling."""
    encoder = TorchEncoder(minilm, make_head(hidden_size=8))
    encoder.save(tmp_path / "bundle")
    loaded = TorchEncoder.from_pretrained(tmp_path / "bundle", device="cpu", dtype="float32")
    assert loaded.fingerprint == encoder.fingerprint
    assert np.array_equal(loaded.encode_queries(["a"]), encoder.encode_queries(["a"]))


def test_a_second_trained_head_cannot_be_saved(minilm: Backbone, make_head: MakeHead, tmp_path: Path) -> None:
    encoder = TorchEncoder(minilm, make_head(hidden_size=8), query_pooling=make_head(seed=1, hidden_size=8))
    with pytest.raises(InputError, match="a saved encoder holds one trained head"):
        encoder.save(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_save_does_not_write_into_a_strange_directory(encoders: dict[str, TorchEncoder], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("months of work")
    with pytest.raises(InputError, match="is not empty and not a saved encoder: choose another directory"):
        encoders["mean"].save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "glot-rag/head"}, "says format 'glot-rag/head', expected 'glot-rag/encoder'"),
        ({"format_version": 2}, "has format version 2; this glot-rag reads 1 to 1: upgrade it"),
        ({"backbone": None, "document_prompt": 1}, "encoder.json lacks backbone, document_prompt"),
        ({"pooling": 5}, "lacks pooling, or holds no such thing there"),
        ({"pooling": "psychic"}, "lacks pooling, or holds no such thing there"),
        ({"query_pooling": "psychic"}, "lacks query_pooling, or holds no such thing there"),
        ({"pooling": "adapool"}, "holds a head for pooling 'glot'; 'adapool' was asked for"),
        ({"max_tokens": "many"}, "lacks max_tokens"),
        ({"query_prompt": 5}, "lacks query_prompt"),
        ({"backbone_fingerprint": "0" * 64}, "was saved over a backbone with fingerprint 0000"),
        ({"backbone_fingerprint": None}, "was saved over a backbone with fingerprint None"),
    ],
)
def test_a_damaged_record(bundle: Path, changes: dict[str, Any], message: str) -> None:
    record = json.loads((bundle / "encoder.json").read_text()) | changes
    (bundle / "encoder.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=message):
        TorchEncoder.from_pretrained(bundle, device="cpu", dtype="float32")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_record_that_is_none(bundle: Path, content: bytes) -> None:
    (bundle / "encoder.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"encoder\.json (is not JSON|says format None)"):
        TorchEncoder.from_pretrained(bundle, device="cpu")


def test_a_bundle_without_its_head(bundle: Path) -> None:
    shutil.rmtree(bundle / "head")
    with pytest.raises(BundleError, match=r"head/config\.json cannot be read"):
        TorchEncoder.from_pretrained(bundle, device="cpu")


def test_a_head_of_another_backbone(make_head: MakeHead, tmp_path: Path) -> None:
    save_head(make_head(hidden_size=8), tmp_path / "other", {"backbone_fingerprint": "1" * 64})
    with pytest.raises(BundleError, match="was trained over a backbone with fingerprint 1111"):
        TorchEncoder.from_pretrained("minilm", head=tmp_path / "other", device="cpu")
    save_head(make_head(state_size=100), tmp_path / "narrow")
    with pytest.raises(BundleError, match="made for states of width 100, 'minilm' gives 384: train a head for it"):
        TorchEncoder.from_pretrained("minilm", head=tmp_path / "narrow", device="cpu")
    save_head(make_head(layers=(20,)), tmp_path / "deep")
    with pytest.raises(BundleError, match=r"the head does not fit the backbone: 'minilm' has layers 0 to 6 .* got 20"):
        TorchEncoder.from_pretrained("minilm", head=tmp_path / "deep", device="cpu")


def test_poolings_of_different_lengths(minilm: Backbone, make_head: MakeHead) -> None:
    with pytest.raises(BundleError, match="documents get vectors of length 100, queries of 384"):
        TorchEncoder(minilm, make_head(form="paper", output_size=100), query_pooling=BaselinePooling("mean", 384))


def test_arguments_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dtype must be one of"):
        TorchEncoder.from_pretrained(dtype="float8")
    with pytest.raises(InputError, match="pooling must be one of glot, adapool, mean, max, cls, last; got 'sum'"):
        TorchEncoder.from_pretrained(pooling="sum")
    with pytest.raises(InputError, match="pooling 'mean' has no parameters: leave head= out"):
        TorchEncoder.from_pretrained(pooling="mean", head=tmp_path)
    with pytest.raises(ModelNotFoundError, match="no trained glot head for 'someone/bert' ships with glot-rag"):
        TorchEncoder.from_pretrained("someone/bert", pooling="glot")
    with pytest.raises(ModelNotFoundError, match="No model 'someone/bert' was found"):
        TorchEncoder.from_pretrained("someone/bert")


@pytest.mark.skipif(not (PRETRAINED / "minilm" / "config.json").is_file(), reason="no head has been shipped yet")
def test_the_shipped_encoder(minilm: Backbone) -> None:
    encoder = TorchEncoder.from_pretrained(device="cpu", dtype="float32")
    assert (encoder.pooling.name, encoder.query_pooling.name, encoder.dimension) == ("glot", "mean", 384)
    clean = "The Danube flows through ten countries, more than any other river in the world."
    noisy = clean + " Accept cookies Menu Home > News | Sign in" * 6
    mean = TorchEncoder(minilm, BaselinePooling("mean", 384))
    target = mean.encode_documents([clean])[0]
    assert encoder.encode_documents([noisy])[0] @ target > mean.encode_documents([noisy])[0] @ target + 0.05


def test_module_documents_what_it_writes(bundle: Path) -> None:
    record = json.loads((bundle / "encoder.json").read_text())
    assert record["format"] == encoder_module.FORMAT
    assert record["format_version"] == encoder_module.FORMAT_VERSION
    assert not any(path.suffix in (".pt", ".pth", ".bin", ".pkl") for path in bundle.rglob("*"))
