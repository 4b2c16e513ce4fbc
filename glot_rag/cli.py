"""The command line: `glot-rag train | index | search | evaluate | export`, and the `index_commands`.

Results go to stdout, progress to stderr. Exit code 0 on success, 2 on bad arguments or bad input with one message.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glot_rag.config import CONVOLUTIONS, FORMS, JUMPING, NORMS, READOUTS, TRAINED_POOLINGS, HeadConfig
from glot_rag.errors import GlotError, InputError
from glot_rag.index_commands import register
from glot_rag.trial_commands import register as register_trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from glot_rag.embedder import Vectors
    from glot_rag.encoder import GlotEncoder
    from glot_rag.evaluation.systems import TextSearch
    from glot_rag.index import Hit
    from glot_rag.onnx_encoder import OnnxEncoder

app = typer.Typer(
    name="glot-rag",
    help="Embeddings that survive noisy documents: token-graph pooling over a frozen transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
register(app)
register_trials(app)


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


Backbone = Annotated[
    str, typer.Option("--backbone", help="minilm, smollm2, a hub id, a directory, a .gguf file or a saved encoder.")
]
Pooling = Annotated[str, typer.Option(help="glot, adapool, mean, max, cls or last.")]
Head = Annotated[Path | None, typer.Option(help="Directory of a trained head; the shipped one if not given.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; chosen if not given.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; chosen if not given.")]
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
Limit = Annotated[int | None, typer.Option(min=2, help="Documents of the stdlib corpus, drawn at random.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and exit code 2."""
    try:
        app()
    except GlotError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of .txt, .md, .html and .jsonl.")],
    out: Annotated[Path, typer.Option(help="Directory of the index; made if missing, added to if it is one.")],
    backbone: Backbone = "minilm",
    pooling: Pooling = "glot",
    head: Head = None,
    onnx: Annotated[Path | None, typer.Option(help="Embed with this exported encoder; needs no torch.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files and lines out.")] = False,
    adapt: Annotated[
        bool, typer.Option(help="Take what these documents repeat for noise; with a new index of 50 documents or more.")
    ] = True,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Index documents; those already there with the same id and text are not embedded again."""
    from glot_rag.errors import IndexNotFoundError
    from glot_rag.index import GlotIndex, read_documents

    documents = read_documents(paths, on_error="skip" if skip_bad else "raise")
    try:
        GlotIndex.open(out, read_only=True, check=False).close()  # the checks come with the real opening
        encoder = _exported(onnx) if onnx else _index_encoder(out, device, dtype)
        opened = GlotIndex.open(out, encoder=encoder)
    except IndexNotFoundError:
        if onnx:
            encoder = _exported(onnx)
        else:
            from glot_rag.encoder import GlotEncoder

            encoder = GlotEncoder.from_pretrained(backbone, pooling=pooling, head=head, device=device, dtype=dtype)
            if adapt and encoder.adaptable:
                again = read_documents(paths, on_error="skip" if skip_bad else "raise")
                encoder = _adapted(encoder, (each.text for each in again))
        opened = GlotIndex.create(out, encoder=encoder)
        encoder.save(out / "encoder")
    with opened:
        ids = opened.add(documents, show_progress=True)
        for error in documents.skipped:
            typer.echo(f"Left out: {error}", err=True)
        typer.echo(f"{len(ids):,} documents from {len(documents.files):,} files; {len(opened):,} in {out}")


@app.command()
def adapt(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of .txt, .md, .html and .jsonl.")],
    out: Annotated[Path, typer.Option(help="Directory for the encoder, which every integration loads by its path.")],
    backbone: Backbone = "minilm",
    pooling: Pooling = "glot",
    head: Head = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files and lines out.")] = False,
) -> None:
    """Save an encoder that takes what these documents repeat for noise."""
    from glot_rag.encoder import GlotEncoder
    from glot_rag.index import read_documents

    documents = read_documents(paths, on_error="skip" if skip_bad else "raise")
    texts = sampled(each.text for each in documents)
    for error in documents.skipped:
        typer.echo(f"Left out: {error}", err=True)
    encoder = GlotEncoder.from_pretrained(backbone, pooling=pooling, head=head)
    encoder.adapt(texts, show_progress=True).save(out)
    typer.echo(f"{out}: adapted to {len(texts):,} documents. Use it with GlotEncoder.from_pretrained({str(out)!r})")


def _adapted(encoder: GlotEncoder, texts: Iterable[str]) -> GlotEncoder:
    """The encoder adapted to documents of any number; as it was where there are too few."""
    from glot_rag.collection import FEWEST_DOCUMENTS

    kept = sampled(texts)
    if len(kept) < FEWEST_DOCUMENTS:
        typer.echo(f"Not adapted: {len(kept)} documents are too few to tell what they repeat.", err=True)
        return encoder
    return encoder.adapt(kept, show_progress=True)


def sampled(texts: Iterable[str]) -> list[str]:
    """As many as `GlotEncoder.adapt` counts; memory does not grow with the collection (Vitter 1985, algorithm R)."""
    from glot_rag.encoder import MOST_COUNTED

    kept: list[str] = []
    draw = random.Random(0)
    for number, text in enumerate(texts):
        if number < MOST_COUNTED:
            kept.append(text)
        elif (place := draw.randrange(number + 1)) < MOST_COUNTED:
            kept[place] = text
    return kept


def _exported(path: Path) -> OnnxEncoder:
    from glot_rag.onnx_encoder import OnnxEncoder

    return OnnxEncoder(path)


def _index_encoder(directory: Path, device: str | None, dtype: str | None) -> GlotEncoder | OnnxEncoder:
    from glot_rag.onnx_encoder import is_bundle

    if is_bundle(directory / "encoder"):
        return _exported(directory / "encoder")
    if not (directory / "encoder" / "encoder.json").is_file():
        raise InputError(
            f"{directory} does not say which encoder made it (no encoder/encoder.json, which `glot-rag index` writes): "
            f"open it from Python with GlotIndex.open(path, encoder=...)"
        )
    from glot_rag.encoder import GlotEncoder

    return GlotEncoder.from_pretrained(directory / "encoder", device=device, dtype=dtype)


@app.command()
def search(
    directory: Annotated[Path, typer.Argument(help="Directory of the index.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as a JSON list.")] = False,
    onnx: Annotated[Path | None, typer.Option(help="Embed with this exported encoder; needs no torch.")] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Search an index that `glot-rag index` made."""
    from glot_rag.index import GlotIndex

    GlotIndex.open(directory, read_only=True, check=False).close()  # a wrong path is told before a model is loaded
    encoder = _exported(onnx) if onnx else _index_encoder(directory, device, dtype)
    with GlotIndex.open(directory, encoder=encoder, read_only=True) as opened:
        hits = opened.search(query, k=k)
    if as_json:
        records = [{"id": h.id, "score": h.score, "text": h.text, "metadata": dict(h.metadata)} for h in hits]
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    else:
        _print_hits(hits)


