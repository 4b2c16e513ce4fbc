"""`GlotDenoiser` in LangChain: the denoiser's texts, metadata that stay, and a splitter after it."""

from __future__ import annotations

import asyncio

import pytest
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
from langchain_community.document_transformers import EmbeddingsRedundantFilter
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_glot import GlotDenoiser
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pydantic import ValidationError

from glot_rag import Denoiser
from glot_rag.errors import InputError


@pytest.fixture(scope="module")
def transformer() -> GlotDenoiser:
    return GlotDenoiser(device="cpu", dtype="float32", group_key="host")


@pytest.fixture(scope="module")
def documents(pages: list[str]) -> list[Document]:
    hosts = ["a.org", "b.org"]
    return [Document(id=f"p{n}", page_content=page, metadata={"host": hosts[n % 2]}) for n, page in enumerate(pages)]


def test_texts_are_the_denoisers(transformer: GlotDenoiser, documents: list[Document], pages: list[str]) -> None:
    fitted = transformer.fit(documents)
    groups = [document.metadata["host"] for document in documents]
    expected = Denoiser.from_pretrained(device="cpu", dtype="float32").fit(pages, groups).denoise(pages, groups)
    found = fitted.transform_documents(documents)
    assert [document.page_content for document in found] == [each.text for each in expected]
    assert any(each.kept < 1 for each in expected)
    for document, given, each in zip(found, documents, expected, strict=True):
        spans = [list(span) for span in each.spans]
        assert document.id == given.id
        assert document.metadata == {**given.metadata, "glot_kept": each.kept, "glot_spans": spans}
        assert set(given.metadata) == {"host"}
    assert asyncio.run(fitted.atransform_documents(documents)) == found
    assert not transformer.denoiser.fitted  # fit gives a new one


def test_a_text_splitter_takes_what_comes_out(transformer: GlotDenoiser, documents: list[Document]) -> None:
    splitter = RecursiveCharacterTextSplitter(chunk_size=100, chunk_overlap=0)
    chunks = splitter.split_documents(transformer.transform_documents(documents[:3]))
    assert {chunk.metadata["host"] for chunk in chunks} == {"a.org", "b.org"}


def test_a_filter_before_it_leaves_no_vector_of_the_noisy_text_behind(
    transformer: GlotDenoiser, documents: list[Document]
) -> None:
    embeddings = DeterministicFakeEmbedding(size=4)
    unlike = EmbeddingsRedundantFilter(embeddings=embeddings).transform_documents(documents[:3])
    assert all("embedded_doc" in each.state for each in unlike)  # type: ignore[attr-defined]
    cleaned = transformer.transform_documents(unlike)
    assert {type(each) for each in cleaned} == {Document}
    nearest = EmbeddingsFilter(embeddings=embeddings, similarity_threshold=None, k=1)
    for each in cleaned:
        (found,) = nearest.compress_documents(cleaned, each.page_content)
        assert found.page_content == each.page_content


def test_a_misspelt_setting_and_too_few_documents_are_told(transformer: GlotDenoiser) -> None:
    with pytest.raises(ValidationError, match="grop_key"):
        GlotDenoiser(grop_key="host")  # type: ignore[call-arg]
    with pytest.raises(InputError, match="expected at least 3"):
        transformer.fit([Document("one"), Document("two")])
    with pytest.raises(ValidationError, match="threshold"):
        GlotDenoiser(threshold=1.5)
    with pytest.raises(ValidationError, match="frozen"):
        transformer.threshold = 0.9  # it would change nothing: the model is loaded
    assert transformer.transform_documents([]) == []
