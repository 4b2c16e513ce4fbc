"""RAG with Haystack on noisy product pages: what mean pooling finds with and without their noise. Offline, seconds.

The pages are a shop's: a sentence or two about the product, among menus and offers. `GlotDenoiser` is fitted to the
pages: it counts what recurs in them, and drops it. One pipeline searches the pages as they are, the other the clean
ones; the latter, with a metadata filter, also builds the prompt for a language model.

Some sixty pages show how it is used, not how much better it is. For that, see `glot-rag evaluate`.
"""

from __future__ import annotations

import os
import random
import tempfile

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when haystack is imported

from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.glot import GlotDocumentEmbedder, GlotTextEmbedder
from haystack_integrations.components.preprocessors.glot import GlotDenoiser

SEED = 0
NOISE = [
    "New in | Sale -30% | Gift cards | Stores | Wish list (0) | Basket (0) | Sign in",
    "Customers also bought: tea towel 4.99, batteries 6.49, cable 3.99.",
    "We value your privacy. Accept all cookies, reject all, or manage settings.",
    "Free delivery over 25. Thirty days to return it. Pay by card or invoice.",
    "4.6 of 5 stars (312 reviews). Write a review. Ask a question.",
    "In stock. Only 3 left. Add to basket. Compare. Share.",
    "Sign up for our newsletter and save 10% on your first order.",
    "Recently viewed: wall clock, door mat, set of six glasses.",
    "Item 1 of 12. Zoom in. Zoom out. Previous picture. Next picture.",
    "Delivery times may be longer before the holidays. Track my order. Help and contact.",
    "Find a shop near you. Opening hours. Careers. Press. Terms and conditions.",
]
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
# Most products of a shop are something else, each in several colours.
THINGS = ["A T-shirt of cotton", "A cushion", "A scarf of wool", "A notebook", "A mug", "A plant pot", "A candle"]
COLOURS = ["red", "dark blue", "green", "white", "black", "grey", "yellow", "brown"]
QUESTIONS = {
    "What do I take to put a screw into a concrete wall?": "drill",
    "Something that makes hot water for tea": "kettle",
    "Where shall we spend the night in the mountains?": "tent",
    "It is too cold in my study.": "heater",
    "How do I reach the top shelf?": "ladder",
    "I would like my bread crisp.": "toaster",
    "Something to read by in bed": "lamp",
    "I want to listen to music in the garden.": "speaker",
}
TEMPLATE = """Answer from the pages only.
{% for document in documents %}[{{ document.id }}] {{ document.content }}
{% endfor %}Question: {{ question }}"""


def pages() -> tuple[list[Document], dict[str, str]]:
    """The pages with their noise, and by their ids what each has to say."""
    source = random.Random(SEED)
    things = [f"{thing}, {colour}." for thing in THINGS for colour in COLOURS]
    says = PAGES | {f"article {number}": ("gifts", text) for number, text in enumerate(things)}
    documents = []
    for name, (aisle, text) in says.items():
        lines = source.sample(NOISE, source.randrange(5, len(NOISE) + 1))
        lines.insert(source.randrange(1, len(lines)), text)
        content = f"Home > Shop > {aisle} {' '.join(lines)}"
        documents.append(Document(id=name, content=content, meta={"aisle": aisle}))
    return documents, {name: text for name, (_, text) in says.items()}


def pipeline(documents: list[Document], pooling: str | None = None) -> Pipeline:
    """Embed the documents, and make what searches them. Both embedders take the same settings, and share a model."""
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    embedder = GlotDocumentEmbedder(pooling=pooling, progress_bar=False)
    store.write_documents(embedder.run(documents)["documents"])
    made = Pipeline()
    made.add_component("query", GlotTextEmbedder(pooling=pooling))
    made.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    made.connect("query.embedding", "retriever.query_embedding")
    made.warm_up()  # loads no second model: it shares the document embedder's
    return made


def main() -> None:
    documents, says = pages()
    print(f"{len(documents)} noisy pages. One of them:\n  {documents[2].content}\n")
    with tempfile.TemporaryDirectory() as folder:
        # Saved in a folder: counts, no text. In an indexing pipeline it stands before the splitter.
        denoiser = GlotDenoiser().fit(documents, folder)
        clean = denoiser.run(documents)["documents"]
    pipelines = {"mean": pipeline(documents, pooling="mean"), "fitted": pipeline(clean)}
    right = dict.fromkeys(pipelines, 0)
    for question, answer in QUESTIONS.items():
        print(question)
        for name, each in pipelines.items():
            (document,) = each.run({"query": {"text": question}})["retriever"]["documents"]
            right[name] += document.id == answer
            mark = "*" if document.id == answer else " "
            print(f"  {name:7} {mark} {document.score:.2f} {says[document.id]}")
    print(f"\nThe answer (*) first: {', '.join(f'{name} {n} of {len(QUESTIONS)}' for name, n in right.items())}.")

    rag, question = pipelines["fitted"], next(iter(QUESTIONS))
    rag.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents", "question"]))
    rag.connect("retriever.documents", "prompt.documents")
    tools = {"field": "meta.aisle", "operator": "==", "value": "tools"}
    made = rag.run({"query": {"text": question}, "retriever": {"filters": tools}, "prompt": {"question": question}})
    print(f"\nThe pipeline's prompt, with a filter for the tools aisle:\n{made['prompt']['prompt']}")


if __name__ == "__main__":
    main()