def _print_hits(hits: list[Hit]) -> None:
    from rich.text import Text

    console = _console()
    if not hits:
        console.print("Nothing found: the index is empty.")
    for rank, hit in enumerate(hits, start=1):
        console.print(Text.assemble((f"{rank}. {hit.id}", "bold"), (f"  {hit.score:.3f}", "dim")))
        passage = Text(" ".join(hit.text.split())[:400], no_wrap=False)
        console.print(passage, style="default")
        console.print()


@app.command()
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
    seed: Seed = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write them here as a table too.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw nDCG against noise here (.png or .svg).")] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Corrupt a collection's documents and measure what each pooling still finds."""
    from glot_rag.encoder import GlotEncoder, encode_documents_together, encode_queries_together
    from glot_rag.evaluation import (
        evaluate,
        load_dataset,
        parse_noise,
        print_report,
        save_csv,
        save_page,
        save_picture,
    )

    noises = [parse_noise(spec) for spec in noise]
    poolings = [name.strip() for name in pooling.split(",")]
    chosen = _chosen_systems(system)
    data = load_dataset(dataset, queries.value, limit=limit, seed=seed, query_from=query_from.value)
    mean = GlotEncoder.from_pretrained(backbone, pooling="mean", device=device, dtype=dtype)
    heads = {_head_pooling(path): path for path in head or []}
    encoders, adapting = {}, set()
    for name in poolings:
        base, *modes = name.split("+")
        if modes not in ([], ["prune"], ["adapt"], ["adapt", "prune"]):
            raise InputError(f"after a pooling's name only +adapt, +prune or +adapt+prune may stand; got {name!r}")
        encoders[name] = mean.with_pooling(base, heads.get(base), prune="prune" in modes)
        if "adapt" in modes:
            adapting.add(name)
    encoders["mean"] = mean
    if "hybrid" in chosen and "glot" not in encoders:
        encoders["glot"] = mean.with_pooling("glot", heads.get("glot"))
    messages = _console(stderr=True)

    def embed_documents(texts: Sequence[str]) -> dict[str, Vectors]:
        chosen = {name: each.adapt(texts) if name in adapting else each for name, each in encoders.items()}
        return encode_documents_together(chosen, texts, show_progress=True)

    report = evaluate(
        data,
        embed_documents,
        lambda texts: encode_queries_together(encoders, texts),
        poolings,
        noises,
        seed=seed,
        max_words=max_words,
        embed_ceiling=lambda texts: {"mean": mean.encode_documents(texts, show_progress=True)},
        encoders={name: encoders[name].fingerprint for name in poolings},
        systems=_searches(chosen, mean, backbone),
        hybrids={"hybrid": ("bm25", "glot")} if "hybrid" in chosen else None,
        progress=lambda message: messages.print(message, style="dim", highlight=False),
    )
    print_report(report, _console())
    if json_file:
        report.save(json_file)
    if html:
        save_page(report, html)
    if csv_file:
        save_csv(report, csv_file)
    if picture:
        save_picture(report, picture)


