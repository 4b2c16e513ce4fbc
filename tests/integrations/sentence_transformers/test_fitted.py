"""A fitted encoder as a `SentenceTransformer`: the modules see by the token ids what recurs in the corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="these are tests of an integration")

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers_glot import GlotPooling, GlotTransformer, from_encoder, load
from sentence_transformers_glot.layer_states import LAYER_STATES

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError
from glot_rag.head import BaselinePooling

if TYPE_CHECKING:
    from glot_rag.denoise.classifier import NoiseClassifier
    from glot_rag.head import GlotHead
    from glot_rag.models.backbone import Backbone

PROMPTS = {"query_prompt": "query: ", "document_prompt": "passage: "}


@pytest.fixture(scope="module")
def shipped(minilm: Backbone, pages: list[str]) -> tuple[TorchEncoder, SentenceTransformer]:
    """The head that ships, which drops tokens inside the transformer."""
    encoder = TorchEncoder(minilm, BaselinePooling("mean", 384), **PROMPTS).with_pooling("glot").fit(pages)
    return encoder, from_encoder(encoder)


@pytest.fixture(scope="module")
def residual(
    minilm: Backbone,
    make_head: Callable[..., GlotHead],
    make_classifier: Callable[[int], NoiseClassifier],
    pages: list[str],
) -> tuple[TorchEncoder, SentenceTransformer]:
    """A head that pools after the transformer."""
    head = make_head(seed=1, layers=(2, -1), readout="sigmoid")
    classifier = make_classifier(minilm.tokenizer.vocabulary_size)
    mean = BaselinePooling("mean", 384)
    encoder = TorchEncoder(minilm, head, query_pooling=mean, classifier=classifier, **PROMPTS).fit(pages)
    return encoder, from_encoder(encoder)


@pytest.mark.parametrize("name", ["shipped", "residual"])
def test_vectors_are_the_fitted_encoders(
    name: str, pages: list[str], mixed_texts: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    encoder, model = request.getfixturevalue(name)
    texts = [pages[3], mixed_texts[0][:300], pages[30], "tea", "", pages[17][:200], "word " * 400]
    documents, queries = encoder.encode_documents(texts), encoder.encode_queries(texts)
    np.testing.assert_allclose(model.encode_document(texts, batch_size=4), documents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.encode_query(texts, batch_size=4), queries, rtol=0, atol=1e-5)
    model.save(str(tmp_path))
    again = load(tmp_path, device="cpu")
    np.testing.assert_allclose(again.encode_document(texts), documents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(again.encode_query(texts), queries, rtol=0, atol=1e-5)
    # The corpus has a say: without its statistics the vectors are others.
    (config,) = tmp_path.glob("**/corpus_statistics.safetensors")
    bare = TorchEncoder(encoder.backbone, again_without(config.parent), **PROMPTS)
    assert np.abs(bare.encode_documents(texts[:1]) - documents[:1]).max() > 1e-3
    # The module's folder is a fitted head for TorchEncoder, too.
    same = TorchEncoder.from_pretrained(
        "minilm", head=config.parent, denoise=False, dtype="float32", device="cpu", **PROMPTS
    )
    assert same.fingerprint == encoder.fingerprint


def again_without(folder: Path) -> GlotHead:
    """A saved head as it was before it was fitted."""
    from glot_rag.head import load_head

    head, _ = load_head(folder)
    return head


def test_counts_that_are_not_those_that_were_saved_are_refused(
    shipped: tuple[TorchEncoder, SentenceTransformer], pages: list[str], tmp_path: Path
) -> None:
    encoder, model = shipped
    model.save(str(tmp_path / "saved"))
    (counts,) = (tmp_path / "saved").glob("**/corpus_statistics.safetensors")
    assert isinstance(load(tmp_path / "saved", device="cpu")[0], GlotTransformer)
    encoder.fit(pages[:55]).save(tmp_path / "other")
    counts.write_bytes((tmp_path / "other" / "head" / "corpus_statistics.safetensors").read_bytes())
    with pytest.raises(BundleError, match="were not saved with its head"):
        load(tmp_path / "saved")
    counts.write_bytes(counts.read_bytes()[:-9])
    with pytest.raises(BundleError, match="is damaged"):
        load(tmp_path / "saved")
    counts.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load(tmp_path / "saved")


def test_flattened_and_left_padded(
    residual: tuple[TorchEncoder, SentenceTransformer], features_of: Callable[..., dict[str, Any]], pages: list[str]
) -> None:
    _, model = residual
    pooling: GlotPooling = model[1]
    features = features_of(model, [pages[3], "tea", pages[4][:300], "a note on wings"])
    expected = pooling({**features})["sentence_embedding"]
    mask = features["attention_mask"].bool()
    lengths = mask.sum(1)
    flat = {
        "input_ids": features["input_ids"][mask][None],
        "token_embeddings": features["token_embeddings"][mask][None],
        LAYER_STATES: {number: layer[mask][None] for number, layer in features[LAYER_STATES].items()},
        "cu_seq_lens_q": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)),
    }
    torch.testing.assert_close(pooling(flat)["sentence_embedding"], expected, rtol=0, atol=1e-5)

    def to_the_right(tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack([row.roll(len(row) - int(n), 0) for row, n in zip(tensor, lengths, strict=True)])

    left = {name: to_the_right(features[name]) for name in ("input_ids", "attention_mask", "token_embeddings")}
    left[LAYER_STATES] = {number: to_the_right(layer) for number, layer in features[LAYER_STATES].items()}
    torch.testing.assert_close(pooling(left)["sentence_embedding"], expected, rtol=0, atol=1e-5)
    del features["input_ids"]
    with pytest.raises(InputError, match="needs the token ids"):
        pooling({**features})
    pooling({**features}, task="query")  # queries are mean-pooled, whatever recurs


def test_in_another_process(shipped: tuple[TorchEncoder, SentenceTransformer], pages: list[str]) -> None:
    encoder, model = shipped
    model.encode_document(pages[:1])  # what has been used can still be sent
    together = model.encode_document(pages[:4], device=["cpu"], chunk_size=2)
    np.testing.assert_allclose(together, encoder.encode_documents(pages[:4]), rtol=0, atol=1e-5)
