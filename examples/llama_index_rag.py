"""RAG with LlamaIndex on noisy web pages: what mean pooling and a fitted store find. Offline, under a minute.

The pages are a small town's website as a crawler finds it. In every page one or two sentences answer something, among
menus, cookie banners and serial numbers. `index_documents` fits a denoiser to the pages: it counts what recurs in them,
and drops it before the pages are cut and embedded. The hits of mean pooling over whole pages and of the fitted store
are printed side by side, right or wrong.
"""

from __future__ import annotations

import random
import warnings

from llama_index.core import Document
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.vector_stores.glot import GlotVectorStore, index_documents
from rich.console import Console
from rich.table import Table
from rich.text import Text

SEED = 0
TOP_K = 2
NOISE_LINES = 12  # in each page

# name: (department, what the page has to say)
PAGES = {
    "passport": ("citizens", "Bring a photo no older than six months. A new passport takes four weeks to arrive."),
    "identity card": ("citizens", "The plastic card with your picture is ready after ten days and costs 37 euros."),
    "moving house": ("citizens", "Tell us your new address within two weeks after you have moved in."),
    "wedding": ("citizens", "Couples can say yes in the old mill on Saturdays; book the date half a year ahead."),
    "glass": ("waste", "Empty bottles go into the containers behind the church, never before seven in the morning."),
    "garden waste": ("waste", "Branches and leaves are picked up on the first Monday of the month from March on."),
    "old fridge": ("waste", "Large appliances are taken away free of charge; call two days before you put them out."),
    "batteries": ("waste", "Used cells must not go into the bin. Every shop that sells them takes them back."),
    "swimming pool": ("leisure", "The water is heated to 26 degrees and lanes are kept free for training until nine."),
    "library": ("leisure", "Books can be kept for four weeks and renewed twice unless somebody is waiting for them."),
    "dog park": ("leisure", "Off the leash they may run on the meadow by the river, but not while birds are breeding."),
    "parking": ("traffic", "Residents of the inner streets get a yearly permit for one car at the counter."),
    "bicycle": ("traffic", "Locked two-wheelers left at the station for over six weeks are brought to the depot."),
    "snow": ("traffic", "Owners clear the pavement before their house until half past seven and may not use salt."),
}
# Pages about other things, as a real site has: events, each at each place.
EVENTS = ["A concert", "A flea market", "A lecture about bats", "A chess tournament", "A reading", "A first-aid course"]
PLACES = ["in the gym", "at the mill", "in the church", "on the square", "in the museum", "at the fire station"]
PLACES += ["in the school", "by the river", "in the castle"]
QUESTIONS = {
    "How long do I wait for a travel document?": "passport",
    "Where do I throw away jars?": "glass",
    "How do I get rid of a broken washing machine?": "old fridge",
    "How long may I borrow a novel?": "library",
    "Who has to shovel in winter?": "snow",
    "My bike is gone from the railway station, where could it be?": "bicycle",
}
BOILERPLATE = [
    "Home | Town | Services | Events | Contact | Imprint | Sitemap",
    "We use cookies to improve your experience. Accept all / Only necessary / Settings",
    "Share this page on Facebook, X, WhatsApp, or send it by e-mail",
    "Subscribe to our newsletter and never miss an event again!",
    "You need to enable JavaScript to view the map.",
    "Copyright 2024 Town Administration. All rights reserved.",
    "Back to top  Print this page  Read aloud  Easy language",
    "Was this page helpful? Yes / No (3 of 5 stars, 118 votes)",
    "Log in  Register  Forgot your password?  My account",
    "Skip to main content  Open menu  Close menu  Search",
]

console = Console()


