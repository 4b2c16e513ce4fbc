"""RAG with LangChain on noisy web pages: what mean pooling and GLOT find for a question. No network, under a minute.

Each page is a passage among the cookie banners, menus and footers that a scraper brings along. The same pages and the
same question go through `GlotVectorStore` twice, once for each pooling; then follow a metadata filter and a chain whose
chat model is a fake one that quotes its prompt. A dozen pages show how it is used, not which pooling is better: for
that, see examples/demo.py.
"""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_glot import GlotEmbeddings, GlotVectorStore

BANNER = "We and our 214 partners use cookies. Accept all. Reject all. Manage preferences. Skip to main content. "
MENU = "Home | News | Services | Shop | Log in | Register | Search | EN DE FR | Basket (0) "
FOOTER = " Related articles. Share on X. Subscribe to our newsletter. Privacy policy. Terms. © 2024 All rights kept."

# id: (topic, language, text)
PAGES = {
    "passport": ("town", "en", "Passports are renewed at the town hall. Bring the old one and two recent photographs."),
    "parking": ("town", "en", "Residents get a parking permit for their street online; it is valid for two years."),
    "ausweis": ("town", "de", "Der Reisepass wird im Rathaus verlängert. Bringen Sie zwei aktuelle Fotos mit."),
    "bins": ("town", "en", "Paper is collected on Mondays, glass every second Thursday, garden waste from April on."),
    "tomatoes": ("garden", "en", "Tomato seedlings go outside after the last frost, about sixty centimetres apart."),
    "roses": ("garden", "en", "Roses are pruned in early spring, just above a bud that faces outwards."),
    "sleeper": ("travel", "en", "The night train to Vienna leaves at ten in the evening; a couchette costs 49 euros."),
    "ferry": ("travel", "en", "The ferry takes cars on weekdays only, and bicycles at no charge."),
    "kettle": ("kitchen", "en", "Descale a kettle with vinegar: boil it, let it stand for an hour, then rinse twice."),
    "bread": ("kitchen", "en", "A sourdough loaf is baked for forty minutes, the first half under a lid."),
    "router": ("home", "en", "If the connection drops, restart the router and move it away from the microwave oven."),
    "visa": ("travel", "en", "A travel document must be valid for six months after the day on which you enter."),
}
QUESTION = "What do I need to take with me to get a new passport?"


def main() -> None:
    documents = [
        # The amount of noise differs from page to page, as it does on the web.
        Document(
            id=name,
            page_content=BANNER * (number % 3) + MENU * (number % 4) + text + FOOTER * (1 + number % 2),
            metadata={"topic": topic, "lang": language},
        )
        for number, (name, (topic, language, text)) in enumerate(PAGES.items(), start=2)
    ]
    print(f"{len(documents)} noisy pages. One of them:\n  {documents[3].page_content}\n\nQuestion: {QUESTION}\n")

    # Without a path, a store is temporary. With one it is kept, and opened again the next time:
    # GlotVectorStore(GlotEmbeddings(), "my-index").
    for pooling in ("mean", "glot"):
        with GlotVectorStore.from_documents(documents, GlotEmbeddings(pooling=pooling)) as store:
            print(f"pooling={pooling!r}, the three nearest pages:")
            for document, cosine in store.similarity_search_with_score(QUESTION, k=3):
                print(f"  {cosine:.2f} {document.id}: {PAGES[str(document.id)][2]}")
            print()

    with GlotVectorStore.from_documents(documents, GlotEmbeddings()) as store:
        print("Only pages in German, by filter={'lang': 'de'}:")
        for document in store.similarity_search(QUESTION, k=3, filter={"lang": "de"}):
            print(f"  {document.id}: {PAGES[str(document.id)][2]}")

        prompt = ChatPromptTemplate.from_template("Answer from the pages only.\n{context}\nQuestion: {question}")
        retriever = store.as_retriever(search_kwargs={"k": 2, "filter": {"lang": "en"}})
        chain = (
            {"context": retriever | as_context, "question": RunnablePassthrough()}
            | prompt
            | ParrotFakeChatModel()  # put a real chat model here
            | StrOutputParser()
        )
        print("\nThe chain; its model is a fake one that gives back the prompt:")
        print(chain.invoke(QUESTION))


def as_context(documents: list[Document]) -> str:
    """One line a page, for the prompt."""
    return "\n".join(f"[{document.id}] {document.page_content}" for document in documents)


if __name__ == "__main__":
    main()
