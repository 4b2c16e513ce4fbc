"""RAG with LangChain on noisy web pages: what mean pooling and a fitted store find. Offline, under a minute.

Each page has a sentence or two of its own, among the menus, cookie banners and footers that a scraper brings along.
The store fits a denoiser to the pages: it counts what recurs in them, and leaves that out of the vectors.

1. The same pages and questions go through a `GlotVectorStore` of each kind, and the best hits are compared.
2. A search with a metadata filter gives the pages without their noise.
3. A chain answers a question. Its chat model is a fake one that returns the prompt; put a real one there.

Some seventy pages show how it is used, not how much better it is. For that, see `glot-rag evaluate`.
"""

from __future__ import annotations

import random

from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_glot import GlotEmbeddings, GlotVectorStore

SEED = 0
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
# Pages about other things, as a real site has: events, each at each place.
EVENTS = ["A concert", "A flea market", "A lecture about bats", "A chess tournament", "A reading", "A first-aid course"]
PLACES = ["in the gym", "at the mill", "in the church", "on the square", "in the museum", "at the fire station"]
PLACES += ["in the school", "by the river", "in the library"]
QUESTIONS = {
    "What do I need to take with me to get a new passport?": "passport",
    "When is the rubbish with the wine bottles fetched?": "bins",
    "How do I get rid of limescale?": "kettle",
    "Can I take my bike across the water?": "ferry",
    "When do I cut the rose bushes?": "roses",
    "The Wi-Fi is not working": "router",
    "May I leave my car in front of my flat?": "parking",
    "How do I get to Austria by rail?": "sleeper",
}
NOISE = [
    "We and our 214 partners use cookies. Accept all. Reject all. Manage preferences.",
    "Home | News | Services | Shop | Log in | Register | Search | EN DE FR | Basket (0)",
    "Skip to main content. Open menu. Close menu.",
    "Related articles: 10 things to do this weekend. The best photos of the year.",
    "Share on X. Share on Facebook. Send by e-mail. Print this page.",
    "Subscribe to our newsletter and get 10% off your first order.",
    "Privacy policy. Terms of use. Imprint. © 2024 All rights kept.",
    "Download our app for Android and iOS. Rate us with five stars.",
    "You need to enable JavaScript to see the comments. 3 comments. Write a comment.",
    "Advertisement. Why am I seeing this? Report this ad.",
    "Was this page helpful? Yes. No. Thank you for your feedback.",
    "Sign in to follow this author. 1,204 followers. Last updated two days ago.",
]


def noisy_pages() -> tuple[list[Document], dict[str, str]]:
    """The pages as a scraper finds them, and each page's own sentence by the page's id."""
    source = random.Random(SEED)
    pages = PAGES | {
        f"event-{number}": ("events", "en", f"{event} takes place {place} on {source.randrange(1, 29)} May.")
        for number, (event, place) in enumerate((event, place) for event in EVENTS for place in PLACES)
    }
    documents = []
    for name, (topic, language, text) in pages.items():
        lines = source.sample(NOISE, source.randrange(5, 10))
        lines.insert(source.randrange(1, len(lines)), text)
        documents.append(Document(id=name, page_content=" ".join(lines), metadata={"topic": topic, "lang": language}))
    return documents, {name: text for name, (_, _, text) in pages.items()}


def main() -> None:
    documents, texts = noisy_pages()
    print(f"{len(documents)} noisy pages. One of them:\n  {documents[0].page_content}\n")

    # A new store of 50 documents or more fits a denoiser to them, and keeps it: counts, no text. Without a path a store
    # is temporary. With one, GlotVectorStore(GlotEmbeddings(), "my-index"), it is kept and opened again the next time.
    stores = {
        "mean": GlotVectorStore.from_documents(documents, GlotEmbeddings(pooling="mean"), denoise=False),
        "fitted": GlotVectorStore.from_documents(documents, GlotEmbeddings()),
    }
    right = dict.fromkeys(stores, 0)
    for question, answer in QUESTIONS.items():
        print(question)
        for name, store in stores.items():
            ((document, cosine),) = store.similarity_search_with_score(question, k=1)
            right[name] += document.id == answer
            mark = "*" if document.id == answer else " "
            print(f"  {name:7} {mark} {cosine:.2f} {texts[str(document.id)]}")
    print(f"\nThe answer (*) first: {', '.join(f'{name} {n} of {len(QUESTIONS)}' for name, n in right.items())}.")

    store, question = stores["fitted"], next(iter(QUESTIONS))
    print("\nOnly pages in German, by filter={'lang': 'de'}, and with clean=True without what was dropped of them:")
    for document in store.similarity_search(question, k=3, filter={"lang": "de"}, clean=True):
        print(f"  {document.id}: {document.page_content}")

    prompt = ChatPromptTemplate.from_template("Answer from the pages only.\n{context}\nQuestion: {question}")
    retriever = store.as_retriever(search_kwargs={"k": 2, "filter": {"lang": "en"}, "clean": True})
    chain = (
        {"context": retriever | as_context, "question": RunnablePassthrough()}
        | prompt
        | ParrotFakeChatModel()  # put a real chat model here
        | StrOutputParser()
    )
    print("\nThe chain; its model is a fake one that gives back the prompt:")
    print(chain.invoke(question))
    for store in stores.values():
        store.close()


def as_context(documents: list[Document]) -> str:
    """One line a page, for the prompt."""
    return "\n".join(f"[{document.id}] {document.page_content}" for document in documents)


if __name__ == "__main__":
    main()
