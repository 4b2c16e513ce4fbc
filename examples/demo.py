"""Search noisy documents with mean pooling and with GLOT: first real web pages, then texts with noise put in.

1. 79 pages of a documentation site (`examples/pages`), menus and all. The questions are one-line descriptions from the
   site's overview, which is not among the pages. One vector a page: mean pooling of what the model takes at once, mean
   pooling of the whole page, and GLOT, which drops the noise and reads the rest.
2. One question to mean pooling and to GLOT, and a page that shows what was dropped and which words answer.
3. Docstrings of Python's standard library with noise between their words: what a generator makes can be dosed.

Writes demo-output/: the page, the indexes, a picture and the figures as JSON. Needs no network.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from glot_rag import Document, GlotIndex, Hit, TorchEncoder
from glot_rag.documents import read_documents
from glot_rag.evaluation import EvaluationSettings, evaluate, load_stdlib, print_report, save_picture
from glot_rag.evaluation.metrics import measure

PAGES = Path(__file__).parent / "pages"
NOISES = ["none", "words:0.8"]
SEED = 0

console = Console(highlight=False)


def main() -> None:
    options = parse_arguments()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    console.print(
        "A minute and a half on two free cores, more on older ones; each step says how long it took.", style="dim"
    )
    with step("Load all-MiniLM-L6-v2 and its GLOT heads"):
        glot = TorchEncoder.from_pretrained()
        mean = glot.with_pooling("mean")
        whole = TorchEncoder(mean.backbone, mean.pooling, whole=True)
    documents, questions = read_pages()
    texts = [document.text for document in documents]
    words = sum(len(text.split()) for text in texts)
    with step(f"Fit GLOT to {len(texts)} web pages ({words:,} words): what they repeat counts as noise"):
        fitted = glot.fit(texts)
    indexes = {}
    for name, encoder in (("mean", mean), ("mean, whole", whole), ("GLOT", fitted)):
        path = output / f"index-{name.lower().replace(', ', '-')}"
        shutil.rmtree(path, ignore_errors=True)
        with step(f"Index the pages with {name}"):
            indexes[name] = GlotIndex.create(path, encoder=encoder)
            indexes[name].add(documents)
    found = {name: index.search_batch(list(questions.values()), k=10) for name, index in indexes.items()}
    show_pages(questions, found)
    del found["mean, whole"]
    page = best_example(questions, found)
    show_search(questions[page], page, {name: hits[list(questions).index(page)][:3] for name, hits in found.items()})
    by_id = {document.id: document.text for document in documents}
    evidence = fitted.explain(by_id[page], questions[page])
    evidence.save_html(output / "evidence.html", mean.explain(by_id[page], questions[page]))
    console.print(f"\n{output}/evidence.html shows what was dropped of that page, and which words answer.")
    for index in indexes.values():
        index.close()

    console.rule("Noise that is put in", style="dim")
    collection = load_stdlib(limit=options.documents, seed=SEED)
    settings = EvaluationSettings(NOISES, fit=True, seed=SEED, costs=False)
    encoders = {"mean": mean, "glot": glot}
    with step(f"{options.documents} docstrings, each with its first sentence as query; noise between their words"):
        report = evaluate(collection, encoders, settings)
    report.save(output / "results.json")
    save_picture(report, output / "results.png")
    print_report(report, console)
    console.print(f"\nWritten to {output}/: evidence.html, results.png, results.json and the indexes")


def read_pages() -> tuple[list[Document], dict[str, str]]:
    """The whole visible text of every page, menus included, and the question that each answers."""
    archive = PAGES / "cpp-algorithm.zip"
    documents = [
        Document(each.text, each.id.rpartition("!")[2], {"title": each.title})
        for each in read_documents(archive, html="all")
    ]
    lines = (PAGES / "questions.tsv").read_text(encoding="utf-8").splitlines()
    return documents, dict(line.split("\t") for line in lines)


def show_pages(questions: dict[str, str], found: dict[str, list[list[Hit]]]) -> None:
    """Print how well each index answers all questions."""
    table = Table(title=f"{len(questions)} questions to {len(questions)} pages", title_justify="left")
    table.add_column("")
    for name in ("right page first", "among five", "nDCG@10"):
        table.add_column(name, justify="right")
    for name, hits in found.items():
        ranks = [[hit.id for hit in each] for each in hits]
        first, five = (np.mean([page in rank[:k] for page, rank in zip(questions, ranks, strict=True)]) for k in (1, 5))
        run = {page: {hit.id: hit.score for hit in each} for page, each in zip(questions, hits, strict=True)}
        ndcg = measure({page: {page: 1} for page in questions}, run, ["ndcg@10"])["ndcg@10"]
        table.add_row(name, f"{first:.0%}", f"{five:.0%}", f"{100 * ndcg:.1f}")
    console.print(table)
    console.print(
        "One vector a page. The model takes 256 tokens at once: 'mean' stops there, 'mean, whole' reads on in windows, "
        "and so does GLOT, without what it takes for noise."
    )


def best_example(questions: dict[str, str], found: dict[str, list[list[Hit]]]) -> str:
    """A page that GLOT answers first and mean pooling ranks lowest; the first page if there is none."""

    def rank(hits: Sequence[Hit], page: str) -> int:
        return next((place for place, hit in enumerate(hits) if hit.id == page), len(hits))

    places = {
        page: (rank(glot, page), -rank(mean, page))
        for page, mean, glot in zip(questions, found["mean"], found["GLOT"], strict=True)
    }
    return min(places, key=places.__getitem__)


def show_search(question: str, page: str, found: dict[str, list[Hit]]) -> None:
    """Print what each index found for one question."""
    console.print(Text("\nQuestion: ").append(question, style="bold"))
    console.print(
        "Chosen because the two differ most. How often GLOT helps is in the table, not in one search.", style="dim"
    )
    for name, hits in found.items():
        console.print(f"[bold]{name}[/bold]")
        for place, hit in enumerate(hits, start=1):
            mark = Text(" ← the answer", style="green") if hit.id == page else Text()
            title = str(hit.metadata["title"]).partition(" - ")[0]
            console.print(Padding(Text(f"{place}. {hit.score:.2f} {title}").append_text(mark), (0, 2)))


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is done, and how long it took."""
    console.print(f"{what} …", end=" ")
    start = time.perf_counter()
    yield
    console.print(f"{time.perf_counter() - start:.1f} s", style="dim")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=150, help="docstrings (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
