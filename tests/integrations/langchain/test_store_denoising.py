"""`GlotVectorStore.from_documents` fits a denoiser, embeds clean text, stores the given one, and keeps the denoiser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_glot import GlotDenoiser, GlotVectorStore
from langchain_glot.denoising import StoreDenoiser, _repeated
from recording import SIZE, Recording

from glot_rag import Denoiser
from glot_rag.errors import InputError, MissingExtraError
from glot_rag.index import export_index, import_index
from glot_rag.index.kept_denoiser import kept_denoiser

BAR = "Home Products Pricing Log in We use cookies to improve your experience"  # the beginning of that of `pages`


@pytest.fixture(scope="module")
def documents(pages: list[str]) -> list[Document]:
    return [
        Document(id=f"p{n}", page_content=page, metadata={"source": f"https://a.org/{n}"})
        for n, page in enumerate(pages)
    ]


@pytest.fixture(scope="module")
def fitted(documents: list[Document]) -> Denoiser:
    return Denoiser.from_pretrained().fit([each.page_content for each in documents], ["a.org"] * len(documents))


@pytest.fixture(scope="module")
def path(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that `from_documents` made and closed."""
    made = tmp_path_factory.mktemp("store") / "index"
    GlotVectorStore.from_documents(documents, Recording(size=SIZE), path=made).close()
    return made


def test_the_vector_is_that_of_the_clean_text_and_the_text_is_the_given_one(
    documents: list[Document], fitted: Denoiser, path: Path
) -> None:
    embeddings = Recording(size=SIZE)
    texts = [document.page_content for document in documents]
    expected = fitted.denoise(texts, ["a.org"] * len(texts))
    assert sum(each.text != text for each, text in zip(expected, texts, strict=True)) > 30
    with GlotVectorStore(embeddings, path, read_only=True) as store:
        found = store.get_by_ids([str(document.id) for document in documents])
        assert [document.page_content for document in found] == texts
        for document, given, each in zip(found, documents, expected, strict=True):
            facts = {"kept": each.kept, "spans": [list(span) for span in each.spans]}
            assert document.metadata == {**given.metadata, "glot_denoised": facts}
            assert set(given.metadata) == {"source"}
        # Recording's vectors are those of the text alone: a document is nearest to its own clean text.
        for number in (0, 17, 59):
            ((hit, score),) = store.similarity_search_with_score(expected[number].text, k=1)
            assert hit.id == f"p{number}"
            assert score == pytest.approx(1, abs=1e-6)
            assert hit.page_content == texts[number]
            query, wanted = expected[number].text, [expected[number].text]
            for clean in (
                store.similarity_search(query, k=1, clean=True),
                [pair[0] for pair in store.similarity_search_with_score(query, k=1, clean=True)],
                store.similarity_search_by_vector(embeddings.embed_query(query), k=1, clean=True),
                store.max_marginal_relevance_search(query, k=1, clean=True),
                store.as_retriever(search_kwargs={"k": 1, "clean": True}).invoke(query),
            ):
                assert [document.page_content for document in clean] == wanted
                assert clean[0].metadata == hit.metadata


def test_what_is_added_later_goes_through_the_kept_denoiser(
    documents: list[Document], fitted: Denoiser, path: Path, tmp_path: Path
) -> None:
    with GlotVectorStore(Recording(size=SIZE), path, read_only=True) as store:
        store.index.backup(tmp_path / "copy")
    embeddings = Recording(size=SIZE)
    later = Document(id="later", page_content=f"{BAR} Bees dance to tell where flowers are. {BAR}")
    with GlotVectorStore(embeddings, tmp_path / "copy") as store:
        assert store.denoiser is not None
        assert store.denoiser.fingerprint == fitted.fingerprint
        assert asyncio.run(store.aadd_documents([later, *documents[:5]])) == ["later", "p0", "p1", "p2", "p3", "p4"]
        assert embeddings.documents == [fitted.denoise([later.page_content])[0].text]  # the others have not changed
        assert store.get_by_ids(["later"])[0].page_content == later.page_content
        cleaned = Document(id="cleaned", page_content="Menu Log in Bees", metadata={"glot_kept": 0.5})
        store.add_documents([cleaned, later])
        assert embeddings.documents[1:] == ["Menu Log in Bees"]
        assert store.get_by_ids(["cleaned"]) == [cleaned]
        assert store.similarity_search("Menu Log in Bees", k=1, clean=True) == [cleaned]
        store.add_texts(["x"], ids=["later"])
        assert store.get_by_ids(["later"])[0].metadata["glot_denoised"]["kept"] == 1
        export_index(store.index, tmp_path / "export")
    import_index(tmp_path / "export", tmp_path / "again")
    again = kept_denoiser(tmp_path / "again")
    assert again is not None
    assert again.fingerprint == fitted.fingerprint


