"""`index_documents`: a denoiser is fitted, kept with the store, and used for whatever is inserted later."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.node_parser.glot import GlotDenoiser
from llama_index.vector_stores.glot import GlotVectorStore, index_documents

from glot_rag import Denoiser
from glot_rag.errors import IndexReadOnlyError, InputError
from glot_rag.index.kept_denoiser import kept_denoiser

EMBEDDING = MockEmbedding(embed_dim=4)
BAR = "Home Products Pricing Log in We use cookies to improve your experience"  # the beginning of that of `pages`


@pytest.fixture(scope="module")
def documents(pages: list[str]) -> list[Document]:
    return [Document(id_=f"p{n}", text=page, metadata={"url": f"https://a.org/{n}"}) for n, page in enumerate(pages)]


@pytest.fixture(scope="module")
def fitted(pages: list[str]) -> Denoiser:
    return Denoiser.from_pretrained().fit(pages, ["a.org"] * len(pages))


def texts(store: GlotVectorStore) -> dict[str | None, str]:
    return {node.ref_doc_id: node.get_content() for node in store.get_nodes()}


def test_documents_are_cleaned_before_they_are_cut(
    documents: list[Document], fitted: Denoiser, pages: list[str], tmp_path: Path
) -> None:
    cut = [SentenceSplitter(chunk_size=1024)]
    expected = [each.text for each in fitted.denoise(pages, ["a.org"] * len(pages))]
    with GlotVectorStore(tmp_path / "index", embed_model=EMBEDDING) as store:
        index = index_documents(documents, store, embed_model=EMBEDDING, transformations=cut)
        assert texts(store) == dict(zip((f"p{n}" for n in range(60)), expected, strict=True))
        assert expected != pages
        node = store.get_nodes()[0]
        assert (node.metadata["url"], node.metadata["glot_kept"]) == ("https://a.org/0", fitted.denoise(pages)[0].kept)
        later = f"{BAR} Bees dance to tell where flowers are. {BAR}"
        index.insert(Document(id_="later", text=later))
        assert texts(store)["later"] == fitted.denoise([later])[0].text
    with GlotVectorStore(tmp_path / "index", embed_model=EMBEDDING) as store:
        index = index_documents([], store, embed_model=EMBEDDING, transformations=cut)
        index.insert(Document(id_="again", text=later))
        assert texts(store)["again"] == texts(store)["later"]
        assert documents[0].text == pages[0]
        assert set(documents[0].metadata) == {"url"}
        with pytest.raises(InputError, match="which is kept beside it"):
            index_documents(documents, store, embed_model=EMBEDDING, denoise=False)
    with (
        GlotVectorStore(tmp_path / "index", embed_model=EMBEDDING, read_only=True) as store,
        pytest.raises(IndexReadOnlyError),
    ):
        index_documents(documents[:1], store, embed_model=EMBEDDING)


def test_told_otherwise_or_too_few(documents: list[Document], fitted: Denoiser, pages: list[str]) -> None:
    with GlotVectorStore(embed_model=EMBEDDING) as store:
        index_documents(documents, store, embed_model=EMBEDDING, denoise=False)
        assert texts(store)["p7"] == pages[7]
        with pytest.raises(InputError, match="was filled without a denoiser"):
            index_documents(documents, store, embed_model=EMBEDDING, denoise=True)
    with GlotVectorStore(embed_model=EMBEDDING) as store:
        index_documents(documents[:49], store, embed_model=EMBEDDING)
        assert texts(store)["p7"] == pages[7]
    with GlotVectorStore(embed_model=EMBEDDING) as store:
        index_documents(documents[:9], store, embed_model=EMBEDDING, denoise=fitted)
        assert texts(store)["p7"] == fitted.denoise([pages[7]], ["a.org"])[0].text
        assert store.client is not None
        kept = kept_denoiser(store.client.path)
        assert kept is not None
        assert kept.fingerprint == fitted.fingerprint
    with GlotVectorStore(embed_model=EMBEDDING) as store:
        denoiser = GlotDenoiser()
        index_documents(documents[:9], store, embed_model=EMBEDDING, denoise=denoiser)
        assert texts(store)["p7"] == denoiser.denoiser.denoise([pages[7]])[0].text


def test_a_document_that_is_there_is_replaced(documents: list[Document]) -> None:
    with GlotVectorStore(embed_model=EMBEDDING) as store:
        options = {"embed_model": EMBEDDING, "transformations": [SentenceSplitter(chunk_size=1024)]}
        index_documents(documents[:3], store, **options)
        changed = Document(id_="p1", text="Bees dance.")
        index = index_documents([documents[0], changed], store, **options)
        assert sorted(str(node.ref_doc_id) for node in store.get_nodes()) == ["p0", "p1", "p2"]
        assert texts(store)["p1"] == "Bees dance."
        assert index.docstore.get_document_hash("p1") == changed.hash


def test_another_kind_of_store_is_refused(documents: list[Document]) -> None:
    with pytest.raises(InputError, match="must be a GlotVectorStore, got SimpleVectorStore; for others put"):
        index_documents(documents[:2], SimpleVectorStore(), embed_model=EMBEDDING)  # type: ignore[arg-type]
