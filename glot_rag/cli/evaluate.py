"""`glot-rag evaluate` and `glot-rag noise`: what noise does to a collection's search, and the noisy collection."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.cli.options import Backbone, Device, Dtype, Seed, console
from glot_rag.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from glot_rag.embedder import Vectors
    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.evaluation.baselines import StartSearch

    Embed = Callable[[Sequence[str]], Vectors]


class Queries(str, Enum):
    """Which queries of a dataset are used, by the parity of their number."""

    all = "all"
    even = "even"
    odd = "odd"


class QueryFrom(Enum):
    """What the queries of a folder of documents are made from."""

    AUTO = "auto"
    TITLE = "title"
    HEADING = "heading"
    FIRST = "first"
    HELDOUT = "heldout"


Dataset = Annotated[
    str,
    typer.Option(
        help="A folder in BEIR layout, a folder of .txt, .md, .html or .jsonl documents (queries are made from them), "
        "ir_datasets:ID, or 'stdlib' for the built-in corpus."
    ),
]
MadeFrom = Annotated[
    QueryFrom, typer.Option("--query-from", help="Of a folder of documents: what queries are made from.")
]
MaxQueries = Annotated[
    int, typer.Option(min=1, help="Of a folder of documents: how many queries are made at most, drawn at random.")
]
Limit = Annotated[int | None, typer.Option(min=2, help="Documents of the stdlib corpus, drawn at random.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(evaluate)
    app.command("noise")(write_noise)


def evaluate(
    dataset: Dataset,
    noise: Annotated[
        list[str],
        typer.Option(
            help="none, or a kind and its ratio: words:0.8. Kinds: words, boilerplate, gibberish, offtopic, log, "
            "markup, strings, chat, headers, foreign, ocr. With a place or a size: log:0.5@end/lines. Mixed: "
            "words:0.4+ocr:0.2."
        ),
    ] = ["none", "words:0.5", "words:0.8", "boilerplate:0.5", "boilerplate:0.8"],  # noqa: B006 (typer copies it)
    pooling: Annotated[
        str,
        typer.Option(
            help="Comma-separated: mean,max,cls,last,adapool,glot,glot+prune; glot+adapt and glot+adapt+prune look at "
            "what the noisy collection repeats."
        ),
    ] = "mean,adapool,glot",
    system: Annotated[
        str, typer.Option(help="Comma-separated, beside the poolings: bm25,best-chunk,stripped,stock,hybrid.")
    ] = "",
    backbone: Backbone = "minilm",
    head: Annotated[
        list[Path] | None, typer.Option(help="Directory of a trained head, used for the pooling it was trained as.")
    ] = None,
    queries: Annotated[Queries, typer.Option(help="Only queries with an even or odd number.")] = Queries.all,
    max_words: Annotated[
        int, typer.Option(min=0, help="Words of a noisy document in all; 0: the whole document.")
    ] = 170,
    limit: Limit = None,
    query_from: MadeFrom = QueryFrom.AUTO,
    max_queries: MaxQueries = 2_000,
    seed: Seed = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep vectors here, so that a run that was stopped goes on where it was; runs may share it."),
    ] = None,
    own_ceilings: Annotated[
        bool, typer.Option(help="Give every pooling and system the documents without the noise, too: its own ceiling.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write them here as a table too.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw nDCG against noise here (.png or .svg).")] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Corrupt a collection's documents and measure what each pooling still finds."""
    from contextlib import ExitStack

    import torch

    from glot_rag.encoder.torch_encoder import TorchEncoder
    from glot_rag.evaluation import evaluate, parse_noise, print_report, save_csv, save_page, save_picture
    from glot_rag.evaluation.baselines import load_stock
    from glot_rag.evaluation.collections.registry import open_collection
    from glot_rag.evaluation.encoders import Encoders, remembered
    from glot_rag.evaluation.vector_cache import VectorCache
    from glot_rag.progress import bar

    noises = [parse_noise(spec) for spec in noise]
    poolings = [name.strip() for name in pooling.split(",")]
    chosen = _chosen_systems(system)
    with ExitStack() as stack:
        data = open_collection(
            dataset, queries.value, limit=limit, seed=seed, query_from=query_from.value, max_queries=max_queries
        )
        stack.callback(data.close)
        mean = TorchEncoder.from_pretrained(backbone, pooling="mean", device=device, dtype=dtype)
        encoders, adapting = _encoders(poolings, mean, head or [])
        fused = "glot+adapt" if "glot+adapt" in poolings else "glot"  # with BM25
        if "hybrid" in chosen and fused not in encoders:
            encoders |= _encoders(["glot"], mean, head or [])[0]
        kept = None
        if cache is not None:
            kept = VectorCache(cache)
            stack.callback(kept.close)
        shown = stack.enter_context(bar())

        def advance(count: int) -> None:
            if shown.task_ids:
                shown.update(shown.task_ids[-1], total=len(data), advance=count)

        together = Encoders(encoders, adapting, kept, advance)
        stock = load_stock(backbone) if "stock" in chosen else None
        alone = _searches(chosen, mean.encode_documents, mean.encode_queries, stock)
        kept_stock = remembered(stock, _stock_key(mean), kept) if stock else None
        means = Encoders({"mean": mean}, cache=kept)
        report = evaluate(
            data,
            together.documents,
            together.queries,
            poolings,
            noises,
            seed=seed,
            max_words=max_words,
            prepare=together.prepare if adapting else None,
            embed_ceiling=together.ceiling,
            own_ceilings=own_ceilings,
            encoders={name: encoders[name].fingerprint for name in poolings},
            systems=_searches(
                chosen,
                lambda texts: means.documents(texts)["mean"],
                lambda texts: means.queries(texts)["mean"],
                kept_stock,
            ),
            hybrids={"hybrid": ("bm25", fused)} if "hybrid" in chosen else None,
            timed=together.timed() | {name: partial(_index, start) for name, start in alone.items()},
            setup={
                "noise": " ".join(map(str, noises)),
                "poolings": " ".join(poolings),
                "systems": " ".join(chosen),
                "queries": queries.value,
                "query_from": query_from.value,
                "max_queries": str(max_queries),
                "limit": str(limit or ""),
                "backbone": Path(backbone).name,
                "dtype": str(mean.backbone.dtype).removeprefix("torch."),
                "device": str(mean.backbone.device),
                "threads": str(torch.get_num_threads()),
            },
            progress=lambda message: shown.add_task(message, total=None),
        )
    if kept is not None and kept.damaged:
        typer.echo(f"{kept.path}: {kept.damaged:,} vectors were damaged and have been computed again", err=True)
    print_report(report, console())
    if json_file:
        report.save(json_file)
    if html:
        save_page(report, html)
    if csv_file:
        save_csv(report, csv_file)
    if picture:
        save_picture(report, picture)


