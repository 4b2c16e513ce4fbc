"""Embeddings that cost nothing and remember what they embedded, and documents for them."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

SIZE = 12


class Recording(DeterministicFakeEmbedding):
    """Remembers what it embedded."""

    documents: list[str] = []  # noqa: RUF012 - pydantic copies it for every object

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.documents.extend(texts)
        return super().embed_documents(texts)


def corpus(size: int = 40) -> list[Document]:
    languages = ("en", "de", "fr")
    return [
        Document(id=f"d{i}", page_content=f"text {i}", metadata={"lang": languages[i % 3], "n": i}) for i in range(size)
    ]
