"""Mean pooling against GLOT on noisy documents, from the first vector to a search. Takes some minutes on two cores.

1. The documents are docstrings of Python's standard library. Each one's first sentence is taken out and is its query.
2. Noise goes between their words: several kinds and amounts.
3. Three ways to embed the noisy documents are measured: mean pooling, GLOT, and GLOT fitted to the documents, which has
   counted what they repeat.
4. Two indexes are built from documents with random strings, and one query is searched in both.

Writes demo-output/: a picture, the results as JSON, and the two indexes.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from glot_rag import (
    Document,
    GlotIndex,
    Hit,
    TorchEncoder,
    encode_documents_together,
)
from glot_rag.evaluation import (
    EvaluationSettings,
    NoiseSpec,
    corrupt,
    evaluate,
    load_stdlib,
    print_report,
    save_picture,
)

NOISES = ["none", "words:0.5", "words:0.8", "boilerplate:0.8", "gibberish:0.5"]
SEARCHED = NoiseSpec("gibberish", 0.5)
SEED = 0
FITTED = "GLOT, fitted"

console = Console()


def main() -> None:
    options = parse_arguments()
    glot = TorchEncoder.from_pretrained(head=options.head)
    encoders = {"mean": glot.with_pooling("mean"), "glot": glot}
    collection = load_stdlib(limit=options.documents, seed=SEED)
    # fit=True adds GLOT fitted to the noisy documents of each noise setting.
    settings = EvaluationSettings(NOISES, fit=True, seed=SEED, costs=False)
    report = evaluate(collection, encoders, settings, progress=show_stage)
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    report.save(output / "results.json")
    save_picture(report, output / "results.png")
    console.print()
    print_report(report, console)

    noisy = corrupt(list(collection.documents.values()), SEARCHED, seed=SEED)
    texts = [each.text for each in noisy]
    masks = {name: each.signal_mask for name, each in zip(collection.documents, noisy, strict=True)}
    found = {}
    chosen = {"mean": encoders["mean"], FITTED: glot.fit(texts)}
    vectors = encode_documents_together(chosen, texts, show_progress=True)
    documents = [Document(text, name) for name, text in zip(collection.documents, texts, strict=True)]
    for pooling, path in (("mean", output / "index-mean"), (FITTED, output / "index-glot")):
        shutil.rmtree(path, ignore_errors=True)
        with GlotIndex.create(path, encoder=chosen[pooling]) as index:
            index.add_vectors(documents, vectors[pooling])
            found[pooling] = dict(
                zip(collection.queries, index.search_batch(list(collection.queries.values()), k=3), strict=True)
            )
    show_search(collection.queries, found, masks)
    console.print(f"\nWritten: {output}/results.png, {output}/results.json, {output}/index-mean, {output}/index-glot")


def show_stage(stage: str, done: int, total: int) -> None:
    """Print which documents are embedded next."""
    if done == 0:
        console.print(f"Embedding {total:,} documents, noise {stage}", style="dim", highlight=False)


def show_search(queries: dict[str, str], found: dict[str, dict[str, list[Hit]]], masks: dict[str, list[bool]]) -> None:
    """Print what each pooling found for one query on which they differ."""
    first = {
        pooling: {name for name, hits in by_query.items() if hits[0].id == name} for pooling, by_query in found.items()
    }
    # A query has the name of the document that answers it.
    differing = sorted(
        first[FITTED] - first["mean"],
        # First those that mean pooling misses altogether, then names without an underscore, which more people know.
        key=lambda name: (name in {hit.id for hit in found["mean"][name]}, "_" in name, name),
    )
    name = differing[0] if differing else next(iter(queries))
    console.rule("One search", style="dim")
    console.print(
        f"The same documents in two indexes, {SEARCHED.ratio:.0%} of their words {SEARCHED.kind}. Right answer first: "
        f"mean {len(first['mean'])}, GLOT fitted {len(first[FITTED])} of {len(queries)} queries.",
        highlight=False,
    )
    if differing:
        console.print(
            f"Shown is one of the {len(differing)} queries that only GLOT answers first (only mean: "
            f"{len(first['mean'] - first[FITTED])}).",
            highlight=False,
        )
    console.print(Text("\nQuery: ").append(queries[name], style="bold"))
    console.print(Text(f"Answered by: {name}", style="dim"))
    for pooling, by_query in found.items():
        console.print(f"\n[bold]{pooling}[/bold]")
        for rank, hit in enumerate(by_query[name], start=1):
            mark = Text(" ← the answer", style="green") if hit.id == name else Text()
            console.print(Text(f" {rank}. {hit.score:.2f} {hit.id}").append_text(mark))
            console.print(Padding(excerpt(hit.text, masks[hit.id]), (0, 4)))
    console.print(
        "\nDim words are noise. Mean pooling counts them like the others. GLOT drops tokens that its head takes "
        "for noise, inside the backbone. How often that helps is in the table above, not in one search.",
        highlight=False,
    )


def excerpt(text: str, mask: list[bool], words: int = 45) -> Text:
    """The part of a noisy text that has most of the document's own words. Noise words are dim."""
    start = max(range(max(1, len(mask) - words + 1)), key=lambda at: sum(mask[at : at + words]))
    line = Text("… ", style="dim")
    shown = list(zip(text.split(), mask, strict=True))[start : start + words]
    for word, own in shown:
        line.append(f"{word} ", style="not dim" if own else "")
    return line.append("…")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=500, help="how many (default: %(default)s)")
    parser.add_argument("--head", type=Path, help="directory of a trained head (default: the one that ships)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