def write_noise(
    dataset: Dataset,
    noise: Annotated[
        str, typer.Option(help="As for `evaluate`, one setting: words:0.8, log:0.5@end, words:0.4+ocr:0.2.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the noisy collection; missing or empty.")],
    max_words: Annotated[
        int, typer.Option(min=0, help="Words of a noisy document in all; 0: the whole document.")
    ] = 170,
    limit: Limit = None,
    query_from: MadeFrom = QueryFrom.AUTO,
    max_queries: MaxQueries = 2_000,
    seed: Seed = 0,
) -> None:
    """Write a collection with noise in its documents, in BEIR layout, to measure other systems on."""
    from contextlib import closing

    from glot_rag.evaluation import parse_noise
    from glot_rag.evaluation.collections.registry import open_collection
    from glot_rag.evaluation.noise.noisy_collection import write_noisy_collection

    chosen = parse_noise(noise)
    opened = open_collection(dataset, limit=limit, seed=seed, query_from=query_from.value, max_queries=max_queries)
    with closing(opened) as collection:
        settings = write_noisy_collection(collection, chosen, out, seed=seed, max_words=max_words)
    for problem in settings["problems"]:
        typer.echo(f"Note: {problem}", err=True)
    typer.echo(f"{settings['documents']:,} documents with noise {chosen}, seed {seed}, in {out}")


def _chosen_systems(names: str) -> list[str]:
    """Names with commas between them; `hybrid` brings bm25 along."""
    from glot_rag.evaluation.baselines import SYSTEMS

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in SYSTEMS:
            raise InputError(f"there is no system {name!r}; expected some of: {', '.join(SYSTEMS)}")
    return [*([] if "bm25" in chosen or "hybrid" not in chosen else ["bm25"]), *dict.fromkeys(chosen)]


def _encoders(poolings: list[str], mean: TorchEncoder, heads: list[Path]) -> tuple[dict[str, TorchEncoder], set[str]]:
    """Name -> encoder, mean among them, and the names of those that are adapted."""
    by_pooling = {_head_pooling(path): path for path in heads}
    encoders, adapting = {}, set()
    for name in poolings:
        base, *modes = name.split("+")
        if modes not in ([], ["prune"], ["adapt"], ["adapt", "prune"]):
            raise InputError(f"after a pooling's name only +adapt, +prune or +adapt+prune may stand; got {name!r}")
        encoders[name] = mean.with_pooling(base, by_pooling.get(base), denoise="prune" in modes)
        if "adapt" in modes:
            adapting.add(name)
    return {**encoders, "mean": mean}, adapting


def _searches(chosen: list[str], documents: Embed, queries: Embed, stock: Embed | None) -> dict[str, StartSearch]:
    """The systems that search the texts themselves, over mean pooling's embedding of documents and queries."""
    from glot_rag.evaluation.baselines import BM25, BestChunk, EmbeddedSearch, strip_boilerplate

    def stripped(texts: Sequence[str]) -> Vectors:
        return documents([strip_boilerplate(text) for text in texts])

    searches: dict[str, StartSearch] = {}
    for name in chosen:
        if name == "bm25":
            searches[name] = BM25
        elif name == "best-chunk":
            searches[name] = partial(BestChunk, documents, queries)
        elif name == "stripped":
            searches[name] = partial(EmbeddedSearch, stripped, queries)
        elif name == "stock" and stock is not None:
            searches[name] = partial(EmbeddedSearch, stock, stock)
    return searches


def _index(start: StartSearch, texts: Sequence[str]) -> None:
    """What a system does with documents before it can be asked."""
    from glot_rag.evaluation.baselines import search_texts

    search_texts(start, texts, texts[:1], 1)


def _stock_key(mean: TorchEncoder) -> str:
    """What decides the stock model's vectors."""
    from importlib import metadata

    version = metadata.version("sentence-transformers")
    return f"sentence-transformers {version} {mean.backbone.fingerprint}"


def _head_pooling(path: Path) -> str:
    from glot_rag.head import load_head

    return load_head(path)[0].name
