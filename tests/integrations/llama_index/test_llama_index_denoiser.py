"""`GlotDenoiser` in LlamaIndex: in a pipeline before a splitter, with metadata that stay, and its cache's key."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, ImageNode, IndexNode, MetadataMode, Node
from llama_index.node_parser.glot import GlotDenoiser

from glot_rag import Denoiser
from glot_rag.errors import InputError


@pytest.fixture(scope="module")
def transformation() -> GlotDenoiser:
    return GlotDenoiser(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def documents(pages: list[str]) -> list[Document]:
    return [Document(id_=f"p{n}", text=page, metadata={"url": "https://a.org/x"}) for n, page in enumerate(pages)]


def test_texts_are_the_denoisers(transformation: GlotDenoiser, documents: list[Document], pages: list[str]) -> None:
    fitted = transformation.fit(documents)
    groups = ["a.org"] * len(pages)  # the URLs' host
    expected = Denoiser.from_pretrained(device="cpu", dtype="float32").fit(pages, groups).denoise(pages, groups)
    found = fitted(documents)
    assert [node.get_content() for node in found] == [each.text for each in expected]
    assert any(each.kept < 1 for each in expected)
    for node, given, each in zip(found, documents, expected, strict=True):
        assert node.node_id == given.node_id
        assert {**node.metadata, **given.metadata} == node.metadata
        assert node.metadata["glot_kept"] == each.kept
        assert node.metadata["glot_spans"] == [list(span) for span in each.spans]
        assert "glot" not in node.get_content(metadata_mode=MetadataMode.EMBED)
        assert "glot" not in node.get_content(metadata_mode=MetadataMode.LLM)
        assert set(given.metadata) == {"url"}
    assert asyncio.run(fitted.acall(documents)) == found


def test_in_a_pipeline_before_a_splitter(transformation: GlotDenoiser, documents: list[Document]) -> None:
    nodes = IngestionPipeline(transformations=[transformation, SentenceSplitter(chunk_size=64, chunk_overlap=0)]).run(
        documents=documents[:3]
    )
    assert {node.ref_doc_id for node in nodes} == {"p0", "p1", "p2"}
    assert all("glot_kept" in node.metadata for node in nodes)


def test_a_pipelines_cache_tells_a_fitted_one_from_another(
    transformation: GlotDenoiser, documents: list[Document]
) -> None:
    fitted = transformation.fit(documents)
    assert fitted.to_dict() != transformation.to_dict()
    assert fitted.to_dict()["fitted_to"] == fitted.denoiser.fingerprint


def test_another_process_gets_it_by_its_path(
    transformation: GlotDenoiser, documents: list[Document], tmp_path: Path
) -> None:
    copy = pickle.loads(pickle.dumps(transformation))  # noqa: S301 (made here)
    assert copy.to_dict() == transformation.to_dict()
    fitted = transformation.fit(documents)
    with pytest.raises(InputError, match="save it"):
        pickle.dumps(fitted)
    fitted.denoiser.save(tmp_path / "denoiser")
    again = GlotDenoiser(model_name=str(tmp_path / "denoiser"), device="cpu", dtype="float32")
    assert again(documents[:5]) == fitted(documents[:5])


def test_a_node_without_text_is_refused(transformation: GlotDenoiser) -> None:
    assert transformation([]) == []
    assert transformation([ImageNode(text=""), IndexNode(text="", index_id="1")])[0].get_content() == ""
    with pytest.raises(InputError, match="is a Node, which has no text"):
        transformation([Node()])
