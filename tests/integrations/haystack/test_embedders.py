"""The Haystack pair: vectors against the encoder's, and a pipeline that is written down and read again."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("haystack", reason="these are tests of an integration")

from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.embedders.glot import (
    GlotDocumentEmbedder,
    GlotEvidence,
    GlotTextEmbedder,
    embedders,
)

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import BundleError, InputError, MissingExtraError, ModelNotFoundError

TEXTS = ["We use cookies. Boils a litre in two minutes.", "", "Roses are pruned in early spring."]
SETTINGS: dict[str, Any] = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def encoder() -> TorchEncoder:
    return TorchEncoder.from_pretrained(**SETTINGS)


def test_vectors_are_the_encoders(encoder: TorchEncoder) -> None:
    documents = [Document(content=text, id=str(n), meta={"n": n}) for n, text in enumerate(TEXTS)]
    embedder = GlotDocumentEmbedder(**SETTINGS)
    found = embedder.run(documents)["documents"]
    np.testing.assert_allclose([d.embedding for d in found], encoder.encode_documents(TEXTS), rtol=0, atol=1e-6)
    assert [(d.id, d.content, d.meta) for d in found] == [(d.id, d.content, d.meta) for d in documents]
    assert all(document.embedding is None for document in documents)
    assert asyncio.run(embedder.run_async(documents))["documents"] == found
    query = GlotTextEmbedder(**SETTINGS)
    np.testing.assert_allclose(query.run(TEXTS[0])["embedding"], encoder.encode_queries(TEXTS[:1])[0], atol=1e-6)
    assert asyncio.run(query.run_async(TEXTS[0])) == query.run(TEXTS[0])
    assert query.encoder is embedder.encoder  # loaded once for the pair


def test_metadata_before_the_text(encoder: TorchEncoder) -> None:
    embedder = GlotDocumentEmbedder(meta_fields_to_embed=["title", "none"], **SETTINGS)
    (found,) = embedder.run([Document(content="in spring", meta={"title": "Roses", "other": "x"})])["documents"]
    np.testing.assert_allclose(found.embedding, encoder.encode_documents(["Roses\nin spring"])[0], atol=1e-6)
    embedder = GlotDocumentEmbedder(meta_fields_to_embed=["title"], embedding_separator=": ", **SETTINGS)
    (found,) = embedder.run([Document(content="in spring", meta={"title": "Roses"})])["documents"]
    np.testing.assert_allclose(found.embedding, encoder.encode_documents(["Roses: in spring"])[0], atol=1e-6)


def test_evidence_names_the_lines_that_match(encoder: TorchEncoder) -> None:
    page = "Home | Shop | Log in\nThe kettle boils a litre of water in two minutes.\nIt is made of steel.\n© 2026"
    documents = [Document(content=page, meta={"n": 1}), Document(content=None), Document(content="Roses.")]
    component = GlotEvidence(lines=1, prefix="how is ", **SETTINGS)
    kettle, empty, roses = component.run("hot water made", documents)["documents"]
    (span,) = encoder.explain(page, "how is hot water made").best_spans(1)
    assert kettle.meta["glot_evidence"] == [list(span)]
    assert page[span.start : span.end].startswith("The kettle boils")
    assert (kettle.meta["n"], kettle.content, kettle.id) == (1, page, documents[0].id)
    assert empty.meta["glot_evidence"] == []
    assert [each[:2] for each in roses.meta["glot_evidence"]] in ([], [[0, 6]])
    assert documents[0].meta == {"n": 1}
    assert asyncio.run(component.run_async("hot water made", documents))["documents"] == [kettle, empty, roses]
    assert component.encoder is GlotTextEmbedder(**SETTINGS).encoder
    again = GlotEvidence.from_dict(component.to_dict())
    assert again.to_dict() == component.to_dict()
    with pytest.raises(InputError, match="lines must be 1 or more, got 0"):
        GlotEvidence(lines=0)


def test_prefix_suffix_and_batches(encoder: TorchEncoder) -> None:
    documents = [Document(content=text, meta={"title": "Home"}) for text in TEXTS]
    embedder = GlotDocumentEmbedder(
        prefix="passage: ", suffix=" end", meta_fields_to_embed=["title"], batch_size=2, **SETTINGS
    )
    texts = [f"passage: Home\n{text} end" for text in TEXTS]
    found = embedder.run(documents)
    np.testing.assert_allclose([d.embedding for d in found["documents"]], encoder.encode_documents(texts), atol=1e-6)
    assert found["meta"] == {"model": "minilm", "fingerprint": encoder.fingerprint}
    query = GlotTextEmbedder(prefix="query: ", suffix="?", **SETTINGS)
    found = query.run("roses")
    np.testing.assert_allclose(found["embedding"], encoder.encode_queries(["query: roses?"])[0], atol=1e-6)
    assert found["meta"] == {"model": "minilm", "fingerprint": encoder.fingerprint}
    assert query.encoder is embedder.encoder
    assert embedder.run([]) == {"documents": [], "meta": found["meta"]}
    with pytest.raises(InputError, match="batch_size must be 1 or more, got 0"):
        GlotDocumentEmbedder(batch_size=0)


SERVICE = {"api_key", "api_base_url", "organization", "timeout", "max_retries", "http_client_kwargs", "dimensions"}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(GlotDocumentEmbedder, OpenAIDocumentEmbedder), (GlotTextEmbedder, OpenAITextEmbedder)],
)
def test_haystacks_own_names_and_outputs(mine: Any, theirs: Any) -> None:
    """One of Haystack's embedders can be taken out of a pipeline and ours be put in its place."""
    taken, contract = (inspect.signature(each.__init__).parameters for each in (mine, theirs))
    assert set(contract) - set(taken) - SERVICE <= {"raise_on_failure"}
    for name in (set(taken) & set(contract)) - {"self", "model", "batch_size"}:
        assert taken[name].default == contract[name].default, name
    sockets = [each.__haystack_output__._sockets_dict for each in (mine(), theirs(Secret.from_token("none")))]
    outputs = [{name: socket.type for name, socket in each.items()} for each in sockets]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("wrong", ["text", ["text"], [Document(content="a"), "text"], None])