def test_what_a_store_says_of_a_text_is_not_taken_for_a_part_of_it(path: Path) -> None:
    with GlotVectorStore(Recording(size=SIZE), path, read_only=True) as store:
        (found,) = store.get_by_ids(["p0"])
    assert found.metadata["glot_denoised"]["kept"] < 1
    half = Document(id="half", page_content=found.page_content[200:], metadata=found.metadata)
    odd = Document(id="odd", page_content="of another program", metadata={"glot_denoised": "yes"})
    with GlotVectorStore(Recording(size=SIZE)) as other:
        other.add_documents([half, odd])
        clean = other.similarity_search("any", k=2, clean=True)
    assert {(each.id, each.page_content) for each in clean} == {("half", half.page_content), ("odd", odd.page_content)}
    assert all("glot_denoised" not in each.metadata for each in clean)


def test_told_otherwise(documents: list[Document], fitted: Denoiser, tmp_path: Path) -> None:
    embeddings = Recording(size=SIZE)
    texts = [document.page_content for document in documents]
    with GlotVectorStore.from_documents(documents, embeddings, path=tmp_path / "plain", denoise=False) as store:
        assert store.denoiser is None
        assert store.get_by_ids(["p0"]) == documents[:1]
    assert embeddings.documents == texts
    with pytest.raises(InputError, match="was filled without a denoiser; leave denoise= out"):
        GlotVectorStore.from_documents(documents, embeddings, path=tmp_path / "plain", denoise=True)
    embeddings.documents.clear()
    with GlotVectorStore.from_documents(documents[:3], embeddings, path=tmp_path / "index", denoise=fitted) as store:
        assert embeddings.documents == [each.text for each in fitted.denoise(texts[:3], ["a.org"] * 3)]
    GlotVectorStore.from_documents(documents[:3], embeddings, path=tmp_path / "index").close()
    with pytest.raises(InputError, match=r"was filled with TorchDenoiser\(.*fitted=True\), which is kept beside it"):
        GlotVectorStore.from_documents(documents, embeddings, path=tmp_path / "index", denoise=False)
    with pytest.raises(InputError, match="denoise must be True, False, None or a Denoiser, got str"):
        GlotVectorStore.from_documents(documents, embeddings, denoise="yes")  # type: ignore[arg-type]
    cleaned = GlotDenoiser().transform_documents(documents)
    with GlotVectorStore.from_documents(cleaned, embeddings) as store:
        assert store.denoiser is None


def test_few_documents_are_left_as_they_are_unless_it_is_asked_for(documents: list[Document]) -> None:
    with GlotVectorStore.from_documents(documents[:49], Recording(size=SIZE)) as store:
        assert store.denoiser is None
    with asyncio.run(GlotVectorStore.afrom_documents(documents[:2], Recording(size=SIZE), denoise=True)) as store:
        assert store.denoiser is not None
        assert not store.denoiser.fitted
        assert "glot_denoised" in store.get_by_ids(["p1"])[0].metadata


def test_without_torch_documents_are_embedded_as_they_are_and_the_log_says_so(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object, **__: object) -> Denoiser:
        raise MissingExtraError("torch", "torch")

    monkeypatch.setattr(Denoiser, "from_pretrained", missing)
    with GlotVectorStore.from_documents(documents, Recording(size=SIZE)) as store:
        assert store.get_by_ids(["p0"]) == documents[:1]
    assert "documents are embedded as they are" in caplog.text
    with pytest.raises(MissingExtraError):
        GlotVectorStore.from_documents(documents, Recording(size=SIZE), denoise=True)


def test_a_bad_document_is_told_before_a_denoiser_is_fitted(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Denoiser, "from_pretrained", lambda *_, **__: pytest.fail("too early"))
    bad = [*documents, Document(page_content="x", metadata={"tags": {1}})]
    with pytest.raises(InputError, match=r"\['tags'\] must be a str"):
        GlotVectorStore.from_documents(bad, Recording(size=SIZE), path=tmp_path / "index")
    with GlotVectorStore(Recording(size=SIZE), tmp_path / "index") as store:
        assert len(store.index) == 0
        assert StoreDenoiser(store.index).denoiser is None


@pytest.mark.parametrize(
    ("before", "text", "count"),
    [
        ("one two three four five six seven", "three four five six seven eight", 25),
        ("one two three four five six seven", "six seven eight nine ten eleven", 0),  # too short to be no chance
        ("a a a a a a a a a a a a a a a", "a a a a a a a a a a a b", 21),
        ("one two three", "", 0),
        ("", "one two three", 0),
    ],
)
def test_what_a_chunk_repeats(before: str, text: str, count: int) -> None:
    assert _repeated(before, text) == count
