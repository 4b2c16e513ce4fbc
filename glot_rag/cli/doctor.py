"""`glot-rag doctor`: what is installed, which models are found, what is fast on this machine, and what to do next."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import glot_rag
from glot_rag.cli.machine import Speed, busy, instructions, measure, memory, processor, usable_cores
from glot_rag.cli.options import console
from glot_rag.models.registry import PACKAGED, PRETRAINED, locate
from glot_rag.models.unpacking import cache_folder

if TYPE_CHECKING:
    from rich.table import Table

# What each extra is for. Which packages are in it, the installed distribution says itself.
PURPOSES = {
    "torch": "runs and trains models",
    "minilm": "the default model's files",
    "e5": "the multilingual model's files",
    "smollm2": "reads GGUF files",
    "documents": "reads HTML, PDF, Word, …",
    "onnx": "runs exported models without torch",
    "openvino": "the same, faster over many texts",
    "export": "exports models",
    "serve": "glot-rag serve, explain",
    "eval": "glot-rag evaluate",
    "classify": "GlotClassifier",
    "parquet": "Parquet files",
    "langchain": "LangChain",
    "llama-index": "LlamaIndex",
    "haystack": "Haystack",
    "sentence-transformers": "sentence-transformers",
    "mteb": "mteb",
    "ray": "glot-rag embed --engine ray",
}
_NOT_SHOWN = ("all", "dev", "docs")
# The heads that may ship for a backbone, by what their folders' names have after the backbone's.
_HEADS = {"": "words", "-blocks": "blocks", "-adapool": "adapool"}
_DOCUMENTS = ["The kettle boils a litre of water in two minutes and switches itself off. " * 4] * 32


class Model(NamedTuple):
    """A backbone, as far as this machine has it.

    Attributes:
        name: as `GlotEncoder.from_pretrained` takes it.
        found_in: "package", "path" or "hub cache"; None if it would have to be fetched.
        path: where.
        heads: that ship for it: "words", "blocks", "adapool".
    """

    name: str
    found_in: str | None
    path: str | None
    heads: list[str]


class Embedding(NamedTuple):
    """How fast the default model is here, in `words` words a text.

    Attributes:
        load_seconds: until it was loaded.
        words: of a text.
        texts_a_second: embedded with mean pooling.
    """

    load_seconds: float
    words: int
    texts_a_second: float


class Extra(NamedTuple):
    """An extra of this distribution.

    Attributes:
        name: as in `pip install 'glot-rag[NAME]'`.
        present: its packages that are installed, as "name version".
        missing: its packages that are not there or have another version than it needs.
    """

    name: str
    present: list[str]
    missing: list[str]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(help="More models to look for: a hub id, a directory, a .gguf file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write it as JSON, for a bug report or a script.")] = False,
) -> None:
    """Show what is installed, which models are found, what is fast here, and what to do next: some ten seconds.

    Fetches nothing. Exit code 1 if there is nothing to run a model with.
    """
    terminal, errors = console(), console(stderr=True)
    facts = _machine()
    extras = list(extras_of("glot-rag"))
    found = [_model(name) for name in [*PACKAGED, *(models or [])]]
    if not as_json:
        terminal.print(_facts(facts))
        terminal.print(_packages(extras))
        terminal.print(_models(found))
    with errors.status("Measuring …"):
        speeds = list(measure())
        runs = any(speed.runtime == "torch" for speed in speeds) and locate("minilm")
        embedding = _embedding() if runs else None
    steps = next_steps(extras, speeds)
    if as_json:
        record = {
            "version": glot_rag.__version__,
            "machine": facts,
            "extras": [each._asdict() for each in extras],
            "models": [each._asdict() for each in found],
            "speeds": [each._asdict() for each in speeds],
            "embedding": embedding and embedding._asdict(),
            "next": steps,
        }
        typer.echo(json.dumps(record, indent=2))
    else:
        terminal.print(_speeds(speeds))
        if embedding:
            terminal.print(
                f"all-MiniLM-L6-v2, loaded in {embedding.load_seconds:.1f} s, embeds {embedding.texts_a_second:,.0f} "
                f"texts of {embedding.words} words a second."
            )
        terminal.print("\n[bold]Next[/bold]")
        for number, step in enumerate(steps, start=1):
            terminal.print(f"{number}. {step}", markup=False)
    if not speeds:
        raise typer.Exit(1)


def extras_of(distribution: str) -> Iterator[Extra]:
    """The extras of an installed distribution and what is there of each, as its own metadata lists them."""
    from packaging.requirements import Requirement

    try:
        names = metadata.metadata(distribution).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return
    requirements = [Requirement(each) for each in metadata.requires(distribution) or []]
    for name in sorted({*names} - {*_NOT_SHOWN}, key=lambda name: [*PURPOSES, name].index(name)):
        present, missing = [], []
        for requirement in requirements:
            if requirement.marker and requirement.marker.evaluate({"extra": name}):
                version = _version(requirement.name)
                if version is not None and requirement.specifier.contains(version, prereleases=True):
                    present.append(f"{requirement.name} {version}")
                else:
                    missing.append(
                        requirement.name
                        if version is None
                        else f"{requirement.name}{requirement.specifier}, not {version}"
                    )
        yield Extra(name, present, missing)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def next_steps(extras: Sequence[Extra], speeds: Sequence[Speed]) -> list[str]:
    """What to install or set, the most useful first."""
    steps = []
    missing = {extra.name for extra in extras if extra.missing}
    if not speeds:
        steps.append("Nothing can run a model: pip install 'glot-rag[minilm]', or [onnx] for an exported model.")
    elif not any(speed.runtime == "torch" for speed in speeds):
        steps.append(
            "Without torch only exported models run: pip install 'glot-rag[minilm]' to run, fit and export others."
        )
    elif not locate("minilm"):
        steps.append(
            "The default model would be fetched from the hub: pip install 'glot-rag[minilm]' brings its files."
        )
    if "documents" in missing:
        steps.append("To read HTML, PDF, Word and more: pip install 'glot-rag[documents]'")
    if speeds and "openvino" in missing:
        steps.append(
            "OpenVINO is often faster over many texts: pip install 'glot-rag[openvino,export]', and look again."
        )
    steps += _about_cores(speeds)
    if not steps:
        steps.append("Nothing is missing. Begin with: glot-rag index FOLDER --out my-index")
    steps.append("Let the shell complete commands and options: glot-rag --install-completion")
    return steps


def _about_cores(speeds: Sequence[Speed]) -> Iterator[str]:
    cores, load = usable_cores(), busy()
    if "torch" in sys.modules:
        import torch

        if torch.get_num_threads() > cores:
            yield (
                f"torch uses {torch.get_num_threads()} threads, but {cores:g} cores are allowed: export "
                f"OMP_NUM_THREADS={max(1, int(cores))}"
            )
        if torch.version.cuda and not torch.cuda.is_available():
            yield "torch is the build for CUDA and finds no GPU: PyTorch's CPU build is gigabytes smaller."
    if load is not None and load > cores + 1:
        yield f"The machine is busy (load {load:.1f} on {cores:g} cores): the speeds above are too low."


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False
    )
    table.show_header = any(columns)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _machine() -> dict[str, str]:
    cores, size, load = usable_cores(), memory(), busy()
    facts = {
        "Python": f"{platform.python_version()} in {sys.prefix}",
        "System": f"{platform.system()} {platform.machine()}" + (f", {size / 2**30:.0f} GB of memory" if size else ""),
        "Processor": f"{processor()}, {cores:g} cores" + (f", load {load:.1f}" if load else ""),
    }
    if (flags := instructions()) is not None:
        has, lacks = ([name for name, there in flags.items() if there is wanted] for wanted in (True, False))
        facts["Instructions"] = ", ".join(has) + (f" (not {', '.join(lacks)})" if lacks else "")
    cache = cache_folder()
    held = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    facts["Cache"] = f"{cache}, {held / 1e6:,.0f} MB"
    return facts


def _facts(facts: dict[str, str]) -> Table:
    from rich.text import Text

    table = _table(f"glot-rag {glot_rag.__version__} on this machine", "", "")
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    return table


def _packages(extras: Sequence[Extra]) -> Table:
    from rich.text import Text

    table = _table("Extras: pip install 'glot-rag[NAME]' installs one", "name", "for", "")
    shown: set[str] = set()
    torch = next((extra.missing for extra in extras if extra.name == "torch"), [])
    for extra in extras:
        if extra.missing:  # what nearly all others need, too, is named once
            own = [each for each in extra.missing if extra.name == "torch" or each not in torch]
            state = Text(f"lacks {', '.join(own) or 'torch'}", "yellow")
        else:  # what an extra takes along from another is named once
            state = Text(", ".join(each for each in extra.present if each not in shown) or "installed", "green")
            shown.update(extra.present)
        table.add_row(extra.name, PURPOSES.get(extra.name, ""), state)
    return table


def _model(name: str) -> Model:
    found_in, path = locate(name) or (None, None)
    heads = [head for suffix, head in _HEADS.items() if name in PACKAGED and (PRETRAINED / f"{name}{suffix}").is_dir()]
    return Model(name, found_in, None if path is None else str(path), heads)


def _models(models: Sequence[Model]) -> Table:
    from rich.text import Text

    table = _table("Models on this machine", "name", "found in", "heads that ship", "")
    for name, found_in, path, heads in models:
        if path is not None:
            where = Text(path, "green")
        elif name in PACKAGED:
            where = Text(PACKAGED[name].install).append(f"  or from the hub, as {PACKAGED[name].hub_id}", "dim")
        else:
            where = Text("not on this machine; it would be looked for on the hub", "dim")
        table.add_row(Text(name), found_in or "–", ", ".join(heads) or "none", where)
    return table


def _speeds(speeds: Sequence[Speed]) -> Table:
    table = _table("Speed of matrix products, one thread", "runtime", "computes in", "GFLOP/s", "")
    best = max((speed.gflops for speed in speeds), default=1)
    for speed in speeds:
        bar = "█" * max(1, round(24 * speed.gflops / best))
        table.add_row(
            speed.runtime, speed.dtype, f"{speed.gflops:.0f}", f"[green]{bar}[/green]" if speed.gflops == best else bar
        )
    table.columns[2].justify = "right"
    return table


def _embedding() -> Embedding:
    """How fast the default model is here."""
    start = time.perf_counter()
    encoder = glot_rag.GlotEncoder.from_pretrained(pooling="mean", denoise=False)
    loaded = time.perf_counter()
    encoder.encode_documents(_DOCUMENTS[:8])  # the first ones prepare
    begin = time.perf_counter()
    encoder.encode_documents(_DOCUMENTS)
    rate = len(_DOCUMENTS) / (time.perf_counter() - begin)
    return Embedding(loaded - start, len(_DOCUMENTS[0].split()), rate)