def test_wrong_input_is_a_type_error_as_in_haystack(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"GlotDocumentEmbedder expects a list of Documents as input\..*GlotTextEmbedder"
    ):
        GlotDocumentEmbedder().run(wrong)
    if wrong != "text":
        with pytest.raises(TypeError, match=r"GlotTextEmbedder expects a string as input\..*GlotDocumentEmbedder"):
            asyncio.run(GlotTextEmbedder().run_async(wrong))


def test_an_asynchronous_pipeline_loads_the_model_in_a_thread(
    encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def load(**options: Any) -> TorchEncoder:
        threads.append(threading.current_thread())
        return encoder

    monkeypatch.setattr(embedders.GlotEncoder, "from_pretrained", load)
    pipeline = Pipeline()
    pipeline.add_component("query", GlotTextEmbedder("another", **SETTINGS))  # one that is not loaded yet
    found = asyncio.run(pipeline.run_async({"query": {"text": TEXTS[0]}}))["query"]["embedding"]
    np.testing.assert_allclose(found, encoder.encode_queries(TEXTS[:1])[0], atol=1e-6)
    (thread,) = threads
    assert thread is not threading.main_thread()


def test_an_exported_encoder_is_loaded_as_one(encoder: TorchEncoder, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not hold a model"):
        GlotDocumentEmbedder(str(tmp_path), backend="onnx").warm_up()
    assert GlotDocumentEmbedder(str(tmp_path), backend="onnx").to_dict()["init_parameters"]["backend"] == "onnx"


def test_a_pipeline_is_written_down_and_read_again(encoder: TorchEncoder) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    documents = [Document(content=text, id=str(n)) for n, text in enumerate(TEXTS)]
    store.write_documents(GlotDocumentEmbedder(**SETTINGS).run(documents)["documents"])
    pipeline = Pipeline()
    pipeline.add_component("query", GlotTextEmbedder(**SETTINGS))
    pipeline.add_component("documents", GlotDocumentEmbedder(**SETTINGS, meta_fields_to_embed=["title"]))
    pipeline.add_component("on", GlotTextEmbedder(device=ComponentDevice.from_str("cpu"), prefix="query: "))
    again = Pipeline.loads(pipeline.dumps())
    assert again.to_dict()["components"]["on"]["init_parameters"]["device"] == "cpu"
    assert again.to_dict() == pipeline.to_dict()
    retriever = Pipeline()
    retriever.add_component("query", again.get_component("query").__class__(**SETTINGS))
    retriever.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
    retriever.connect("query.embedding", "retriever.query_embedding")
    found = retriever.run({"query": {"text": "when do I cut roses?"}})["retriever"]["documents"]
    scores = encoder.encode_documents(TEXTS) @ encoder.encode_queries(["when do I cut roses?"])[0]
    assert [document.id for document in found] == [str(n) for n in np.argsort(-scores)]
    np.testing.assert_allclose([document.score for document in found], np.sort(scores)[::-1], atol=1e-5)


def test_wrong_settings() -> None:
    with pytest.raises(TypeError, match="poling"):
        GlotDocumentEmbedder(poling="mean")  # type: ignore[call-arg]
    with pytest.raises(ModelNotFoundError, match="No model 'some/model' was found"):
        GlotTextEmbedder("some/model").warm_up()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import haystack_integrations.components.embedders.glot as package

    monkeypatch.setitem(sys.modules, "haystack", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'glot-rag\[haystack\]'"):
        importlib.reload(package)