def main() -> None:
    # Deprecation warnings inside LlamaIndex's dependencies are not about this example.
    warnings.simplefilter("ignore", DeprecationWarning)
    documents, says = noisy_pages(random.Random(SEED))
    console.print(f"One of {len(documents)} pages:", style="bold")
    console.print(Text(documents[0].get_content(), style="dim"))

    embeddings = {"mean": GlotEmbedding(pooling="mean"), "fitted": GlotEmbedding()}
    found: dict[str, dict[str, list[NodeWithScore]]] = {}
    for name, embedding in embeddings.items():
        with GlotVectorStore(embed_model=embedding) as store:  # without a path: removed when it is closed
            # Fits a denoiser to the pages, unless told otherwise, and keeps it with the store: counts, no text.
            denoise = False if name == "mean" else None
            index = index_documents(documents, store, embed_model=embedding, denoise=denoise)
            retriever = index.as_retriever(similarity_top_k=TOP_K)
            found[name] = {question: retriever.retrieve(question) for question in QUESTIONS}
            only_waste = MetadataFilters(filters=[MetadataFilter(key="department", value="waste")])
            filtered = index.as_retriever(similarity_top_k=TOP_K, filters=only_waste)
            in_waste = filtered.retrieve("Who has to shovel in winter?")

    for question, answer in QUESTIONS.items():
        shown = {name: found[name][question] for name in ("mean", "fitted")}
        console.print()
        console.print(side_by_side(question, answer, shown, says))
    console.print(f"\nRight page first, and among the first {TOP_K}:", style="bold")
    for name, by_question in found.items():
        ranks = [rank_of(QUESTIONS[question], nodes) for question, nodes in by_question.items()]
        console.print(f"  {name:7} {ranks.count(1)} and {len(ranks) - ranks.count(None)} of {len(ranks)}")
    console.print(
        f"{len(QUESTIONS)} questions about {len(documents)} pages show how the parts fit together, not how much better "
        "one is: `glot-rag evaluate` measures that, on your own documents.",
        style="dim",
    )
    console.print("\nThe question about shovelling, with a filter that keeps to the waste department:", style="bold")
    for node in in_waste:
        console.print(f"  {node.score:.2f} {node.metadata['page']}")


def noisy_pages(source: random.Random) -> tuple[list[Document], dict[str, str]]:
    """The pages, their own sentences somewhere between lines that say nothing; and by name what each has to say."""
    pages = PAGES | {
        f"event {number}": ("events", f"{event} takes place {place} on {source.randrange(1, 29)} May.")
        for number, (event, place) in enumerate((event, place) for event in EVENTS for place in PLACES)
    }
    documents = []
    for name, (department, says) in pages.items():
        lines = [
            source.choice(BOILERPLATE) if source.random() < 0.7 else f"ref {source.getrandbits(96):x}"
            for _ in range(NOISE_LINES)
        ]
        lines.insert(source.randrange(2, NOISE_LINES - 1), says)
        documents.append(
            Document(
                text="\n".join(lines),
                id_=name,
                metadata={"page": name, "department": department},
                # With the page's name in the embedded text, the answer would be too easy.
                excluded_embed_metadata_keys=["page", "department"],
            )
        )
    return documents, {name: says for name, (_, says) in pages.items()}


def side_by_side(question: str, answer: str, found: dict[str, list[NodeWithScore]], says: dict[str, str]) -> Table:
    """A row a rank, a column an embedding: score, page, and what the page has to say."""
    table = Table(title=Text(question, style="bold"), title_justify="left", show_lines=True, expand=True)
    for name in found:
        table.add_column(name, ratio=1)
    for row in zip(*found.values(), strict=True):
        cells = []
        for node in row:
            page = node.metadata["page"]
            style = "bold green" if page == answer else ""
            cells.append(Text(f"{node.score:.2f} {page}\n", style=style).append(says[page], style="dim"))
        table.add_row(*cells)
    return table


def rank_of(answer: str, nodes: list[NodeWithScore]) -> int | None:
    """The place of the right page, counted from 1."""
    pages = [node.metadata["page"] for node in nodes]
    return pages.index(answer) + 1 if answer in pages else None


if __name__ == "__main__":
    main()
