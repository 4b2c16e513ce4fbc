"""`GlotDenoiser` in Haystack: the denoiser's texts, and a pipeline that is written down and read again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("haystack", reason="these are tests of an integration")

from haystack import Document, Pipeline
from haystack.components.preprocessors import DocumentSplitter
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder
from haystack_integrations.components.preprocessors.glot import GlotDenoiser

from glot_rag import Denoiser
from glot_rag.errors import InputError


def test_a_fitted_denoiser_in_a_pipeline(pages: list[str], tmp_path: Path) -> None:
    documents = [Document(content=page, id=str(n), meta={"url": "https://a.org/x"}) for n, page in enumerate(pages)]
    groups = ["a.org"] * len(pages)
    fitted = Denoiser.from_pretrained(device="cpu", dtype="float32").fit(pages, groups)
    denoiser = GlotDenoiser(device="cpu", dtype="float32").fit(documents, tmp_path / "denoiser")
    assert denoiser.denoiser.fingerprint == fitted.fingerprint
    assert denoiser.to_dict()["init_parameters"]["model"] == str(tmp_path / "denoiser")
    with pytest.raises(InputError, match="expected at least 3"):
        GlotDenoiser().fit(documents[:2], tmp_path / "other")
    with pytest.raises(TypeError, match="GlotDenoiser expects a list of Documents"):
        GlotDenoiser().fit("text", tmp_path / "other")  # type: ignore[arg-type]
    pipeline = Pipeline()
    pipeline.add_component("denoise", denoiser)
    pipeline.add_component("split", DocumentSplitter(split_by="word", split_length=40))
    pipeline.connect("denoise", "split")
    documents = documents[:4]
    again = Pipeline.loads(pipeline.dumps())
    for each in (pipeline, again):
        found = each.run({"denoise": {"documents": documents}}, include_outputs_from={"denoise"})
        clean = found["denoise"]["documents"]
        expected = fitted.denoise(pages[:4], ["a.org"] * 4)
        assert [document.content for document in clean] == [one.text for one in expected]
        assert [document.id for document in clean] == ["0", "1", "2", "3"]
        assert [document.meta["glot_kept"] for document in clean] == [one.kept for one in expected]
        assert clean[0].meta["glot_spans"] == [list(span) for span in expected[0].spans]
        assert all("glot_kept" in document.meta for document in found["split"]["documents"])
    assert [document.content for document in documents] == pages[:4]
    assert asyncio.run(denoiser.run_async(documents)) == {"documents": clean}


def test_a_path_and_a_device_of_haystack_are_written_as_texts(tmp_path: Path) -> None:
    Denoiser.from_pretrained(device="cpu").save(tmp_path)
    pipeline = Pipeline()
    pipeline.add_component("denoise", GlotDenoiser(tmp_path, device=ComponentDevice.from_str("cpu")))
    pipeline.add_component("embed", GlotDocumentEmbedder(tmp_path, head=tmp_path))
    again = Pipeline.loads(pipeline.dumps())
    assert again.to_dict() == pipeline.to_dict()
    assert again.get_component("denoise").run([Document(content="Water boils.")])["documents"][0].content


def test_what_it_cannot_clean_is_refused() -> None:
    denoiser = GlotDenoiser(device="cpu", dtype="float32")
    assert denoiser.run([]) == {"documents": []}
    with pytest.raises(TypeError, match="GlotDenoiser expects a list of Documents"):
        denoiser.run("text")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no text to clean"):
        denoiser.run([Document(content=None, id="picture")])
