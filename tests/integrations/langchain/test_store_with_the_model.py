"""`GlotVectorStore` over the real encoder, and in a chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_glot import GlotEmbeddings, GlotVectorStore

from glot_rag import TorchEncoder
from glot_rag.errors import (
    FingerprintMismatchError,
    InputError,
)
from glot_rag.index import GlotIndex

PASSAGES = {
    "kettle": "Accept all cookies. Menu Home About. The kettle boils a litre of water in two minutes. Share on X",
    "passport": "Home > Services. Passports are renewed at the town hall; bring two photographs. Subscribe to our news",
    "garden": "Log in. Tomato seedlings are planted out after the last frost of May. Related articles. Privacy policy",
    "train": "We value your privacy. The night train to Vienna leaves at ten in the evening. Download our app",
}


@pytest.fixture(scope="module")
def minilm() -> GlotEmbeddings:
    return GlotEmbeddings(dtype="float32")


def _once(call: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        assert len(calls) == 1
        return call(*arguments, **options)

    return counted


class TestWithTheModel:
    @pytest.fixture
    def passages(self, minilm: GlotEmbeddings, tmp_path: Path) -> Iterator[GlotVectorStore]:
        documents = [
            Document(id=name, page_content=text, metadata={"topic": name, "long": len(text) > 95})
            for name, text in PASSAGES.items()
        ]
        with GlotVectorStore.from_documents(documents, minilm, path=tmp_path / "index") as store:
            yield store

    def test_nothing_is_denoised_twice(self, minilm: GlotEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
        """`GlotEmbeddings` denoise by themselves; in a store that does so they embed what is left."""
        texts = [f"Home\nShop\nLog in\n{text}\nPrivacy policy\nCookies" for text in PASSAGES.values()]
        encoder = minilm.encoder
        assert isinstance(encoder, TorchEncoder)
        assert encoder.denoiser is not None
        expected = encoder.encode_documents(texts)
        assert encoder.denoise(texts)[0].kept < 1
        with GlotVectorStore.from_texts(texts, minilm, ids=[*PASSAGES], denoise=encoder.denoiser) as store:
            np.testing.assert_allclose(store.index.vectors([*PASSAGES]), expected, atol=1e-6)
            monkeypatch.setattr(type(encoder.denoiser), "denoise", _once(type(encoder.denoiser).denoise))
            store.add_texts(["Home\nShop\nA new text about bees.\nCookies"])

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("where do I get a new passport?", "passport"),
            ("how long until the water is hot?", "kettle"),
            ("when does the sleeper to Austria depart?", "train"),
            ("when can I put young tomatoes in the soil?", "garden"),
        ],
    )
    def test_finds_the_answer(self, passages: GlotVectorStore, question: str, answer: str) -> None:
        assert passages.similarity_search(question, k=1)[0].id == answer
        # Only what is not the answer is left to be found.
        others = {"topic": {"$in": [name for name in PASSAGES if name != answer]}}
        assert passages.similarity_search(question, k=1, filter=others)[0].id != answer

    def test_the_index_is_that_of_the_encoder(self, passages: GlotVectorStore, minilm: GlotEmbeddings) -> None:
        assert passages.index.manifest.fingerprint == minilm.encoder.fingerprint
        np.testing.assert_allclose(
            passages.index.vectors(list(PASSAGES)), minilm.embed_documents(list(PASSAGES.values())), atol=1e-5
        )
        path = passages.index.path
        passages.close()
        with pytest.raises(FingerprintMismatchError):
            GlotVectorStore(GlotEmbeddings(dtype="float32", pooling="mean"), path)
        with GlotIndex.open(path, minilm.encoder) as opened:  # a plain index, for the library's other tools
            assert opened.search("where do I get a new passport?", 1)[0].id == "passport"
        with pytest.raises(InputError, match="fingerprint of their own"):
            GlotVectorStore(minilm, fingerprint="another")

    @pytest.mark.parametrize("run", ["invoke", "ainvoke"])
    async def test_a_chain(self, passages: GlotVectorStore, run: str) -> None:
        prompt = ChatPromptTemplate.from_template("Context: {context}\nQuestion: {question}")
        retriever = passages.as_retriever(search_kwargs={"k": 1})
        chain = (
            {
                "context": retriever | (lambda documents: " ".join(document.page_content for document in documents)),
                "question": RunnablePassthrough(),
            }
            | prompt
            | ParrotFakeChatModel()
            | StrOutputParser()
        )
        question = "where do I get a new passport?"
        answer = chain.invoke(question) if run == "invoke" else await chain.ainvoke(question)
        assert answer == f"Context: {PASSAGES['passport']}\nQuestion: {question}"