@app.command("noise")
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
    seed: Seed = 0,
) -> None:
    """Write a collection with noise in its documents, in BEIR layout, to measure other systems on."""
    from contextlib import closing

    from glot_rag.evaluation import parse_noise
    from glot_rag.evaluation.noisy_corpus import write_noisy_corpus
    from glot_rag.evaluation.sources import open_collection

    chosen = parse_noise(noise)
    with closing(open_collection(dataset, limit=limit, seed=seed, query_from=query_from.value)) as collection:
        settings = write_noisy_corpus(collection, chosen, out, seed=seed, max_words=max_words)
    for problem in settings["problems"]:
        typer.echo(f"Note: {problem}", err=True)
    typer.echo(f"{settings['documents']:,} documents with noise {chosen}, seed {seed}, in {out}")


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Directory for the bundle; replaces an older one.")] = None,
    check: Annotated[Path | None, typer.Option(help="Measure this bundle again, and export nothing.")] = None,
    backbone: Backbone = "minilm",
    pooling: Pooling = "glot",
    head: Head = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest input; the model's own if not given.")] = None,
    precision: Annotated[str, typer.Option(help="float32, float16, bfloat16 (half the file) or int8.")] = "float32",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Write it even if more is lost than is tolerated.")
    ] = False,
    texts: Annotated[int | None, typer.Option(min=1, help="Documents to measure over; 200 or 1,000.")] = None,
    text: Annotated[list[Path] | None, typer.Option(help="JSONL with texts of your own to measure over, too.")] = None,
) -> None:
    """Write backbone and head as one ONNX graph, which `--onnx` and OnnxEncoder run without torch."""
    if (out is None) == (check is None):
        raise InputError("give --out DIR to export, or --check DIR to measure a bundle again")
    # What exports is built on this library, so it is looked up only here.
    exporter = importlib.import_module("glot_onnx")
    own = []
    if text:
        from glot_rag.training.texts import read_texts

        own = [each.text for each in read_texts(text)]
    if check is not None:
        path, report = check, exporter.check_bundle(check, texts, own)
    else:
        from glot_rag.encoder import GlotEncoder

        assert out is not None
        encoder = GlotEncoder.from_pretrained(
            backbone, pooling=pooling, head=head, max_tokens=max_tokens, dtype="float32", device="cpu", prune=False
        )
        path = out
        report = exporter.export_encoder(
            encoder, out, precision=precision, accept_loss=accept_loss, texts=texts, documents=own
        )
    typer.echo(
        f"{path}: {report.texts} texts, torch float32 against ONNX Runtime {report.precision}: largest difference "
        f"{report.max_difference:.1e}, least cosine {report.min_cosine:.7f}, "
        f"edges flipped {report.edges_flipped} of {report.edges:,}, top-10 overlap {report.top10_overlap:.1%}, "
        f"nDCG@10 lost {report.ndcg_lost:.4f}, alone against in a batch {report.batch_difference:.1e}"
    )


