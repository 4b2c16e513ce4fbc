"""RAG with Haystack on noisy product pages: what mean pooling and GLOT find for a question. Offline, seconds.

The pages are a shop's: a sentence or two about the thing itself between menus and offers. Two pipelines embed and
search them, one for each pooling; a third, with a filter, builds the prompt for a language model. A few pages show how
it is used, not which pooling is better: for that, see `glot-rag evaluate`.
"""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when haystack is imported

from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder, GlotTextEmbedder

MENU = "Home > Shop > {aisle}  New in | Sale -30% | Gift cards | Stores | Wish list (0) | Basket (0) | Sign in "
OFFERS = " Customers also bought: tea towel 4.99, batteries 6.49, cable 3.99. Free delivery over 25. 4.6 of 5 (312). "
COOKIES = "We value your privacy. Accept all cookies, reject all, or manage settings. "
# name: (aisle, what the page has to say)
PAGES = {
    "kettle": ("kitchen", "Brings a litre of water to the boil in two minutes and switches itself off."),
    "toaster": ("kitchen", "Browns two slices evenly; the crumbs fall into a drawer."),
    "drill": ("tools", "Makes holes in brick and concrete; the battery lasts for sixty of them."),
    "ladder": ("tools", "Three steps of aluminium, safe up to 150 kilograms."),
    "tent": ("outdoors", "Sleeps four, stands in ten minutes and stays dry in heavy rain."),
    "lamp": ("home", "Dims by a touch and remembers how bright it was."),
    "heater": ("home", "Warms a room of twenty square metres and is hardly heard."),
    "speaker": ("home", "Plays for twelve hours on one charge, also beside the pool."),
}
QUESTION = "What do I take to put a screw into a concrete wall?"
TEMPLATE = """Answer from the pages only.
{% for document in documents %}[{{ document.id }}] {{ document.content }}
{% endfor %}Question: {{ question }}"""


def pipeline(pooling: str, documents: list[Document], top_k: int) -> Pipeline:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(GlotDocumentEmbedder(pooling=pooling).run(documents)["documents"])
    made = Pipeline()
    made.add_component("query", GlotTextEmbedder(pooling=pooling))
    made.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=top_k))
    made.connect("query.embedding", "retriever.query_embedding")
    return made


def main() -> None:
    documents = [
        Document(
            id=name,
            content=COOKIES * (number % 3) + MENU.format(aisle=aisle) + text + OFFERS * (1 + number % 2),
            meta={"aisle": aisle},
        )
        for number, (name, (aisle, text)) in enumerate(PAGES.items())
    ]
    print(f"{len(documents)} noisy pages. One of them:\n  {documents[2].content}\n\nQuestion: {QUESTION}\n")
    for pooling in ("mean", "glot"):
        found = pipeline(pooling, documents, top_k=3).run({"query": {"text": QUESTION}})["retriever"]["documents"]
        print(f"pooling={pooling!r}, the three nearest pages:")
        for document in found:
            print(f"  {document.score:.2f} {document.id}: {PAGES[document.id][1]}")
        print()

    rag = pipeline("glot", documents, top_k=1)
    rag.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents", "question"]))
    rag.connect("retriever.documents", "prompt.documents")
    tools = {"field": "meta.aisle", "operator": "==", "value": "tools"}
    answer = rag.run({"query": {"text": QUESTION}, "retriever": {"filters": tools}, "prompt": {"question": QUESTION}})
    print(f"The pipeline's prompt, with a filter for the tools aisle:\n{answer['prompt']['prompt']}")


if __name__ == "__main__":
    main()
