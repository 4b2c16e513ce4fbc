"""LangChain's own test suites for embeddings, and what they leave out."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_glot import GlotEmbeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from glot_rag import GlotEncoder, TorchEncoder
from glot_rag.errors import InputError, ModelNotFoundError


class TestGlotEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return GlotEmbeddings


class TestGlotEmbeddingsIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return GlotEmbeddings


@pytest.fixture(scope="module")
def embeddings() -> GlotEmbeddings:
    return GlotEmbeddings(dtype="float32")


def test_gives_the_encoders_vectors(embeddings: GlotEmbeddings) -> None:
    encoder = GlotEncoder.from_pretrained(dtype="float32")
    texts = ["one text", "accept all cookies to continue reading", ""]
    np.testing.assert_allclose(embeddings.embed_documents(texts), encoder.encode_documents(texts), atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query("one"), encoder.encode_queries(["one"])[0], atol=1e-6)


NOISY = (
    "qx7f kzzr 0a9f3e wplq The kettle boils vvtk 77b1 jjqr a litre of gkkp zzx9 water in e4c1 hqqt two minutes. "
    "bnnq 9f2d xkcz ppwq 3d77 lzzt"
)


def test_documents_and_queries_are_embedded_by_different_poolings(embeddings: GlotEmbeddings) -> None:
    assert np.dot(embeddings.embed_documents([NOISY])[0], embeddings.embed_query(NOISY)) < 0.9999


def test_pruning_brings_a_noisy_document_nearer_to_its_clean_words(embeddings: GlotEmbeddings) -> None:
    pruning = GlotEmbeddings(dtype="float32", denoise=True)
    clean = embeddings.embed_query("The kettle boils a litre of water in two minutes.")
    mean = np.dot(embeddings.embed_query(NOISY), clean)
    assert np.dot(pruning.embed_documents([NOISY])[0], clean) > mean + 0.05


def test_async_leaves_the_event_loop_free(embeddings: GlotEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding waits here until the loop has gone on: one that is blocked would never get there."""
    encode, gone_on = TorchEncoder.encode_documents, threading.Event()

    def wait_and_encode(self: TorchEncoder, *arguments: Any, **settings: Any) -> Any:
        assert gone_on.wait(60), "the event loop was blocked"
        return encode(self, *arguments, **settings)

    async def embed_beside_another_task() -> list[list[float]]:
        task = asyncio.ensure_future(embeddings.aembed_documents(["a sentence about kettles"]))
        while not task.done():
            await asyncio.sleep(0.001)
            gone_on.set()
        return task.result()

    monkeypatch.setattr(TorchEncoder, "encode_documents", wait_and_encode)
    assert len(asyncio.run(embed_beside_another_task())) == 1


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValidationError, match="poling"):
        GlotEmbeddings(poling="mean")  # type: ignore[call-arg]


def test_a_copy_for_another_process_is_its_settings(embeddings: GlotEmbeddings) -> None:
    state = pickle.dumps(embeddings)
    assert len(state) < 1_000
    received = pickle.loads(state)  # noqa: S301 (our own bytes)
    assert received.dtype == "float32"
    assert received.embed_query("one") == embeddings.embed_query("one")


def test_settings_of_a_loaded_model_cannot_be_changed(embeddings: GlotEmbeddings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.denoise = False  # it would change nothing
    embeddings.show_progress = False


def test_wrong_names_are_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="pooling must be one of"):  # pydantic's wrapping of a ValueError
        GlotEmbeddings(pooling="median")
    with pytest.raises(ModelNotFoundError, match="No model 'some/model' was found"):
        GlotEmbeddings(model="some/model")


def test_a_string_in_place_of_a_list_is_refused(embeddings: GlotEmbeddings) -> None:
    with pytest.raises(InputError, match="put it in a list"):
        embeddings.embed_documents("one text")  # type: ignore[arg-type]