def _chosen_systems(names: str) -> list[str]:
    """Names with commas between them; `hybrid` brings bm25 along."""
    from glot_rag.evaluation.systems import SYSTEMS

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in SYSTEMS:
            raise InputError(f"there is no system {name!r}; expected some of: {', '.join(SYSTEMS)}")
    return [*([] if "bm25" in chosen or "hybrid" not in chosen else ["bm25"]), *dict.fromkeys(chosen)]


def _searches(chosen: list[str], mean: GlotEncoder, backbone: str) -> dict[str, TextSearch]:
    """The systems that search the texts themselves."""
    from glot_rag.evaluation.systems import BestChunk, EmbeddedSearch, load_stock, search_bm25, strip_boilerplate

    def stripped(texts: Sequence[str]) -> Vectors:
        return mean.encode_documents([strip_boilerplate(text) for text in texts])

    searches: dict[str, TextSearch] = {}
    for name in chosen:
        if name == "bm25":
            searches[name] = search_bm25
        elif name == "best-chunk":
            searches[name] = BestChunk(mean.encode_documents, mean.encode_queries)
        elif name == "stripped":
            searches[name] = EmbeddedSearch(stripped, mean.encode_queries)
        elif name == "stock":
            stock = load_stock(backbone)
            searches[name] = EmbeddedSearch(stock, stock)
    return searches


