"""`glot-rag evaluate` and `glot-rag noise`: what noise does to a collection's search, and the noisy collection."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from glot_rag.cli.options import Backbone, Seed, console, in_a_folder


class Queries(str, Enum):
    """Which queries of a collection are used, by the parity of their number."""

    all = "all"
    even = "even"
    odd = "odd"


Dataset = Annotated[
    str,
    typer.Option(
        help="A folder in BEIR layout, a folder of documents (queries are made from them), ir_datasets:ID, or 'stdlib' "
        "for the built-in collection."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(evaluate)
    app.command("noise")(write_noise)


def evaluate(
    dataset: Dataset,
    gold: Annotated[
        Path | None,
        typer.Option(help="Folder with a corpus.jsonl of the same ids without noise, for documents that are noisy."),
    ] = None,
    queries: Annotated[Queries, typer.Option(help="Only queries with an even or odd number.")] = Queries.all,
    limit: Annotated[int | None, typer.Option(min=2, help="Documents of 'stdlib', drawn at random.")] = None,
    noise: Annotated[
        list[str],
        typer.Option(
            help="none (documents as they are), or a kind and its ratio: words:0.8. Kinds: words, boilerplate, "
            "gibberish, offtopic, log, markup, strings, chat, headers, foreign, ocr. With a place or a size: "
            "log:0.5@end/lines. Mixed: words:0.4+ocr:0.2."
        ),
    ] = ["none", "words:0.5", "words:0.8", "boilerplate:0.5", "boilerplate:0.8"],  # noqa: B006 (typer copies it)
    max_words: Annotated[
        int, typer.Option(min=0, help="Words of a document that noise is put into, in all; 0: whole, noise on top.")
    ] = 170,
    seed: Seed = 0,
    pooling: Annotated[
        str, typer.Option(help="Comma-separated: mean,max,cls,last,adapool,glot, or directories of trained heads.")
    ] = "mean,adapool,glot",
    fit: Annotated[bool, typer.Option("--fit", help="Also fit trained poolings to the noisy documents.")] = False,
    denoise: Annotated[bool, typer.Option("--denoise", help="Also denoise documents first; fitted, if --fit.")] = False,
    chunk: Annotated[
        bool, typer.Option("--chunk", help="Embed chunks of 1,000 characters; a document ranks as its best chunk.")
    ] = False,
    system: Annotated[
        str,
        typer.Option(
            help="Comma-separated baselines: bm25, hybrid, whole, stock, best-chunk, stripped, df-drop, ngram-drop, "
            "sif, sif-weights."
        ),
    ] = "",
    backbone: Backbone = "minilm",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results here.", callback=in_a_folder)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with charts, tests and the worst queries.", callback=in_a_folder)
    ] = None,
) -> None:
    """Put noise into a collection's documents, or take noisy ones, and measure what each pooling still finds."""
    from glot_rag.evaluation import EvaluationSettings, evaluate_corpus, print_report, save_page

    settings = EvaluationSettings(
        noises=noise, fit=fit, denoise=denoise, chunk=chunk, baselines=_names(system), seed=seed, max_words=max_words
    )
    report = evaluate_corpus(
        dataset,
        settings,
        gold=gold,
        poolings=_names(pooling),
        backbone=backbone,
        queries=queries.value,
        limit=limit,
    )
    print_report(report, console())
    if json_file:
        report.save(json_file)
    if html:
        save_page(report, html)


def write_noise(
    dataset: Dataset,
    noise: Annotated[
        str, typer.Option(help="As for `evaluate`, one setting: words:0.8, log:0.5@end, words:0.4+ocr:0.2.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the noisy collection; missing or empty.")],
    seed: Seed = 0,
) -> None:
    """Write a collection with noise in its documents, in BEIR layout, to measure other systems on."""
    from contextlib import closing

    from glot_rag.evaluation import open_collection, parse_noise
    from glot_rag.evaluation.noise.noisy_collection import write_noisy_collection
    from glot_rag.progress import bar

    chosen = parse_noise(noise)
    with closing(open_collection(dataset, seed=seed)) as collection, bar() as shown:
        task = shown.add_task("writing", total=len(collection))
        settings = write_noisy_collection(
            collection, chosen, out, seed=seed, progress=lambda done: shown.update(task, completed=done)
        )
    for problem in settings["problems"]:
        typer.echo(f"Note: {problem}", err=True)
    typer.echo(f"{settings['documents']:,} documents with noise {chosen}, seed {seed}, in {out}")


def _names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]