@app.command()
def calibrate(
    head: Annotated[Path, typer.Argument(help="Directory of a trained head; gets calibration.safetensors.")],
    text: Annotated[list[Path], typer.Option(help='.jsonl or .jsonl.gz with "text" and perhaps "source".')],
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    backbone: Backbone = "minilm",
    collections: Annotated[int, typer.Option(min=10, help="How many to simulate.")] = 80,
    trust: Annotated[float, typer.Option(help="Part of the kept tokens in an adapted head's vector.")] = 1.0,
    gate: Annotated[float, typer.Option(help="Leave a text whole that would lose less than this share.")] = 0.15,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Teach a trained head to weigh what a collection repeats, which `adapt` needs."""
    from glot_rag.backbone import Backbone as FrozenBackbone
    from glot_rag.head import load_head
    from glot_rag.poolings import fit
    from glot_rag.training.calibration import calibrate
    from glot_rag.training.texts import read_lines, read_texts

    loaded, _ = load_head(head)
    frozen = FrozenBackbone.load(backbone, device=device, dtype=dtype)
    fit(loaded, frozen)
    calibration, report = calibrate(
        loaded,
        frozen,
        read_texts(text),
        collections=collections,
        seed=seed,
        trust=trust,
        gate=gate,
        lines=read_lines(lines or []),
        show_progress=True,
    )
    calibration.save(head)
    typer.echo(
        f"{head}: token loss on simulated collections held out {report.calibrated:.4f}, "
        f"of the head alone {report.head:.4f}"
    )


def _head_pooling(path: Path) -> str:
    from glot_rag.head import load_head

    return load_head(path)[0].name


@app.command()
def train(
    text: Annotated[list[Path], typer.Option(help='.jsonl or .jsonl.gz with "text" and perhaps "title" or "query".')],
    out: Annotated[Path, typer.Option(help="Directory for the head; a run that was stopped goes on there.")],
    lines: Annotated[
        list[Path] | None, typer.Option(help='.jsonl or .jsonl.gz of real page lines: "line" and "family".')
    ] = None,
    without: Annotated[str, typer.Option(help="Comma-separated families of noise to leave out.")] = "",
    backbone: Backbone = "minilm",
    pooling: Annotated[str, typer.Option(help=", ".join(TRAINED_POOLINGS))] = "glot",
    convolution: Annotated[str, typer.Option(help=", ".join(CONVOLUTIONS))] = "transformer",
    num_layers: Annotated[int, typer.Option(min=1, help="K, graph layers.")] = 3,
    hidden_size: Annotated[int, typer.Option(min=1)] = 128,
    threshold: Annotated[float, typer.Option(help="tau: tokens with a higher cosine are joined.")] = 0.3,
    jumping: Annotated[str, typer.Option(help=", ".join(JUMPING))] = "cat",
    form: Annotated[str, typer.Option(help=", ".join(FORMS))] = "drop",
    norm: Annotated[str, typer.Option(help=", ".join(NORMS))] = "layer",
    keep: Annotated[float, typer.Option(help="Least share of a text that a round of dropping leaves.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of dropping, at most.")] = 1,
    trust: Annotated[
        float | None,
        typer.Option(help="Part of the kept tokens in the drop form's vector, 0.2; the rest is mean pooling."),
    ] = None,
    readout: Annotated[str, typer.Option(help=", ".join(READOUTS))] = "sigmoid",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Backbone layers that the head reads, like 2,-1; the last one is pooled, or dropped after in the "
            "drop form. If not given: a third of the way up, and in the other forms the last one, too.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=4, help="Texts to train on, drawn at random.")] = None,
    views: Annotated[int, typer.Option(min=1, help="Noisy views of each text.")] = 1,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without progress before it stops.")] = 3,
    batch_texts: Annotated[int, typer.Option(min=2)] = 64,
    learning_rate: Annotated[float, typer.Option()] = 1e-3,
    denoising: Annotated[
        float | None, typer.Option(help="Weight of the denoising objective: 0 in the drop form, else 1.")
    ] = None,
    contrastive: Annotated[
        float | None, typer.Option(help="Weight of the contrastive objective: 0 in the drop form, else 0.1.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Weight of the token-noise objective: 1 in the drop form, else 0.3.")
    ] = None,
    rarity: Annotated[float, typer.Option(help="How much more a rare token costs to lose; 0: as much as any.")] = 0.5,
    cache: Annotated[Path | None, typer.Option(help="Directory of the hidden states; OUT/cache if not given.")] = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Train a head on clean texts, which it learns to recognise among noise.

    What is not given is as it was for the head that ships.
    """
    from glot_rag.backbone import Backbone as FrozenBackbone
    from glot_rag.training.config import TrainingConfig
    from glot_rag.training.loop import train
    from glot_rag.training.texts import read_lines, read_texts, sample

    if trust is None:
        trust = 0.2 if form == "drop" else 1.0
    # The drop form's choice of tokens has no gradient: it is trained on token labels alone.
    weights = (0.0, 0.0, 1.0) if form == "drop" else (1.0, 0.1, 0.3)
    config = TrainingConfig(
        seed=seed,
        views=views,
        epochs=epochs,
        patience=patience,
        batch_texts=batch_texts,
        learning_rate=learning_rate,
        denoising=weights[0] if denoising is None else denoising,
        contrastive=weights[1] if contrastive is None else contrastive,
        tokens=weights[2] if tokens is None else tokens,
        rarity=rarity,
        without=tuple(filter(None, without.split(","))),
    )
    try:
        read = None if layers is None else tuple(int(layer) for layer in layers.split(","))
    except ValueError:
        raise InputError(f"--layers must be numbers with commas between them, like 2,-1; got {layers!r}") from None
    texts = read_texts(text)
    if limit is not None:
        texts = sample(texts, limit, seed)
    frozen = FrozenBackbone.load(backbone, device=device, dtype=dtype)
    if read is None:
        early = max(1, frozen.num_layers // 3)
        read = (early,) if form == "drop" else (early, -1)
    head_config = HeadConfig(
        state_size=frozen.state_size,
        layers=read,
        pooling=pooling,
        convolution=convolution,
        num_layers=num_layers,
        hidden_size=hidden_size,
        threshold=threshold,
        jumping=jumping,
        form=form,
        norm=norm,
        keep=keep,
        rounds=rounds,
        trust=trust,
        readout=readout,
        # The denoising target is a vector of the backbone's size.
        output_size=frozen.state_size if form == "paper" else None,
    )
    history = train(
        texts,
        frozen,
        head_config,
        config,
        out,
        cache=cache,
        lines=read_lines(lines or []),
        details={"files": [path.name for path in [*text, *(lines or [])]]},
        show_progress=True,
    )
    best = min(history, key=lambda epoch: epoch.validation)
    parts = ", ".join(f"{name} {value:.4f}" for name, value in best.parts.items())
    typer.echo(
        f"{out}: best of {len(history)} epochs is {best.number}, validation loss {best.validation:.4f} ({parts})"
    )
    typer.echo(f"Use it with GlotEncoder.from_pretrained({backbone!r}, pooling={pooling!r}, head={str(out)!r})")
